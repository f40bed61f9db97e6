"""Table 1 of StreamDiffusion (arXiv 2312.12491): the engine, eager and compiled, and its peers, by steps."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from millstream.backends.choice import EAGER, KINDS
from millstream.bench import systems
from millstream.bench.compare import BASELINE, against_peers
from millstream.bench.limit import frame_operations
from millstream.bench.report import Row, Table
from millstream.bench.setup import Setup
from millstream.bench.timing import System
from millstream.errors import ModelError

NAME = "table1"
STEPS = (1, 2, 4, 10)
# The numbers of a processor, of which `auto` takes one.
NUMBERS = ("openvino", "bfloat16"), ("openvino", "int8")
OF_LIMIT = (
    "of_limit: the products and convolutions of the frames of a second, over the machine's measured matrix product."
)
ABOUT = "The engine with and without a compiled back end, and its peers, by denoising steps."


def measure(setup: Setup) -> Table:
    """Every back end that can run here, that of processors in all its fast numbers."""
    return _measure(setup, (*((backend, "auto") for backend in (EAGER, *KINDS)), *NUMBERS))


def quick(setup: Setup) -> Table:
    """Eager, and the fastest back end, that of processors in all its fast numbers."""
    return _measure(setup, (*((backend, "auto") for backend in (EAGER, setup.fastest)), *NUMBERS))


def own_systems(setup: Setup, steps: int, forms: Sequence[tuple[str, str]]) -> tuple[list[System], list[str]]:
    """The engine on these back ends and precisions, each once, and for those that cannot run or be built here, why."""
    found: dict[str, System] = {}
    left_out: list[str] = []
    for backend, precision in forms:
        try:
            case = setup.case(steps, backend, precision=precision)
            if case.label not in found:
                found[case.label] = systems.millstream(case)
        except ModelError as error:
            left_out.append(f"Left out: {error}.")
    return [*found.values()], left_out


def _measure(setup: Setup, forms: Sequence[tuple[str, str]]) -> Table:
    mine: set[str] = set()

    def own(steps: int) -> tuple[list[System], list[str]]:
        found, left_out = own_systems(setup, steps, forms)
        mine.update(system.name for system in found)
        return found, left_out

    rows, notes = against_peers(setup, NAME, STEPS, own, reference=setup.case(1, EAGER).label)
    return Table(NAME, ABOUT, BASELINE, list(_against_limit(setup, rows, mine)), [*notes, OF_LIMIT])


def _against_limit(setup: Setup, rows: Sequence[Row], mine: Collection[str]) -> Iterator[Row]:
    """The rows, those of the engine with their share of the machine's matrix products."""
    operations = {steps: frame_operations(setup.case(steps, EAGER), setup.pictures[0]) for steps in STEPS}
    for row in rows:
        share = operations[row.steps] * row.fps / setup.product_rate
        yield replace(row, figures={**row.figures, "of_limit": share}) if row.system in mine else row
