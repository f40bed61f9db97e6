"""Figures 5 and 6 of StreamDiffusion (arXiv 2312.12491), one sweep here: Stream Batch against a sequential loop."""

from millstream.backends.choice import EAGER
from millstream.bench import systems
from millstream.bench.report import Table
from millstream.bench.setup import Setup

NAME = "figure5"
STEPS = (1, 2, 3, 4, 5, 10)
ABOUT = "Stream Batch against a plain loop over the same networks, one denoiser call after another, by denoising steps."
NOTE = (
    "Both are eager, so that like is compared with like: the compiled tick is one graph of a Stream Batch, and there "
    "is no compiled loop. At one step they do the same."
)


def measure(setup: Setup) -> Table:
    """Both at every number of steps."""
    rows = [
        row
        for steps in STEPS
        for case in [setup.case(steps, EAGER)]
        for row in setup.race(NAME, steps, [systems.millstream(case, "stream batch"), systems.sequential(case)]).rows
    ]
    return Table(NAME, ABOUT, "sequential", rows, [NOTE])
