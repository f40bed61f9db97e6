"""The shipped model, run the way the engine runs it: noise, predict, re-noise, predict, decode."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from millstream.core.noise import stage_noise
from millstream.core.schedule import levels_from_strength, make_stages
from millstream.models import load_model
from millstream.params import ModelConfig, WeightedPrompt

SIDE = 256
STRENGTH = 0.5  # the engine's default
FULL = 1.0  # text alone
SEED = 0

Pictures = NDArray[np.uint8]  # (b, h, w, 3)


class Runner:
    """The model in the package, in float32, eager."""

    def __init__(self) -> None:
        self.model = load_model(ModelConfig(device="cpu", dtype="float32"))

    @torch.inference_mode()
    def __call__(self, pictures: Pictures, text: str, steps: int, strength: float = STRENGTH) -> Pictures:
        """The pictures as `text` says, by `steps` network calls; every frame has the same noise."""
        return self._run(self.model.encode(torch.from_numpy(pictures)), text, steps, strength)

    @torch.inference_mode()
    def from_text(self, text: str, steps: int, seed: int = SEED) -> Pictures:
        """One picture of `text` alone, (1, h, w, 3)."""
        return self._run(None, text, steps, FULL, seed)

    @torch.inference_mode()
    def through(self, pictures: Pictures) -> Pictures:
        """The pictures through encoder and decoder alone."""
        decoded = [
            self.model.decode(self.model.encode(torch.from_numpy(part))) for part in np.split(pictures, len(pictures))
        ]
        return torch.cat(decoded).numpy()

    def _run(self, clean: Tensor | None, text: str, steps: int, strength: float, seed: int = SEED) -> Pictures:
        model = self.model
        levels = levels_from_strength(steps, strength, model.rule)
        stages = make_stages(model.schedule, levels, model.rule)
        side = SIDE // model.factor
        noise = stage_noise(seed, steps, (model.channels, side, side))
        cond = model.condition((WeightedPrompt(text=text),))
        for step in range(steps):
            a, b, p_x, p_o = (float(column[step]) for column in (stages.a, stages.b, stages.p_x, stages.p_o))
            x = noise[step][None] if clean is None else a * clean + b * noise[step]
            rows = {name: value.expand(len(x), *value.shape[1:]) for name, value in cond.items()}
            clean = p_x * x + p_o * model.denoise(x, torch.full((len(x),), float(stages.t[step])), rows)
        assert clean is not None
        return np.asarray(model.decode(clean).numpy())
