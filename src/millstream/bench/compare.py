"""The comparison: the same pictures, model, size, steps and prompt through every system."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track

from millstream.bench import peers, systems
from millstream.bench.report import Report, Row, describe_machine
from millstream.bench.systems import Case
from millstream.bench.timing import System, measure, summarise, warm_up
from millstream.engine import resolve
from millstream.frame import Pixels
from millstream.media.demo import draw
from millstream.models import Model, load_model
from millstream.params import ModelConfig, Params, StreamConfig, check

TABLE = "img2img"
PROMPT = "ink drawing"
STRENGTH = 0.5  # half of any number of steps is whole, so that diffusers runs as many as the others
PICTURES = 8

DIFFERENCES = (
    "All systems: uint8 RGB arrays in and out; the same {dtype} weights, picture size, steps, seed and prompt, "
    "encoded once; no guidance. Systems take turns of a few frames; files, queues and threads are not part of it.",
    "millstream: Stream Batch, one denoiser call a frame with a row for each step; a picture comes out steps - 1 "
    "frames after it went in.",
    "sequential: the same networks and cached prompt in a plain loop, one denoiser call after another.",
    "diffusers: AutoPipelineForImage2Image with {scheduler}, no safety checker.",
)
HOW_TO_GET = (
    "streamdiffusion was not measured: give --streamdiffusion PYTHON, the interpreter of an environment that has it "
    "(docs/benchmarks/README.md has the commands)."
)


@dataclass(frozen=True)
class Plan:
    """What to measure: `size` is width and height, `python` the interpreter of streamdiffusion's environment."""

    model: str
    steps: Sequence[int]
    frames: int
    size: tuple[int, int] | None = None
    python: str | None = None


def compare(plan: Plan) -> Report:
    """Run every system on every number of steps. Raises MillstreamError where one cannot run."""
    model = load_model(ModelConfig(name=plan.model))
    cases = [_case(plan, model, steps) for steps in plan.steps]
    rows: list[Row] = []
    notes: list[str] = []
    with ExitStack() as stack:
        field = Field(plan, model, stack)
        for case in track(cases, "measuring", console=Console(stderr=True)):
            more, agreement = _measure(case, field.of(case), plan.frames)
            rows += more
            notes.append(agreement)
        return Report(describe_machine(model.device), rows, _setting(plan, cases[0]), [*field.notes(), *notes])


class Field:
    """The systems, each loaded once for all cases."""

    def __init__(self, plan: Plan, model: Model, stack: ExitStack) -> None:
        path = systems.model_path(plan.model)
        self._dtype = str(model.dtype).removeprefix("torch.")
        self._pipeline = systems.load_pipeline(path, model)
        self._worker = stack.enter_context(peers.open_worker(plan.python)) if plan.python else None
        if self._worker:
            self._worker.load(path, model)

    def of(self, case: Case) -> list[System]:
        """The systems of a case, in the order of the report's columns."""
        here: list[System] = [
            systems.millstream(case),
            systems.sequential(case),
            systems.diffusers(case, self._pipeline),
        ]
        return [*here, peers.streamdiffusion(case, self._worker)] if self._worker else here

    def notes(self) -> Iterator[str]:
        """What differs between the systems."""
        scheduler = type(self._pipeline.scheduler).__name__
        yield from (line.format(dtype=self._dtype, scheduler=scheduler) for line in DIFFERENCES)
        yield f"streamdiffusion: {'; '.join(self._worker.notes)}." if self._worker else HOW_TO_GET


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures in decibels; infinite where they are equal."""
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def _case(plan: Plan, model: Model, steps: int) -> Case:
    width, height = plan.size or (None, None)
    config = resolve(check(StreamConfig, {"width": width, "height": height, "steps": steps}), model)
    return Case(model, config, Params(prompt=PROMPT, strength=STRENGTH))


def _measure(case: Case, field: Sequence[System], frames: int) -> tuple[list[Row], str]:
    """Rows of one case, and how far its pictures agree."""
    assert case.config.width and case.config.height
    pictures = [draw(i / PICTURES, case.config.width, case.config.height) for i in range(PICTURES)]
    outputs = {system.name: warm_up(system, pictures) for system in field}
    seconds = measure(field, pictures, frames)
    rows = [Row(TABLE, name, case.config.steps, _size(case), *summarise(times)) for name, times in seconds.items()]
    return rows, _agreement(case.config.steps, outputs)


def _agreement(steps: int, outputs: Mapping[str, Sequence[Pixels]]) -> str:
    worst = {
        name: min(psnr(a, b) for a, b in zip(pictures, outputs["sequential"], strict=True))
        for name, pictures in outputs.items()
        if name != "sequential"
    }
    shown = ", ".join(f"{name} {'equal' if db == float('inf') else f'{db:.1f} dB'}" for name, db in worst.items())
    return f"Agreement with sequential, steps {steps} (PSNR of the worst picture): {shown}."


def _size(case: Case) -> str:
    return f"{case.config.width}x{case.config.height}"


def _setting(plan: Plan, case: Case) -> str:
    return (
        f'Image to image, {_size(case)}, model {plan.model}, strength {STRENGTH}, prompt "{PROMPT}", '
        f"{plan.frames} timed frames of each system."
    )
