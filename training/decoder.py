"""`python -m training.decoder`: the decoder alone, longer, behind the frozen encoder.

Its latents are shaken by noise of random strength, so that it stays sharp on exact ones and forgives the denoiser's.
The latents the denoiser learnt on stay as they are, so both can train at the same time.
"""

import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from training import autoencoder, loop, pack

CHECKPOINT = pack.WORK / "decoder.pt"
PLAN = loop.Plan(steps=6000, rate=1e-3, average=0.997)
SEED = 4
SHAKE = 0.3  # largest standard deviation of the noise, in latents of about unit variance


class Loss:
    """The loss of one step."""

    def __init__(self, model: AutoencoderTiny) -> None:
        self.model = model

    def __call__(self, step: int) -> Tensor:
        """The mean loss of batch `step`; batches of the autoencoder's that it has not seen."""
        wanted = autoencoder.to_tensor(autoencoder.patches(autoencoder.PLAN.steps + step))
        with loop.autocast():
            made = self.model.decoder(self._latents(wanted, step))
        return autoencoder.picture_loss(made, wanted)

    @torch.no_grad()
    def _latents(self, pictures: autoencoder.Pictures, step: int) -> Tensor:
        latents: Tensor = self.model.encoder(pictures)
        random = loop.generator(SEED, step)
        strength = SHAKE * torch.rand((len(latents), 1, 1, 1), generator=random)
        noise = strength * torch.randn(latents.shape, generator=random)
        return latents + noise.to(latents.device, latents.dtype)


def trained() -> AutoencoderTiny:
    """The autoencoder with this decoder's averaged weights, frozen."""
    model = autoencoder.trained()
    model.decoder.load_state_dict(loop.averaged_weights(CHECKPOINT))
    return model


def main() -> None:
    """Train to the end of the plan, from the last save if there is one."""
    model = autoencoder.trained()
    model.decoder.requires_grad_(True)
    loop.Trainer(model.decoder, PLAN, CHECKPOINT).fit(Loss(model))


if __name__ == "__main__":
    main()
