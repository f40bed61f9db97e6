"""`millstream bench trace`: where a frame's time goes, from the source to the picture.

The engine's thread is watched from one picture to the next. That time is what it waited for the source, what it did
before the networks (pre), the networks, the arithmetic between them (step), and what it did behind them (post): the
parts sum to the whole. OpenVINO counts its nodes as a mean over all ticks: there a network has its mean share of every
tick. Inductor and CUDA graphs count nothing: there the tick is one part.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

import numpy as np

from millstream.bench import systems
from millstream.bench.report import describe_machine
from millstream.bench.setup import Setup
from millstream.bench.spans import (
    NETWORKS,
    TICK,
    WAITING,
    Span,
    Spans,
    WatchedModel,
    WatchedRun,
    inside,
    watched,
)
from millstream.engine import Engine, Session
from millstream.errors import BadInputError
from millstream.feed import Feed, offline
from millstream.frame import Frame
from millstream.queues import ahead

PRE, STEP, POST, READING = "pre", "step", "post", "reading"
ORDER = (WAITING, PRE, *NETWORKS, TICK, STEP, POST)
WARM = 4  # pictures before the first that counts
MEANINGS = {
    WAITING: "for the next picture of the source",
    PRE: "filter, copying the picture in, coefficients",
    "encode": "autoencoder",
    "denoise": "one call over all rows",
    "decode": "autoencoder",
    TICK: "the whole compiled graph, which does not tell its parts",
    STEP: "noise, guidance, the move to the next stage, and the back end's own",
    POST: "rows moved on, the picture copied out",
}


@dataclass(frozen=True)
class Trace:
    """What was seen: the engine's label, a span from each picture to the next, and the spans of both threads."""

    label: str
    steps: int
    frames: Sequence[Span]
    engine: Sequence[Span]
    source: Sequence[Span]

    def parts(self) -> dict[str, list[float]]:
        """Seconds of every part, frame by frame; they sum to the frames' own."""
        split = [divide(frame, _within(self.engine, frame)) for frame in self.frames]
        return {name: [parts[name] for parts in split] for name in ORDER if name in split[0]}

    def markdown(self, setup: Setup) -> str:
        """The table for readers."""
        whole = [frame.end - frame.start for frame in self.frames]
        lines = [
            f"# Where a frame's time goes\n\n{self.label}, {self.steps} steps, {setup.size_name}, model "
            f"{setup.plan.label or setup.plan.model}, source {setup.plan.source}, {len(whole)} frames.\n",
            "Machine: " + ", ".join(f"{k} {v}" for k, v in describe_machine(setup.model.device).items()) + ".\n",
            "| part | ms a frame, mean | quartiles | share | what it is |",
            "| --- | --- | --- | --- | --- |",
            *(_line(name, seconds, whole) for name, seconds in self.parts().items()),
            _line("whole", whole, whole),
            "",
            f"Beside it, in the source's thread: {self._reading() * 1e3:.2f} ms a frame, reading and fitting.",
        ]
        return "\n".join(lines) + "\n"

    def chrome(self) -> str:
        """Chrome's trace format: the engine's thread, the source's, and every frame from its entry to its picture."""
        flights = [Span("in flight", first.start, last.end) for first, last in self._flights()]
        threads = {"engine": [*self.frames, *self.engine], "source": [*self.source]}
        for lane in range(self.steps):
            threads[f"frames in flight, {lane + 1}"] = flights[lane :: self.steps]
        events = [event for i, (name, spans) in enumerate(threads.items()) for event in _events(i, name, spans)]
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})

    def _flights(self) -> Iterator[tuple[Span, Span]]:
        """The ticks that each frame enters and leaves with."""
        yield from zip(self.frames, self.frames[self.steps - 1 :], strict=False)

    def _reading(self) -> float:
        return float(np.mean([span.end - span.start for span in self.source]))


