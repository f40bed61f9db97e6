"""`python -m training.shipped`: let a training begin with the networks that ship, where no checkpoint is at hand.

The autoencoder and the text encoder count as trained, and so the pool's latents and the prompts stay what the shipped
denoiser knows; the denoiser begins its plan with the shipped weights. The lines that name what a caption asks for
(training.text) are not shipped: no figure can be taken of them.
"""

from pathlib import Path

from diffusers import AutoencoderDC, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from millstream import embedded
from training import autoencoder, denoiser, loop, text, tokenizer


def keep(model: nn.Module, path: Path, step: int) -> None:
    """Write a checkpoint of these weights; one that is there already stays."""
    if path.exists():
        raise SystemExit(f"{path} is there already; move it away, or go on from it")
    loop.write({"step": step, "model": model.state_dict(), "averaged": model.state_dict()}, path)


def main() -> None:
    """Write the three checkpoints."""
    vae = AutoencoderDC.from_pretrained(embedded.path() / "vae").float()
    keep(vae, autoencoder.CHECKPOINT, autoencoder.PLAN.steps)
    reader = text.Reader(tokenizer.build())
    reader.text = CLIPTextModel.from_pretrained(embedded.path() / "text_encoder").float()
    keep(reader, text.CHECKPOINT, text.PLAN.steps)
    model = denoiser.Denoiser(reader)
    model.unet = UNet2DConditionModel.from_pretrained(embedded.path() / "unet").float()
    keep(model, denoiser.CHECKPOINT, 0)


if __name__ == "__main__":
    main()
