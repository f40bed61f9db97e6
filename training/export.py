"""`python -m training.export`: the trained parts as one diffusers folder in fp16, put in place in one move."""

import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from millstream import embedded
from training import card, decoder, denoiser, latents, shapes, tokenizer

LIMIT = 40 * 10**6  # bytes


def pipeline(vae: torch.nn.Module, nets: denoiser.Denoiser, scaling: float) -> StableDiffusionPipeline:
    """The parts as diffusers' pipeline, weights in fp16."""
    vae.register_to_config(scaling_factor=scaling)  # type: ignore[operator]
    return StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=nets.text.half(),
        tokenizer=nets.words,
        unet=nets.unet.half(),
        scheduler=shapes.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def install(made: StableDiffusionPipeline, folder: Path) -> None:
    """Write the folder beside its place, with its card, and swap it in."""
    fresh, old = folder.with_name(".fresh"), folder.with_name(".old")
    shutil.rmtree(fresh, ignore_errors=True)
    made.save_pretrained(fresh, safe_serialization=True)
    tokenizer.save(made.tokenizer, fresh / "tokenizer")
    (fresh / "README.md").write_text(card.text())
    written = [file for file in fresh.rglob("*") if file.is_file()]
    for file in written:
        file.chmod(0o644)  # safetensors writes for its owner alone
    size = sum(file.stat().st_size for file in written)
    if size > LIMIT:
        raise SystemExit(f"the model has {size} bytes; make the networks in shapes.py smaller, at most {LIMIT}")
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    """Export the latest checkpoints."""
    made = pipeline(decoder.trained().cpu(), denoiser.trained().cpu(), float(np.load(latents.SCALING)))
    install(made, embedded.path())


if __name__ == "__main__":
    main()
