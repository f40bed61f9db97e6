"""docs/embedded-model.md: every gate that was fixed before training, what was measured, and the sheets."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Figures = dict[str, Any]


class Gate(NamedTuple):
    """What is asked of the model: at least (or, for `most`, at most) `asked` of what `measure` finds in the figures.

    `gpu` is what is asked of one that was trained on a GPU, where that is more.
    """

    name: str
    asked: float
    measure: Callable[[Figures], float]
    unit: str = "dB"
    most: bool = False
    gpu: float | None = None

    def met(self, figures: Figures, on_gpu: bool = False) -> bool:
        """Whether the figures meet it, as it is asked of a training on a CPU, or of one on a GPU."""
        found, asked = self.measure(figures), self.asks(on_gpu)
        return found <= asked if self.most else found >= asked

    def asks(self, on_gpu: bool) -> float:
        """The number that is asked for."""
        return self.gpu if on_gpu and self.gpu is not None else self.asked

    def row(self, figures: Figures) -> str:
        """A row of the table."""
        cells = (self._verdict(figures, on_gpu) for on_gpu in (False, True))
        return f"| {self.name} | {self._found(figures)} | {' | '.join(cells)} |"

    def beside(self, figures: Figures, others: Figures) -> str:
        """A row of what was measured twice, and whether the latter meets what is asked of a training on a CPU."""
        found = f"{self._found(figures)} | {self._found(others)}"
        return f"| {self.name} | {found} | {self._verdict(others, on_gpu=False)} |"

    def _found(self, figures: Figures) -> str:
        return _shown(self.measure(figures), self.unit)

    def _verdict(self, figures: Figures, on_gpu: bool) -> str:
        sign, met = "at most" if self.most else "at least", self.met(figures, on_gpu)
        return f"{sign} {_shown(self.asks(on_gpu), self.unit)} | {'met' if met else '**missed**'}"


def _least_gain(figures: Figures) -> float:
    return float(min(row["one step"] - row["untouched"] for row in figures["styles"].values()))


def _most_lost(figures: Figures) -> float:
    return float(max(row["one step"] - row["two steps"] for row in figures["styles"].values()))


def _least(kind: str) -> Callable[[Figures], float]:
    """The least share named right, of the objects that ship."""

    def least(figures: Figures) -> float:
        scenes = figures["scenes"]
        return min((float(scenes["objects"][name][kind]) for name in scenes["passed"]), default=0.0)

    return least


AUTOENCODER = (
    Gate("autoencoder, photographs", 30, lambda f: f["autoencoder"]["photographs"], gpu=32),
    Gate("autoencoder, styled pictures", 28, lambda f: f["autoencoder"]["styled"], gpu=30),
    Gate("autoencoder, scenes", 29, lambda f: f["autoencoder"]["scenes"], gpu=31),
)
PICTURES = (
    Gate("styles, one step, mean", 21, lambda f: f["mean"]["one step"], gpu=23),
    Gate("styles, one step, least gain on the untouched picture", 2, _least_gain),
    Gate("styles, right one nearest of all, two steps", 0.92, lambda f: f["mean"]["retrieved"], "share", gpu=0.96),
    Gate("styles, phrases unheard in training", 0.80, lambda f: f["mean"]["paraphrase retrieved"], "share", gpu=0.9),
    Gate("styles, most that a second step loses", 1, _most_lost, most=True),
    Gate('"a photo", two steps', 25, lambda f: f["identity"]["2 steps"]),
    Gate("objects that pass by themselves", 24, lambda f: len(f["scenes"]["passed"]), "objects", gpu=150),
    Gate("objects that ship, from a drawing, least", 0.70, _least("drawing"), "share", gpu=0.95),
    Gate("objects that ship, from text, least", 0.60, _least("text"), "share", gpu=0.9),
    Gate("places, from a drawing", 0.95, lambda f: f["scenes"]["places"]["drawing"], "share", gpu=0.98),
    Gate("places, from text", 0.95, lambda f: f["scenes"]["places"]["text"], "share", gpu=0.98),
    Gate("change between frames over the filter's, most", 1, lambda f: max(f["steadiness"].values()), "", most=True),
)
GATES = (
    *AUTOENCODER,
    *PICTURES,
    Gate("speed, one step", 40, lambda f: f["speed"]["1 steps"]["median"], "frames a second"),
    Gate("speed, two steps", 30, lambda f: f["speed"]["2 steps"]["median"], "frames a second"),
    Gate("held-out pictures", 20, lambda f: len(f["held out"]), "pictures"),
)

HEAD = """# The embedded model, measured

