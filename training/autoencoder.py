"""`python -m training.autoencoder`: the tiny autoencoder, on crops and their styled versions.

Loss: the root of each picture's mean squared error, so that smooth pictures count as much as busy ones; after 600 steps
2.5 dB ahead of absolute, squared and edge error. The latent is held near unit variance and shaken a little, so that the
decoder forgives what the denoiser gets wrong.
"""

from math import log10

import numpy as np
import torch
from diffusers import AutoencoderDC
from jaxtyping import Float
from numpy.random import default_rng
from torch import Tensor

from training import crops, loop, pack, pools, shapes

CHECKPOINT = pack.WORK / "autoencoder.pt"
PLAN = loop.Plan(steps=8_000, rate=2e-3, average=0.998)
SEED = 1
BATCH = 16
SIDE = 64  # pixels of a training patch
SHAKE = 0.05  # standard deviation of the latent's noise

Pictures = Float[Tensor, "b 3 h w"]


def to_tensor(pictures: np.ndarray) -> Pictures:
    """uint8 (b, h, w, 3) to [-1, 1] on the training device."""
    planes = torch.from_numpy(np.array(pictures)).to(loop.DEVICE).permute(0, 3, 1, 2)
    return (planes.float() / 127.5 - 1).contiguous(memory_format=loop.FORMAT)


def to_pictures(tensor: Pictures) -> np.ndarray:
    """[-1, 1] to uint8 (b, h, w, 3), as the engine does it."""
    scaled = ((tensor.float().clamp(-1, 1) + 1) * 127.5).round()
    return scaled.permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy()


def patches(step: int) -> np.ndarray:
    """A batch of patches on the 8-pixel grid, half of them styled."""
    crop_file, styled_file, _ = pools.load()
    rng = default_rng([SEED, step])
    batch = []
    for index in rng.integers(len(crop_file), size=BATCH):
        styled = rng.random() < 0.5
        source = styled_file[index, rng.integers(pools.PER_CROP)] if styled else crop_file[index]
        top, left = rng.integers(0, (crops.SIDE - SIDE) // 8 + 1, 2) * 8
        batch.append(source[top : top + SIDE, left : left + SIDE])
    return np.stack(batch)


def picture_loss(made: Pictures, wanted: Pictures) -> Tensor:
    """Root of each picture's mean squared error, averaged; pictures in [-1, 1]."""
    return (made.float() - wanted).square().mean(dim=(1, 2, 3)).add(1e-5).sqrt().mean()


def latent_loss(latent: Float[Tensor, "b c h w"]) -> Tensor:
    """How far each channel is from mean 0 and variance 1."""
    mean, variance = latent.mean(dim=(0, 2, 3)), latent.var(dim=(0, 2, 3))
    return mean.square().mean() + (variance.clamp_min(1e-4).log()).square().mean()


class Loss:
    """The loss of one step."""

    def __init__(self, model: AutoencoderDC) -> None:
        self.model = model

    def __call__(self, step: int) -> Tensor:
        """The mean loss of batch `step`."""
        wanted = to_tensor(patches(step))
        with loop.autocast():
            latent = self.model.encoder(wanted)
            noise = torch.randn(latent.shape, generator=loop.generator(SEED, step), device=latent.device)
            made = self.model.decoder(latent + SHAKE * noise)
        return picture_loss(made, wanted) + 0.01 * latent_loss(latent.float())


def trained() -> AutoencoderDC:
    """The autoencoder with its averaged weights, frozen."""
    model = shapes.autoencoder()
    model.load_state_dict(loop.averaged_weights(CHECKPOINT))
    return model.to(loop.DEVICE, memory_format=loop.FORMAT).eval().requires_grad_(False)


def psnr(made: np.ndarray, wanted: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures, in decibels."""
    error = float(np.mean((made.astype(np.float64) - wanted.astype(np.float64)) ** 2))
    return 10 * log10(255**2 / max(error, 1e-9))


def main() -> None:
    """Train to the end of the plan, from the last save if there is one."""
    torch.manual_seed(SEED)
    model = shapes.autoencoder()
    loop.Trainer(model, PLAN, CHECKPOINT).fit(Loss(model))


if __name__ == "__main__":
    main()
