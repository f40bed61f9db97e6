"""`millstream bench paper`: the tables of StreamDiffusion (arXiv 2312.12491) for this machine, in one run."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from millstream.bench import ablation, energy, figure5, parity, plots, scaling, table1, table2
from millstream.bench.compare import describe
from millstream.bench.report import Report, Table, describe_machine, write
from millstream.bench.setup import Plan, Setup

Measure = Callable[[Setup], Table]

ALL: tuple[Measure, ...] = (
    table1.measure,
    table2.measure,
    figure5.measure,
    ablation.measure,
    energy.measure,
    scaling.measure,
    parity.measure,
)
QUICK: tuple[Measure, ...] = (table1.quick,)


def measure(plan: Plan, tables: Sequence[Measure]) -> Report:
    """Measure the tables, one after another. Raises MillstreamError where one cannot be."""
    setup = Setup.load(plan)
    made = [table(setup) for table in track(tables, "measuring", console=Console(stderr=True))]
    dtype = str(setup.model.dtype).removeprefix("torch.")
    product = {"matrix product": f"{setup.product_rate / 1e12:.3g} TFLOP/s in {dtype}"}
    return Report(describe_machine(setup.model.device) | product, describe(setup), made)


def write_illustrated(path: Path, report: Report) -> None:
    """Write the report as Markdown, and beside it a plot of every table that is a sweep.

    Raises OutputError where a file cannot be written.
    """
    drawn = {table.name: plots.draw(table) for table in report.tables if table.name in plots.SWEEPS}
    files = {name: f"{path.stem}-{name}.svg" for name in drawn}
    for name, svg in drawn.items():
        write(path.with_name(files[name]), svg)
    write(path, report.markdown(files))
