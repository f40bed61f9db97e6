"""What the similarity filter saves (StreamDiffusion, arXiv 2312.12491, section 3.4): a still scene and a moving one.

A source of so many frames a second, as a camera is: between frames the device rests, and that is what the filter gives
it more of.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

import numpy as np

from millstream.bench import systems
from millstream.bench.meters import Meter, choose_meter
from millstream.bench.report import Row, Table
from millstream.bench.setup import Setup
from millstream.bench.timing import TURN, summarise
from millstream.feed import Feed, offline
from millstream.frame import Frame, Pixels
from millstream.media.sources import DEMO

NAME = "energy"
STEPS = 2
RATE = 30.0  # frames a second of the source
FRAMES = 44  # in one go: four times as many as the filter skips, and those that it lets through
ON, OFF = "filter on", "filter off"
ABOUT = (
    "The similarity filter on a source of {rate:g} frames a second, or as many as the machine can do. `{unit}` is "
    "spent on a frame, `skipped` the part of the frames that were, `saved` what all frames cost over what was spent."
)
NO_CLIP = "The moving scene is the drawn demo; give --source FILE, a real clip."


class Spent(NamedTuple):
    """What a frame took: seconds, and units of the meter; and the part of the frames that were skipped."""

    seconds: float
    energy: float
    skipped: float


def measure(setup: Setup) -> Table:
    """Both scenes, with and without the filter, in turns."""
    meter = choose_meter(setup.model.device)
    clip = list(islice(cycle([frame.pixels for frame in setup.moving(FRAMES)]), FRAMES))
    scenes = {"still": clip[:1] * FRAMES, f"moving, {Path(setup.plan.source).name}": clip}
    rows = [row for scene, pictures in scenes.items() for row in _scene(setup, meter, scene, pictures)]
    notes = [meter.note, *([NO_CLIP] if setup.plan.source == DEMO else [])]
    return Table(NAME, ABOUT.format(rate=RATE, unit=meter.unit), "", rows, notes)


def _scene(setup: Setup, meter: Meter, scene: str, pictures: Sequence[Pixels]) -> list[Row]:
    runs = {
        name: systems.opened(setup.case(STEPS, setup.fastest, {"similarity_filter": name == ON})) for name in (ON, OFF)
    }
    spent: dict[str, list[Spent]] = {name: [] for name in runs}
    for _ in range(max(1, setup.plan.frames // TURN)):
        for name, (engine, session) in runs.items():
            spent[name].append(spend(Feed(engine, session), pictures, meter))
    return with_savings([_row(meter, name, scene, samples) for name, samples in spent.items()], meter.unit)


def spend(feed: Feed, pictures: Sequence[Pixels], meter: Meter) -> Spent:
    """Send pictures through at the source's pace, and read the meter. Closes the feed."""
    begun, before = monotonic(), meter.read()
    for _ in offline(feed, paced((Frame(i, pixels) for i, pixels in enumerate(pictures)), RATE)):
        pass
    count = len(pictures)
    return Spent((monotonic() - begun) / count, (meter.read() - before) / count, feed.skipped / count)


def paced(frames: Iterable[Frame], rate: float) -> Iterator[Frame]:
    """Give each frame when its time has come, `rate` a second."""
    begun = monotonic()
    for place, frame in enumerate(frames):
        sleep(max(0.0, begun + place / rate - monotonic()))
        yield frame


def with_savings(rows: Sequence[Row], unit: str) -> list[Row]:
    """The rows of one scene, filter on and off, with what the filter saves."""
    on, off = (row.figures[unit] for row in rows)
    assert on and off
    return [replace(rows[0], figures={**rows[0].figures, "saved": off / on}), rows[1]]


def _row(meter: Meter, name: str, scene: str, samples: Sequence[Spent]) -> Row:
    figures = {meter.unit: _median(each.energy for each in samples), "skipped": _median(s.skipped for s in samples)}
    return Row(NAME, name, STEPS, scene, *summarise([each.seconds for each in samples]), figures)


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))