def trace(setup: Setup, steps: int, backend: str) -> Trace:
    """Send the source's first frames through a stream, and watch it. Raises MillstreamError where it cannot run."""
    spans, reading = Spans(setup.model.device), Spans(setup.model.device)
    engine, session = _watched(setup, steps, backend, spans)
    count = setup.plan.frames + WARM + steps
    frames = _noting(READING, setup.moving(count), reading)
    with ahead(frames) as read:
        moments = [perf_counter() for _ in offline(Feed(engine, session), _noting(WAITING, read, spans))]
    if len(moments) < count:
        raise BadInputError(
            f"{setup.plan.source}: has {len(moments)} frames of {count}; give a longer one, or --frames"
        )
    between = [Span("frame", *pair) for pair in pairwise(moments)]
    # The last pictures are pushed out by bubbles, which are no frames.
    counted, label = between[WARM : WARM + setup.plan.frames], setup.case(steps, backend).label
    return Trace(label, steps, counted, [*spans.found, *_networks(engine, session, spans)], reading.found)


def divide(frame: Span, spans: Sequence[Span]) -> dict[str, float]:
    """Seconds of each part of a frame, from the spans within it."""
    taken: dict[str, float] = {}
    for span in spans:
        taken[span.name] = taken.get(span.name, 0.0) + span.end - span.start
    graph = [span for span in spans if span.name != WAITING]
    start, end = min(span.start for span in graph), max(span.end for span in graph)
    if any(name in taken for name in NETWORKS):
        taken.pop(TICK, None)
        taken[STEP] = end - start - sum(taken[name] for name in NETWORKS if name in taken)
    taken[PRE] = start - frame.start - taken.get(WAITING, 0.0)
    taken[POST] = frame.end - end
    return taken


def _watched(setup: Setup, steps: int, backend: str, spans: Spans) -> tuple[Engine, Session]:
    """An engine that notes what it does, with what its back end builds."""
    case = setup.case(steps, backend)
    engine = Engine(systems.recast(case.model, WatchedModel, spans=spans))
    session = engine.open(case.config, case.params)
    if session.backend is not None:
        session.backend = watched(session.backend, spans)
    if building := engine.prepare(session):
        building.result()
    spans.found.clear()  # compilers run the networks once
    return engine, session


def _networks(engine: Engine, session: Session, spans: Spans) -> list[Span]:
    """The networks of every compiled tick, where its back end can tell: each has its mean share of the tick."""
    built = engine.prepare(session)
    run = built.result() if built else None
    shares = run.shares() if isinstance(run, WatchedRun) else {}
    return [part for tick in spans.found if tick.name == TICK for part in inside(tick, shares)]


def _noting(name: str, frames: Iterable[Frame], spans: Spans) -> Iterator[Frame]:
    """Frames as they come, and how long each took to come."""
    source = iter(frames)
    while True:
        with spans.of(name):
            frame = next(source, None)
        if frame is None:
            spans.found.pop()  # of the end, which is no frame
            return
        yield frame


def _within(spans: Sequence[Span], frame: Span) -> list[Span]:
    return [span for span in spans if frame.start <= span.start and span.end <= frame.end]


def _line(name: str, seconds: Sequence[float], whole: Sequence[float]) -> str:
    p25, p75 = np.percentile(seconds, (25, 75)) * 1e3
    share, meaning = sum(seconds) / sum(whole), MEANINGS.get(name, "from one picture to the next")
    return f"| {name} | {np.mean(seconds) * 1e3:.3f} | {p25:.3f}-{p75:.3f} | {share:.1%} | {meaning} |"


def _events(thread: int, name: str, spans: Iterable[Span]) -> Iterator[dict[str, object]]:
    yield {"ph": "M", "name": "thread_name", "pid": 1, "tid": thread, "args": {"name": name}}
    for span in spans:
        times = {"ts": span.start * 1e6, "dur": (span.end - span.start) * 1e6}
        yield {"ph": "X", "name": span.name, "pid": 1, "tid": thread, **times}
