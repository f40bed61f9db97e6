"""Streams of different settings in one tick: each gets what it gets alone, whatever comes, goes and changes."""

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from millstream.core.rows import Group, Lane, Leaving
from millstream.core.schedule import Prediction
from millstream.core.tick import tick
from tests.oracle import (
    MODES,
    PREDICTIONS,
    SHAPE,
    STEPPING,
    Form,
    Setting,
    assert_close,
    open_lane,
    prepare,
    sequential,
    toy,
)

SLOTS = 4
ACTIONS = ("enter", "enter", "enter", "enter", "bubble", "incomplete", "change", "steer", "leave")


@dataclass
class Entered:
    """A frame in flight, as the plain loop needs to know of it."""

    form: Form
    setting: Setting
    z: Tensor | None
    tick: int
    version: int
    steered: dict[int, Setting] = field(default_factory=dict)


class Stream:
    """One session: a lane, and beside it the record from which the plain loop tells what has to come out."""

    def __init__(self, prediction: Prediction, random: Random) -> None:
        self.random = random
        self.stages, self.frames = random.randint(1, 4), random.randint(1, 3)
        self.form = Form(random.choice(MODES), prediction)
        self.text = self.form.mode != "self-negative" and random.random() < 0.2
        self.version, self.count, self.now = 0, 0, 0
        self.flight: dict[int, Entered] = {}
        self._draw()
        self.lane: Lane[Any] = open_lane(self.form, self.prepared, self.frames, cross_frame=random.random() < 0.3)

    def _draw(self) -> None:
        random = self.random
        rule, renoise = random.choice(STEPPING)
        self.form = replace(self.form, rule=rule, renoise=renoise)
        self.setting = Setting(
            levels=tuple(sorted(random.sample(range(40, 800), self.stages), reverse=True)),
            prompt=random.randint(0, 9),
            negative=random.randint(0, 9),
            seed=random.choice([0, 1, 2**31]),
            gamma=random.choice([0.0, 0.7, 1.0, 2.5]),
            delta=random.choice([0.5, 1.0, 1.5]),
            correlation=random.choice([0.0, 0.5, 1.0]),
        )
        self.version += 1
        self.prepared = prepare(self.form, self.setting, self.version)

    def change(self, steer: bool) -> None:
        self._draw()
        if not steer:
            return
        self.lane.steer(self.prepared)
        for entered in self.flight.values():
            entered.steered[self.now - entered.tick] = self.setting
            entered.version = self.version

    def entering(self, action: str) -> Group[int] | None:
        if action == "bubble":
            return None
        size = self.random.randint(1, self.frames) if action == "incomplete" else self.frames
        ids = range(self.count, self.count + size)
        self.count += size
        generator = torch.Generator().manual_seed(self.random.getrandbits(32))
        z = None if self.text else torch.randn(size, *SHAPE, generator=generator, dtype=torch.float64)
        for place, frame in enumerate(ids):
            own = None if z is None else z[place]
            self.flight[frame] = Entered(self.form, self.setting, own, self.now, self.version)
        return Group(list(ids), list(ids), z, self.prepared)

    def check(self, leaving: Leaving[int] | None) -> None:
        due = [frame for frame, entered in self.flight.items() if entered.tick == self.now - (self.stages - 1)]
        self.now += 1
        assert ([] if leaving is None else list(leaving.tags)) == due
        if leaving is None:
            return
        for frame, latent in zip(leaving.tags, leaving.latents, strict=True):
            entered = self.flight.pop(frame)
            assert leaving.version == entered.version
            expected = sequential(toy, entered.form, entered.setting, frame, entered.z, entered.steered)
            assert_close(latent, expected)


def together(streams: list[Stream], actions: list[str]) -> None:
    entering = [stream.entering(action) for stream, action in zip(streams, actions, strict=True)]
    for stream, leaving in zip(streams, tick(toy, [stream.lane for stream in streams], entering), strict=True):
        stream.check(leaving)


@settings(
    max_examples=150,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    prediction=st.sampled_from(PREDICTIONS),
    rounds=st.lists(st.tuples(*[st.sampled_from(ACTIONS)] * SLOTS), min_size=6, max_size=16),
    seed=st.integers(0, 2**32),
)
def test_each_stream_gets_what_it_gets_alone(prediction: Prediction, rounds: list[tuple[str, ...]], seed: int) -> None:
    """To 1e-9 in float64. A slot whose stream has left is taken by a new one at its next turn."""
    random = Random(seed)
    slots: list[Stream | None] = [None] * SLOTS
    for actions in rounds:
        ticking: list[tuple[Stream, str]] = []
        for place, action in enumerate(actions):
            stream = slots[place]
            if action == "leave":
                slots[place] = None
                continue
            if stream is None:
                slots[place] = stream = Stream(prediction, random)
            elif action in ("change", "steer"):
                stream.change(steer=action == "steer")
            ticking.append((stream, action))
        if ticking:
            random.shuffle(ticking)  # nor does the order of the lanes matter
            together([stream for stream, _ in ticking], [action for _, action in ticking])

    rest = [stream for stream in slots if stream]
    while busy := [stream for stream in rest if stream.lane.busy]:
        together(busy, ["bubble"] * len(busy))
    assert not any(stream.flight for stream in rest)
