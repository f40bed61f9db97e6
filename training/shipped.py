"""`python -m training.shipped`: let a training begin with the networks that ship, where no checkpoint is at hand.

The autoencoder counts as trained, and the pool's latents stay what the shipped denoiser knows; the denoiser begins its
plan with the shipped weights.
"""

from pathlib import Path

from diffusers import AutoencoderDC, UNet2DConditionModel
from torch import nn

from millstream import embedded
from training import autoencoder, denoiser, loop, text


def keep(model: nn.Module, path: Path, step: int) -> None:
    """Write a checkpoint of these weights; one that is there already stays."""
    if path.exists():
        raise SystemExit(f"{path} is there already; move it away, or go on from it")
    loop.write({"step": step, "model": model.state_dict(), "averaged": model.state_dict()}, path)


def main() -> None:
    """Write both checkpoints."""
    vae = AutoencoderDC.from_pretrained(embedded.path() / "vae").float()
    keep(vae, autoencoder.CHECKPOINT, autoencoder.PLAN.steps)
    model = denoiser.Denoiser(text.trained())
    model.unet = UNet2DConditionModel.from_pretrained(embedded.path() / "unet").float()
    keep(model, denoiser.CHECKPOINT, 0)


if __name__ == "__main__":
    main()
