"""`python -m training.denoiser [STEPS]`: the UNet, on cached latents (training.batches).

PLAN is for one that begins from random numbers; one that begins with what ships (training.shipped) does with fewer.
"""

import sys
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import CLIPTextModel

from training import latents, loop, pack, shapes, text
from training.batches import SEED, Batch, Drawings, Styles, Texts, by_size

CHECKPOINT = pack.WORK / "denoiser.pt"
PLAN = loop.Plan(steps=24_000, rate=1e-3, average=0.998, warm_up=200)
WIDER = 20 if loop.DEVICE.type == "cuda" else 1  # times as many examples in a step, where they cost little more

Latents = Float[Tensor, "b c h w"]
Prompt = Float[Tensor, "b words width"]


@dataclass(frozen=True)
class Phase:
    """Up to a share of the plan: patches in styles with their side in latents, drawings and texts in a step.

    `near` is the share of noise levels that are about those of the default strengths.
    """

    until: float
    styles: int
    patch: int
    drawings: int
    texts: int
    near: float


PHASES = (
    Phase(0.78, styles=6, patch=16, drawings=8, texts=8, near=0.5),  # what an object is, texts teach
    Phase(1.0, styles=5, patch=32, drawings=4, texts=2, near=0.8),  # whole pictures, as they are run
)


class Denoiser(nn.Module):
    """The UNet, and the text encoder that has learnt before (training.text) and stays as it is."""

    def __init__(self, reader: text.Reader) -> None:
        super().__init__()
        self.words = reader.words
        self.unet: UNet2DConditionModel = shapes.denoiser()
        self.text: CLIPTextModel = reader.text.requires_grad_(False)
        self.alphas: Tensor
        self.register_buffer("alphas", shapes.scheduler().alphas_cumprod.clone(), persistent=False)

    def prompt(self, texts: list[str]) -> Prompt:
        """The text encoder's last hidden states."""
        states: Tensor = self.text(text.encode(self.words, texts).to(self.alphas.device)).last_hidden_state
        return states

    def levels(self, times: Int[Tensor, "b"]) -> tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, "b 1 1 1"]]:
        """How much signal, sqrt(alphabar), and how much noise, sqrt(1 - alphabar), a latent has at a time."""
        alpha = self.alphas[times].view(-1, 1, 1, 1)
        return alpha.sqrt(), (1 - alpha).sqrt()

    def noised(self, clean: Latents, noise: Latents, times: Int[Tensor, "b"]) -> Latents:
        """x = a * clean + b * noise."""
        a, b = self.levels(times)
        return a * clean + b * noise

    def forward(self, noisy: Latents, times: Int[Tensor, "b"], prompt: Prompt) -> Latents:
        """The clean latent that the network sees in `noisy`."""
        clean: Tensor = self.unet(noisy, times, prompt).sample
        return clean


class Loss:
    """The loss of one step, in pixels.

    An error of one in a latent says little: what is smooth over its neighbours costs several times as much in the
    picture as what is not. So the loss looks at the picture of the error, by a convolution that is nearly the decoder
    (latents.pixels_of): 30 dB from it, and the decoder itself would cost half as much again as the denoiser.
    """

    def __init__(self, model: Denoiser, plan: loop.Plan, styles: Styles, drawings: Drawings, texts: Texts) -> None:
        self.model, self.plan, self.styles, self.drawings, self.texts = model, plan, styles, drawings, texts
        self.pixels = torch.from_numpy(np.load(latents.PIXELS)).to(loop.DEVICE, memory_format=loop.FORMAT)

    def __call__(self, step: int) -> Tensor:
        """The mean loss of batch `step`."""
        random = loop.generator(SEED, step)
        return torch.cat([self._losses(batch, random) for batch in self.batches(step)]).mean()

    def batches(self, step: int) -> list[Batch]:
        """Styles, drawings and texts of batch `step`."""
        now = next(phase for phase in PHASES if step < phase.until * self.plan.steps)
        return by_size(
            (
                self.styles(step, now.patch, WIDER * now.styles, now.near),
                self.drawings(step, now.patch, WIDER * now.drawings, now.near),
                self.texts(step, WIDER * now.texts, now.near),
            )
        )

    def _losses(self, batch: Batch, random: torch.Generator) -> Float[Tensor, "b"]:
        noise = torch.randn((2, *batch.source.shape), generator=random).to(loop.DEVICE)
        with loop.autocast():
            prompt = self.model.prompt(batch.texts)
            noisy, times = network_input(self.model, batch, noise, prompt)
            made: Latents = self.model(noisy, times, prompt)
            error = nn.functional.conv2d(made - batch.target, self.pixels, padding=1)
        return torch.as_tensor(error.float().square().mean(dim=(1, 2, 3)).add(1e-5).sqrt())


def network_input(
    model: Denoiser, batch: Batch, noise: Float[Tensor, "2 b c h w"], prompt: Prompt
) -> tuple[Latents, Int[Tensor, "b"]]:
    """What the network is shown, and at which time: a first step's input, or the noised answer to one."""
    clean = torch.where(batch.teacher.view(-1, 1, 1, 1), batch.target, batch.source)
    from_noise = (batch.text_only & ~batch.teacher).view(-1, 1, 1, 1)
    noisy = torch.where(from_noise, noise[0], model.noised(clean, noise[0], batch.first))
    times = torch.where(batch.second < 0, batch.first, batch.second)
    again = (batch.second >= 0).nonzero()[:, 0]
    if len(again):
        with torch.no_grad():
            answer = model(noisy[again], batch.first[again], prompt[again]).float()
        noisy[again] = model.noised(answer, noise[1][again], times[again])
    return noisy, times


def trained() -> Denoiser:
    """Both networks with their averaged weights, frozen."""
    model = Denoiser(text.trained())
    model.load_state_dict(loop.averaged_weights(CHECKPOINT))
    return model.to(loop.DEVICE).eval().requires_grad_(False)


def main(plan: loop.Plan = PLAN) -> None:
    """Train to the end of the plan, from the last save if there is one."""
    torch.manual_seed(SEED)
    model = Denoiser(text.trained())
    loop.Trainer(model, plan, CHECKPOINT).fit(Loss(model, plan, Styles(), Drawings(), Texts()))


if __name__ == "__main__":
    main(replace(PLAN, steps=int(sys.argv[1])) if len(sys.argv) > 1 else PLAN)
