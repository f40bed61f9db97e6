"""The comparison: the same pictures, model, size, steps and prompt through the engine and its peers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import numpy as np
from diffusers import StableDiffusionXLImg2ImgPipeline

from millstream.bench import peers, systems
from millstream.bench.report import Report, Row, Table, describe_machine
from millstream.bench.setup import PROMPT, STRENGTH, Plan, Setup
from millstream.bench.systems import Case
from millstream.bench.timing import System
from millstream.errors import BadInputError
from millstream.frame import Pixels

IMG2IMG = "img2img"
BASELINE = "diffusers"

DIFFERENCES = (
    "All systems: uint8 RGB arrays in and out; the same {dtype} weights, picture size, steps, seed and prompt, "
    "encoded once; no guidance. Systems take turns of a few frames; files, queues and threads are not part of it.",
    "millstream: Stream Batch, one denoiser call a frame with a row for each step; a picture comes out steps - 1 "
    "frames after it went in.",
    "diffusers: AutoPipelineForImage2Image with {scheduler}, no safety checker.",
)
HOW_TO_GET = (
    "streamdiffusion was not measured: give --streamdiffusion PYTHON, the interpreter of an environment that has it "
    "(docs/benchmarks/README.md has the commands)."
)

# The engine's own systems of so many steps, and what readers must know of them.
Own = Callable[[int], tuple[list[System], list[str]]]


def compare(plan: Plan, steps: Sequence[int]) -> Report:
    """Run the engine, the plain loop and the peers. Raises MillstreamError where one cannot run."""
    setup = Setup.load(plan)

    def own(n: int) -> tuple[list[System], list[str]]:
        case = setup.case(n, "auto")
        here = f"millstream runs {case.config.backend} in {case.config.precision}, the rest PyTorch as it is."
        return [systems.millstream(case, "millstream"), systems.sequential(setup.case(n, "eager"))], [here]

    about = "Image to image; sequential is a plain loop over the same networks, one denoiser call after another."
    rows, notes = against_peers(setup, IMG2IMG, steps, own, reference="sequential")
    table = Table(IMG2IMG, about, BASELINE, rows, notes)
    return Report(describe_machine(setup.model.device), describe(setup), [table])


def against_peers(
    setup: Setup, name: str, steps: Sequence[int], own: Own, reference: str
) -> tuple[list[Row], list[str]]:
    """Rows of the engine's systems and the peers, side by side for every number of steps, and notes to them.

    `reference` is the system that the others' pictures are compared with.
    """
    rows: list[Row] = []
    notes: list[str] = []
    with ExitStack() as stack:
        others = Peers(setup, stack)
        for n in steps:
            mine, remarks = own(n)
            raced = setup.race(name, n, [*mine, *others.of(setup.case(n, "eager"))])
            rows += raced.rows
            notes += [*remarks, agreement(n, raced.outputs, reference)]
        return rows, [*others.notes(), *dict.fromkeys(notes)]


class Peers:
    """The others, each loaded once for all cases."""

    def __init__(self, setup: Setup, stack: ExitStack) -> None:
        path = systems.model_path(setup.plan.model)
        self._dtype = str(setup.model.dtype).removeprefix("torch.")
        self._pipeline = systems.load_pipeline(path, setup.model)
        if setup.plan.python and isinstance(self._pipeline, StableDiffusionXLImg2ImgPipeline):
            raise BadInputError("--streamdiffusion: its 0.1.1 does not know Stable Diffusion XL; leave it out")
        self._worker = stack.enter_context(peers.open_worker(setup.plan.python)) if setup.plan.python else None
        if self._worker:
            self._worker.load(path, setup.model, setup.size)

    def of(self, case: Case) -> list[System]:
        """The peers of a case."""
        piped = systems.diffusers(case, self._pipeline)
        return [piped, peers.streamdiffusion(case, self._worker)] if self._worker else [piped]

    def notes(self) -> Iterator[str]:
        """What differs between the systems."""
        scheduler = type(self._pipeline.scheduler).__name__
        yield from (line.format(dtype=self._dtype, scheduler=scheduler) for line in DIFFERENCES)
        yield f"streamdiffusion: {'; '.join(self._worker.notes)}." if self._worker else HOW_TO_GET


def describe(setup: Setup) -> str:
    """What was run, in a sentence for readers."""
    plan = setup.plan
    return (
        f'Image to image, {setup.size_name}, model {plan.label or plan.model}, strength {STRENGTH}, prompt "{PROMPT}", '
        f"{plan.frames} timed frames of each system, in turns."
    )


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures in decibels; infinite where they are equal."""
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def worst_psnr(pictures: Sequence[Pixels], others: Sequence[Pixels]) -> float:
    """The signal-to-noise ratio of the picture that differs most from its like, in decibels."""
    return min(psnr(a, b) for a, b in zip(pictures, others, strict=True))


def agreement(steps: int, outputs: Mapping[str, Sequence[Pixels]], reference: str) -> str:
    """Say how far the systems' pictures agree with those of one of them."""
    worst = {name: worst_psnr(made, outputs[reference]) for name, made in outputs.items() if name != reference}
    shown = ", ".join(f"{name} {'equal' if db == float('inf') else f'{db:.1f} dB'}" for name, db in worst.items())
    return f"Agreement with {reference}, steps {steps} (PSNR of the worst picture): {shown}."
