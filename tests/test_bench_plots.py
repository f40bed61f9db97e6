"""Plots of sweeps: well-formed, and every value where it belongs."""

from xml.etree import ElementTree

import pytest

from millstream.bench.plots import draw, round_step
from millstream.bench.report import Row, Table

NS = "{http://www.w3.org/2000/svg}"


def row(system: str, steps: int, ms: float, **figures: float) -> Row:
    return Row("figure5", system, steps, "any", ms, ms - 1, ms + 1, 1000 / ms, figures)


def points(svg: str) -> list[list[tuple[float, float]]]:
    lines = ElementTree.fromstring(svg).findall(f"{NS}polyline")
    return [[tuple(map(float, point.split(","))) for point in line.get("points").split()] for line in lines]


def test_a_line_for_every_system_with_its_values_in_proportion():
    rows = [row("a & b", 1, 10), row("c", 1, 20), row("a & b", 2, 15), row("c", 2, 40), row("a & b", 4, 30)]
    svg = draw(Table("figure5", "", "", rows))
    first, second = points(svg)
    assert (len(first), len(second)) == (3, 2)
    (x1, y1), (x2, y2), (x4, y4) = first
    assert (x4 - x2) / (x2 - x1) == pytest.approx(2, abs=0.02)
    assert (y2 - y4) / (y1 - y2) == pytest.approx(3, abs=0.05)
    assert second[0][1] == pytest.approx(y1 - 2 * (y1 - y2), abs=0.2)
    assert "a &amp; b" in svg


def test_scaling_is_drawn_over_its_rows():
    rows = [Row("scaling", "a", 1, f"{n} rows", 10, 9, 11, 100, {"rows": n}) for n in (1, 2, 4)]
    ((x1, _), (x2, _), (x4, _)) = points(draw(Table("scaling", "", "", rows)))[0]
    assert (x4 - x2) / (x2 - x1) == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(
    ("least", "step"), [(1.0, 1), (1.1, 2), (3, 5), (0.03, 0.05), (60, 100), (2000, 2000), (1e-6, 1e-6)]
)
def test_round_steps(least: float, step: float):
    assert round_step(least) == pytest.approx(step)