Written by `python -m training.evaluate`, on pictures that training never saw, through the engine, eager and in float32
(speed: with the back end that the machine takes by itself). PSNR in dB is to the procedural target. No seed was picked:
all noise has the engine's own default, scenes are drawn from fixed seeds. Scenes are named by a classifier that was
trained apart (`training/classifier.py`); the drawings are rough enough to hide what they are: of those themselves it
names {untouched:.0%}.
"""


def text(figures: Figures, sheets: Sequence[str]) -> str:
    """The page, as Markdown; `sheets` are the pictures' paths as seen from it."""
    untouched = [shares["untouched"] for shares in figures["scenes"]["objects"].values()]
    parts = [
        HEAD.format(untouched=sum(untouched) / len(untouched)),
        "## Gates\n\nAsked of what two CPU cores train, and of what a GPU trains.\n\n"
        "| gate | measured | CPU | | GPU | |\n| --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(gate.row(figures) for gate in GATES),
        _speed(figures["speed"]),
        integers_table(figures),
        styles_table(figures),
        objects_table(figures),
        "## Held out\n\n" + "; ".join(figures["held out"]) + ".",
        "## Sheets\n\nStyles: procedural target, one step, two steps. Scenes: rough drawing, two steps from it, the "
        "clean scene, two steps from text alone; at the end drawings made by hand.",
        *(f"![{path}]({path})" for path in sheets),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def integers_table(figures: Figures) -> str:
    """The gates of pictures, with the same pictures in 8-bit integers beside them."""
    integers = figures["integers"]
    lines = [
        "## In integers\n",
        "The same through `openvino` in `int8`, which a stream takes by itself where the processor multiplies 8-bit "
        f"integers and has no AMX. {integers.get('remark', '')}\n",
        "| gate | float32 | integers | CPU | |",
        "| --- | --- | --- | --- | --- |",
        *(gate.beside(figures, integers) for gate in PICTURES),
    ]
    return "\n".join(lines)


def styles_table(figures: Figures) -> str:
    """PSNR, retrieval and flicker of every style."""
    lines = [
        "## Styles\n",
        "Retrieved: right style nearest of all after two steps, and the same for a phrase never heard in training. "
        "Flicker: the change between consecutive frames of a film over that of the procedural filter.\n",
        "| style | untouched | one step | two steps | retrieved | unheard | flicker |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {style} | {_cells(row)} | {figures['steadiness'][style]:.2f} |" for style, row in figures["styles"].items()
    ]
    lines.append(f"| mean | {_cells(figures['mean'])} | |")
    return "\n".join(lines)


def _cells(row: Figures) -> str:
    levels = (f"{row[name]:.1f}" for name in ("untouched", "one step", "two steps"))
    return " | ".join([*levels, *(f"{row[name]:.0%}" for name in ("retrieved", "paraphrase retrieved"))])


def objects_table(figures: Figures) -> str:
    """How often each object is named right: in the drawing itself, after two steps from it, and from text."""
    scenes = figures["scenes"]
    rows = [
        f"| {name} | {shares['untouched']:.0%} | {shares['drawing']:.0%} | {shares['text']:.0%} "
        f"| {'yes' if name in scenes['passed'] else 'no'} |"
        for name, shares in scenes["objects"].items()
    ]
    held = scenes["held drawings"]
    return "\n".join(
        [
            "## Objects\n",
            "Named right by the judge, ten pictures each. Of the drawings made by hand, objects: "
            f"{held['objects']:.0%}, places: {held['places']:.0%}.\n",
            "| object | rough drawing | made from it | made from text | ships |",
            "| --- | --- | --- | --- | --- |",
            *rows,
        ]
    )


def _speed(speed: Figures) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in speed["machine"].items())
    rows = [
        f"{steps} {row['median']:.1f} ({row['p25']:.1f} to {row['p75']:.1f}), {row['back end']}"
        for steps, row in speed.items()
        if steps != "machine"
    ]
    return f"Frames a second, median (quartiles) of 200 ticks: {'; '.join(rows)}. Machine: {machine}."


def _shown(value: float, unit: str) -> str:
    if unit == "share":
        return f"{value:.0%}"
    if isinstance(value, int):
        return f"{value} {unit}".strip()
    return f"{value:.1f} {unit}" if unit else f"{value:.3f}"
