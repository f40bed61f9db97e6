"""How far the pictures of each back end and precision are from eager's."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import get_args

import numpy as np

from millstream.backends.choice import EAGER, KINDS
from millstream.bench.compare import worst_psnr
from millstream.bench.report import Figures, Table
from millstream.bench.setup import Setup
from millstream.bench.table1 import own_systems
from millstream.frame import Pixels
from millstream.params import Precision

NAME = "parity"
STEPS = 2
ABOUT = (
    "Pictures of each back end and precision against eager's: `psnr_db` of the worst picture, and `largest_error` of "
    "any value, of 255."
)


def measure(setup: Setup) -> Table:
    """Every back end in every precision that it has here."""
    forms = [(backend, precision) for backend in KINDS for precision in get_args(Precision) if precision != "auto"]
    field, left_out = own_systems(setup, STEPS, [(EAGER, "auto"), *forms])
    rows, outputs = setup.race(NAME, STEPS, field)
    expected = outputs[field[0].name]
    compared = [replace(row, figures=differences(outputs[row.system], expected)) for row in rows]
    return Table(NAME, ABOUT, field[0].name, compared, left_out)


def differences(pictures: Sequence[Pixels], expected: Sequence[Pixels]) -> Figures:
    """The worst picture's signal-to-noise ratio, None where all are equal, and the largest error of a value."""
    worst = worst_psnr(pictures, expected)
    largest = np.abs(np.stack(pictures).astype(int) - np.stack(expected)).max()
    return {"psnr_db": None if worst == inf else worst, "largest_error": int(largest)}
