"""The shipped model as users run it: through the engine, eager and in float32, or in the numbers of a back end."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from millstream.engine import Engine
from millstream.feed import Feed, offline
from millstream.frame import NO_PIXELS, Frame
from millstream.models import load_model
from millstream.params import ModelConfig, Params, StreamConfig, check

SIDE = 256
STRENGTH = 0.5

Pictures = NDArray[np.uint8]  # (b, h, w, 3)


class Runner:
    """The model in the package."""

    def __init__(self, backend: str = "eager", precision: str = "auto") -> None:
        self._numbers = {"backend": backend, "precision": precision}
        self.model = load_model(ModelConfig(device="cpu", dtype="float32"))
        self._engine = Engine(self.model)

    def __call__(self, pictures: Pictures, text: str, steps: int, strength: float = STRENGTH) -> Pictures:
        """The pictures as `text` says, by `steps` network calls; every frame has the same noise."""
        frames = (Frame(index, picture) for index, picture in enumerate(pictures))
        return self._run(frames, {"steps": steps}, {"prompt": text, "strength": strength})

    def from_text(self, text: str, steps: int, seed: int = 0) -> Pictures:
        """One picture of `text` alone, (1, h, w, 3)."""
        return self._run([Frame(0, NO_PIXELS)], {"steps": steps, "input": "text"}, {"prompt": text, "seed": seed})

    @torch.inference_mode()
    def through(self, pictures: Pictures) -> Pictures:
        """The pictures through encoder and decoder alone, one at a time."""
        each = (torch.from_numpy(picture[None]) for picture in pictures)
        return torch.cat([self.model.decode(self.model.encode(picture)) for picture in each]).numpy()

    def _run(self, frames: Iterable[Frame], config: dict[str, Any], params: dict[str, Any]) -> Pictures:
        form = check(StreamConfig, {"width": SIDE, "height": SIDE} | self._numbers | config)
        session = self._engine.open(form, check(Params, params))
        return np.stack([frame.pixels for frame in offline(Feed(self._engine, session), frames)])
