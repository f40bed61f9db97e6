"""Tables that are sweeps as line plots, in SVG written by hand: a plotting library would be the bigger dependency."""

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, floor, log10

from millstream.bench.report import Row, Table

SWEEPS = {"img2img": "steps", "table1": "steps", "table2": "steps", "figure5": "steps", "scaling": "rows"}
WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 210, 36, 44  # margins; the legend stands in the right one
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
TICKS = 5
STYLE = "font-family='sans-serif' font-size='12' fill='#333'"

Point = tuple[float, float]


def draw(table: Table) -> str:
    """Milliseconds a frame over steps or rows, one line a system, with quartiles as bars."""
    lines = {system: [row for row in table.rows if row.system == system] for system in _systems(table)}
    frame = _Frame([_x(row) for row in table.rows], max(row.ms_p75 for row in table.rows))
    parts = [*_axes(frame, table.name)]
    for place, (system, rows) in enumerate(lines.items()):
        parts += _line(frame, COLOURS[place % len(COLOURS)], rows)
        parts += _legend(place, COLOURS[place % len(COLOURS)], system)
    body = "\n".join(parts)
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' {STYLE}>"
    return f"{head}\n<rect width='100%' height='100%' fill='white'/>\n{body}\n</svg>\n"


class _Frame:
    """The plane of a plot: x from 0 to the largest value, y from 0 to a round number."""

    def __init__(self, values: Sequence[float], highest: float) -> None:
        self.values = sorted(set(values))
        self.step = round_step(highest / TICKS)
        self.top = self.step * ceil(highest / self.step)

    def at(self, x: float, y: float) -> Point:
        """Place in the picture."""
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / self.values[-1]
        return across, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / self.top


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** floor(log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _systems(table: Table) -> list[str]:
    return list(dict.fromkeys(row.system for row in table.rows))


def _x(row: Row) -> float:
    return row.figures.get("rows") or row.steps


def _axes(frame: _Frame, name: str) -> Iterator[str]:
    yield _text(LEFT, 20, f"{name}: milliseconds a frame by {SWEEPS[name]}", "start")
    for i in range(round(frame.top / frame.step) + 1):
        left, y = frame.at(0, i * frame.step)
        yield f"<line x1='{left}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='#ddd'/>"
        yield _text(left - 8, y + 4, f"{i * frame.step:g}", "end")
    for value in frame.values:
        x, bottom = frame.at(value, 0)
        yield _text(x, bottom + 18, f"{value:g}", "middle")


def _line(frame: _Frame, colour: str, rows: Sequence[Row]) -> Iterator[str]:
    points = [frame.at(_x(row), row.ms_median) for row in rows]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>"
    for row, (x, y) in zip(rows, points, strict=True):
        low, high = (frame.at(0, edge)[1] for edge in (row.ms_p25, row.ms_p75))
        yield f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{low:.1f}' y2='{high:.1f}' stroke='{colour}'/>"
        yield f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>"


def _legend(place: int, colour: str, system: str) -> Iterator[str]:
    x, y = WIDTH - RIGHT + 16, TOP + 12 + 18 * place
    yield f"<rect x='{x}' y='{y - 8}' width='10' height='10' fill='{colour}'/>"
    yield _text(x + 16, y + 1, system, "start")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'>{escape(text)}</text>"
