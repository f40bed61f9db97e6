"""`python -m training.denoiser`: the UNet, on cached latents (training.batches)."""

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from training import latents, loop, pack, shapes, tokenizer
from training.batches import SEED, Batch, Drawings, Styles, Texts

CHECKPOINT = pack.WORK / "denoiser.pt"
PLAN = loop.Plan(steps=24_000, rate=1e-3, average=0.998, warm_up=200)
STYLES, DRAWINGS, TEXTS = 8, 2, 3  # patches of 16x16 and of 24x24 latents, and whole scenes of 32x32, in a step
SMALL_UNTIL = 0.9  # share of the steps with patches; then there are whole pictures, and fewer

Latents = Float[Tensor, "b c h w"]
Prompt = Float[Tensor, "b words width"]


class Denoiser(nn.Module):
    """The UNet, and the text encoder that stays as it was drawn: numbers that tell all prompts apart.

    Trained along, it forgets: few styles ask for more than many objects, its sums grow a hundredfold, and after 14,000
    steps it gave "a fox in space" and "a castle in space" the same numbers.
    """

    def __init__(self, words: CLIPTokenizer) -> None:
        super().__init__()
        self.words = words
        self.unet: UNet2DConditionModel = shapes.denoiser()
        self.text: CLIPTextModel = shapes.text_encoder(len(words), words.bos_token_id, words.eos_token_id)
        self.text.requires_grad_(False)
        self.alphas: Tensor
        self.register_buffer("alphas", shapes.scheduler().alphas_cumprod.clone(), persistent=False)

    def prompt(self, texts: list[str]) -> Prompt:
        """The text encoder's last hidden states."""
        tokens = self.words(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        states: Tensor = self.text(tokens.to(self.alphas.device)).last_hidden_state
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

    def __init__(self, model: Denoiser, styles: Styles, drawings: Drawings, texts: Texts) -> None:
        self.model, self.styles, self.drawings, self.texts = model, styles, drawings, texts
        self.pixels = torch.from_numpy(np.load(latents.PIXELS)).to(loop.DEVICE, memory_format=loop.FORMAT)

    def __call__(self, step: int) -> Tensor:
        """The mean loss of batch `step`."""
        random = loop.generator(SEED, step)
        return torch.cat([self._losses(batch, random) for batch in self.batches(step)]).mean()

    def batches(self, step: int) -> tuple[Batch, Batch, Batch]:
        """Styles, drawings and texts of batch `step`."""
        if step < SMALL_UNTIL * PLAN.steps:
            parts = self.styles(step, 16, STYLES), self.drawings(step, 24, DRAWINGS)
        else:
            parts = self.styles(step, 32, STYLES // 4), self.drawings(step, 32, DRAWINGS)
        return *parts, self.texts(step, TEXTS)

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
    model = Denoiser(tokenizer.build())
    model.load_state_dict(loop.averaged_weights(CHECKPOINT))
    return model.to(loop.DEVICE).eval().requires_grad_(False)


def main() -> None:
    """Train to the end of the plan, from the last save if there is one."""
    torch.manual_seed(SEED)
    model = Denoiser(tokenizer.build())
    loop.Trainer(model, PLAN, CHECKPOINT).fit(Loss(model, Styles(), Drawings(), Texts()))


if __name__ == "__main__":
    main()
