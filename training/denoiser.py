"""`python -m training.denoiser [STEPS] [--seconds N]`: the UNet, on cached latents (training.examples).

PLAN is for one that begins from random numbers; one that begins with what ships (training.shipped) does with fewer.
`--seconds`, for a card that is there for so long: as many steps as fit, so that the rate comes down in time.
"""

from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import CLIPTextModel

from training import latents, loop, pack, phases, shapes, text
from training.bank import Bank, Examples, on_device
from training.examples import SEED

CHECKPOINT = pack.WORK / "denoiser.pt"
ON_CPU = loop.Plan(steps=16_000, rate=1e-3, average=0.998, warm_up=200)
ON_GPU = loop.Plan(steps=20_000, rate=1.5e-3, average=0.998, warm_up=300, save_every=250)  # 11 times as large
PLAN = ON_GPU if loop.GPU else ON_CPU

# The error, of values from -1 to 1, at which a scene weighs as much as a styled picture, and from which on it is large:
# a colour a little off has a tenth, what is all wrong several times as much.
AS_STEEP = 0.1
MEAN_UNTIL = 0.4  # share of a plan, see Loss

Latents = Float[Tensor, "b c h w"]
Prompt = Float[Tensor, "b words width"]


class Denoiser(nn.Module):
    """The UNet, and the text encoder that has learnt before (training.text) and stays as it is."""

    def __init__(self, reader: text.Reader) -> None:
        super().__init__()
        self.words = reader.words
        self.unet: UNet2DConditionModel = shapes.denoiser()
        self.text: CLIPTextModel = reader.text.requires_grad_(False)
        self.alphas: Tensor
        self.register_buffer("alphas", shapes.scheduler().alphas_cumprod.clone(), persistent=False)

    def prompt(self, tokens: Int[Tensor, "b words"]) -> Prompt:
        """The text encoder's last hidden states."""
        states: Tensor = self.text(tokens).last_hidden_state
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

    Of a styled picture the root of its mean square counts, so that all styles weigh alike, the gentle and the bold. Not
    so of a scene: what is nearly right would outweigh what is all wrong, and a network that may leave a drawing as it
    is does so. Its first step is asked for the mean of all that the drawing may mean, which is soft, until MEAN_UNTIL;
    steps that refine, and from then on all, for the median, which is not: there large errors count as they are.
    """

    def __init__(self, model: Denoiser, bank: Bank, drawn: Iterator[phases.Drawn], steps: int) -> None:
        """`drawn` are the batch of the step that training is at, and those that follow; `steps` has the plan."""
        self.model, self.bank, self.drawn = model, bank, drawn
        self.mean_until = MEAN_UNTIL * steps
        self.pixels = torch.from_numpy(np.load(latents.PIXELS)).to(loop.DEVICE, memory_format=loop.FORMAT)

    def __call__(self, step: int) -> Tensor:
        """The mean loss of step `step`."""
        batch, tokens, fresh = next(self.drawn)
        if fresh:
            self.bank.renew(fresh)
        examples = self.bank.examples(batch)
        random = loop.generator(SEED, step)
        noise = torch.randn((2, *examples.source.shape), generator=random, device=loop.DEVICE)
        with loop.autocast():
            prompt = self.model.prompt(on_device(tokens))
            noisy, times = network_input(self.model, examples, noise, prompt)
            made: Latents = self.model(noisy, times, prompt)
            error = nn.functional.conv2d(made - examples.target, self.pixels, padding=1)
        return weighed(error.float(), examples, median=step >= self.mean_until).mean()


def weighed(error: Latents, examples: Examples, median: bool) -> Float[Tensor, "b"]:
    """The loss of each example, of the picture of its error; `median` is asked of a scene's first steps too."""

    def counted(each: Latents) -> Float[Tensor, "b"]:
        return (each.mean(1) * examples.counts).sum((1, 2)) / examples.counts.sum((1, 2))

    square = counted(error.square())
    robust = counted(nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=AS_STEEP))
    refines = examples.teacher | (examples.second >= 0)
    scene = torch.where(refines | median, robust / AS_STEEP, square / (2 * AS_STEEP))
    return torch.where(examples.scene, scene, square.add(1e-5).sqrt())


def network_input(
    model: Denoiser, examples: Examples, noise: Float[Tensor, "2 b c h w"], prompt: Prompt
) -> tuple[Latents, Int[Tensor, "b"]]:
    """What the network is shown, and at which time: a first step's input, or the noised answer to one."""
    clean = torch.where(examples.teacher.view(-1, 1, 1, 1), examples.target, examples.source)
    from_noise = (examples.text_only & ~examples.teacher).view(-1, 1, 1, 1)
    noisy = torch.where(from_noise, noise[0], model.noised(clean, noise[0], examples.first))
    times = torch.where(examples.second < 0, examples.first, examples.second)
    again = examples.again
    if len(again):
        with torch.no_grad():
            answer = model(noisy[again], examples.first[again], prompt[again]).float()
        noisy[again] = model.noised(answer, noise[1][again], times[again])
    return noisy, times


def trained() -> Denoiser:
    """Both networks with their averaged weights, frozen."""
    model = Denoiser(text.trained())
    model.load_state_dict(loop.averaged_weights(CHECKPOINT))
    return model.to(loop.DEVICE).eval().requires_grad_(False)


def main(plan: loop.Plan = PLAN, seconds: float | None = None) -> None:
    """Train to the end of the plan, or for so many seconds; from the last save if there is one."""
    begun = monotonic()
    torch.manual_seed(SEED)
    model, bank = Denoiser(text.trained()), Bank()
    trainer = loop.Trainer(model, plan, CHECKPOINT)
    if loop.GPU:
        model.unet.compile(dynamic=False)  # a third of the time, on an H200; two minutes to compile

    def loss(steps: int) -> Loss:
        drawn = phases.Steps(steps, model.words, bank.styles, bank.drawings, bank.texts)
        return Loss(model, bank, drawn.begin(trainer.step), steps)

    if seconds is not None:
        trainer.plan = trainer.fitted(loss(plan.steps), begun + seconds)
    trainer.fit(loss(trainer.plan.steps))


if __name__ == "__main__":
    asked = ArgumentParser("python -m training.denoiser")
    asked.add_argument("steps", type=int, nargs="?", default=PLAN.steps)
    asked.add_argument("--seconds", type=float)
    given = asked.parse_args()
    main(replace(PLAN, steps=given.steps), given.seconds)
