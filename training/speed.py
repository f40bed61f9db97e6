"""How fast the shipped model is with the back end that this machine takes by itself."""

from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from millstream.bench.report import describe_machine
from millstream.engine import Engine
from millstream.frame import Frame
from millstream.models import load_model
from millstream.params import ModelConfig, Params, Precision, StreamConfig

WARM, TIMED = 30, 200  # ticks
SHOWN = ("cpu", "cores", "torch", "openvino")


def frames_per_second(
    engine: Engine, steps: int, picture: NDArray[np.uint8], precision: Precision = "auto"
) -> dict[str, float | str]:
    """Median and quartiles over TIMED ticks at 256x256; in each a frame enters one stream and one leaves it."""
    session = engine.open(StreamConfig(steps=steps, width=256, height=256, precision=precision), Params(prompt="night"))
    took = []
    for index in range(WARM + TIMED):
        begun = perf_counter()
        engine.tick({session: [Frame(index, picture)]})
        took.append(perf_counter() - begun)
    slow, median, fast = (1 / np.percentile(took[WARM:], (75, 50, 25))).tolist()
    back_end = f"{session.config.backend} {session.config.precision}"
    return {"back end": back_end, "median": median, "p25": slow, "p75": fast}


def speeds(picture: NDArray[np.uint8]) -> dict[str, dict[str, Any]]:
    """One and two steps on this machine, and both in integers."""
    engine = Engine(load_model(ModelConfig(device="cpu")))
    machine = describe_machine(torch.device("cpu"))
    timed = {f"{steps} steps": frames_per_second(engine, steps, picture) for steps in (1, 2)}
    timed |= {f"{steps} steps, int8": frames_per_second(engine, steps, picture, "int8") for steps in (1, 2)}
    return {"machine": {name: machine[name] for name in SHOWN}} | timed
