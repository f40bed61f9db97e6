"""`python -m training.export`: the trained parts as one diffusers folder in fp16, put in place in one move."""

import shutil
from pathlib import Path

import numpy as np
from diffusers import AutoencoderDC, StableDiffusionPipeline

from millstream import embedded
from training import autoencoder, card, denoiser, latents, shapes, tokenizer

LIMIT = 40 * 10**6  # bytes


def pipeline(vae: AutoencoderDC, nets: denoiser.Denoiser, scaling: float) -> StableDiffusionPipeline:
    """The parts as diffusers' pipeline, weights in fp16."""
    # diffusers' pipelines count the levels there, and AutoencoderDC has no such entry of its own
    levels = vae.config.encoder_block_out_channels
    vae.register_to_config(scaling_factor=scaling, block_out_channels=levels)
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
    made = pipeline(autoencoder.trained().cpu(), denoiser.trained().cpu(), float(np.load(latents.SCALING)))
    install(made, embedded.path())


if __name__ == "__main__":
    main()
