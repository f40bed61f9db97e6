"""`python -m training.denoiser`: UNet and text encoder together, on cached latents.

The rule that makes image to image work: above timestep SOURCE_FROM the noised input is the latent of the photograph and
the target that of its styled version, so the network turns one into the other; below, the input is the target itself or
the network's own earlier answer, so a second step refines and does not style twice.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Bool, Float, Int
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from training import captions, latents, loop, pack, pools, shapes, styles, tokenizer

CHECKPOINT = pack.WORK / "denoiser.pt"
PLAN = loop.Plan(steps=7000, rate=1e-3)
SEED = 2
BATCH = 16  # patches of 16x16 latents; whole latents of 32x32 come a quarter as many
SMALL_UNTIL = 0.9  # share of the steps on patches
NEUTRAL = 0.14  # share of captions that ask for the picture as it is
SOURCE_FROM, SOURCE_ALWAYS = 280, 400  # timesteps
ROLLOUT_FROM = 240  # timesteps above its own, where a rollout's first answer is given

Latents = Float[Tensor, "b c h w"]


class Denoiser(nn.Module):
    """The two networks that are trained together."""

    def __init__(self, words: CLIPTokenizer) -> None:
        super().__init__()
        self.words = words
        self.unet: UNet2DConditionModel = shapes.denoiser()
        self.text: CLIPTextModel = shapes.text_encoder(len(words), words.bos_token_id, words.eos_token_id)
        self.alphas: Tensor
        self.register_buffer("alphas", shapes.scheduler().alphas_cumprod.clone(), persistent=False)

    def prompt(self, texts: list[str]) -> Float[Tensor, "b words width"]:
        """The text encoder's last hidden states."""
        tokens = self.words(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        states: Tensor = self.text(tokens.to(self.alphas.device)).last_hidden_state
        return states

    def noised(self, clean: Latents, noise: Latents, times: Int[Tensor, "b"]) -> Latents:
        """x = sqrt(alphabar) * clean + sqrt(1 - alphabar) * noise."""
        alpha = self.alphas[times].view(-1, 1, 1, 1)
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

    def forward(self, noisy: Latents, times: Int[Tensor, "b"], prompt: Float[Tensor, "b words width"]) -> Latents:
        """The clean latent that the network sees in `noisy`: x0 = (x - sqrt(1 - alphabar) * eps) / sqrt(alphabar)."""
        alpha = self.alphas[times].view(-1, 1, 1, 1)
        noise: Tensor = self.unet(noisy, times, prompt).sample
        return (noisy - (1 - alpha).sqrt() * noise) / alpha.sqrt()


def draw_times(rng: Generator, count: int) -> NDArray[np.int64]:
    """Half uniform in 0..999, half within 20 of the default's two timesteps, 499 and 259."""
    near = rng.choice([499, 259], count) + rng.integers(-20, 21, count)
    return np.where(rng.random(count) < 0.5, rng.integers(0, 1000, count), near)


def starts_from_source(times: NDArray[np.int64], rng: Generator) -> NDArray[np.bool_]:
    """Whether the noised input is the photograph: never below SOURCE_FROM, nearly always from SOURCE_ALWAYS on.

    One input in eight above is the target all the same, so that strength 1, whose second step is at 499, does no harm.
    """
    share = np.clip((times - SOURCE_FROM) / (SOURCE_ALWAYS - SOURCE_FROM), 0, 1) * 0.875
    return rng.random(len(times)) < share


@dataclass(frozen=True)
class Batch:
    """One step's latents, captions and choices."""

    source: Latents
    target: Latents
    texts: list[str]
    times: Int[Tensor, "b"]
    from_source: Bool[Tensor, "b"]
    rolled: Bool[Tensor, "b"]


class Batches:
    """Batches from the latent pool; batch k depends on (SEED, k) alone."""

    def __init__(self) -> None:
        self.latents = np.load(latents.LATENTS, mmap_mode="r")
        self.which = np.load(pools.POOL / "which.npy")
        self.names = list(styles.STYLES)

    def __call__(self, step: int, patch: int, count: int) -> Batch:
        """`count` pairs of `patch` by `patch` latents, cut on the 32-pixel grid that the styles' patterns keep."""
        rng = default_rng([SEED, step])
        pairs = [self._pair(rng, patch) for _ in range(count)]
        sources, targets, texts = zip(*pairs, strict=True)
        times = draw_times(rng, count)
        from_source = starts_from_source(times, rng)
        rolled = ~from_source & (rng.random(count) < 0.5)
        return Batch(
            torch.from_numpy(np.stack(sources)).float().to(loop.DEVICE),
            torch.from_numpy(np.stack(targets)).float().to(loop.DEVICE),
            list(texts),
            torch.from_numpy(times).to(loop.DEVICE),
            torch.from_numpy(from_source).to(loop.DEVICE),
            torch.from_numpy(rolled).to(loop.DEVICE),
        )

    def _pair(self, rng: Generator, patch: int) -> tuple[NDArray[np.float16], NDArray[np.float16], str]:
        index, column = rng.integers(len(self.latents)), rng.integers(pools.PER_CROP)
        neutral = rng.random() < NEUTRAL
        style = None if neutral else self.names[self.which[index, column]]
        top, left = rng.integers(0, (self.latents.shape[-1] - patch) // 4 + 1, 2) * 4
        window = (slice(None), slice(top, top + patch), slice(left, left + patch))
        # an already styled picture, asked for as it is, stays as it is
        source = 0 if not neutral or rng.random() < 0.6 else 1 + column
        target = source if neutral else 1 + column
        return self.latents[index, source][window], self.latents[index, target][window], captions.caption(style, rng)


class Loss:
    """The loss of one step."""

    def __init__(self, model: Denoiser, batches: Batches) -> None:
        self.model, self.batches = model, batches

    def __call__(self, step: int) -> Tensor:
        """The mean loss of batch `step`."""
        small = step < SMALL_UNTIL * PLAN.steps
        batch = self.batches(step, 16, BATCH) if small else self.batches(step, 32, BATCH // 4)
        noise = torch.randn((2, *batch.source.shape), generator=loop.generator(SEED, step)).to(loop.DEVICE)
        with loop.autocast():
            prompt = self.model.prompt(batch.texts)
            start = self._start(batch, noise[1], prompt.detach())
            made = self.model(self.model.noised(start, noise[0], batch.times), batch.times, prompt)
        error = made.float() - batch.target
        return torch.as_tensor(error.square().mean() + 0.5 * error.abs().mean())

    @torch.no_grad()
    def _start(self, batch: Batch, noise: Latents, prompt: Float[Tensor, "b words width"]) -> Latents:
        """What is noised: the photograph, the target, or the network's answer at a higher timestep."""
        start = torch.where(batch.from_source.view(-1, 1, 1, 1), batch.source, batch.target)
        rolled = batch.rolled.nonzero()[:, 0]
        if len(rolled):
            times = (batch.times[rolled] + ROLLOUT_FROM).clamp(SOURCE_ALWAYS, 999)
            noisy = self.model.noised(batch.source[rolled], noise[rolled], times)
            start[rolled] = self.model(noisy, times, prompt[rolled]).float()
        return start


def trained() -> Denoiser:
    """Both networks with their averaged weights, frozen."""
    model = Denoiser(tokenizer.build())
    model.load_state_dict(loop.averaged_weights(CHECKPOINT))
    return model.to(loop.DEVICE).eval().requires_grad_(False)


def main() -> None:
    """Train to the end of the plan, from the last save if there is one."""
    torch.manual_seed(SEED)
    model = Denoiser(tokenizer.build())
    loop.Trainer(model, PLAN, CHECKPOINT).fit(Loss(model, Batches()))


if __name__ == "__main__":
    main()
