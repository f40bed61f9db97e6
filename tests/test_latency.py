"""The rule that trades for age, against simulated engines: it keeps the bound, and it comes to rest."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.live.latency import FLOOR, Keeper, Rung, Seen, describe, ladder
from millstream.params import StreamConfig

ASKED = StreamConfig(width=512, height=512, steps=4)
RUNGS = ladder(ASKED, 8)


def test_the_ladder_gives_up_steps_then_size_then_frames():
    assert [
        Rung(4, 512, 512),
        Rung(2, 512, 512),
        Rung(1, 512, 512),
        Rung(1, 384, 384),
        Rung(1, 256, 256),
        Rung(1, 256, 256, thins=True),
    ] == RUNGS
    assert ladder(StreamConfig(width=16, height=24, steps=1), 16)[-1] == Rung(1, 16, 16, thins=True)
    for rung in ladder(StreamConfig(width=520, height=264, steps=7), 8):
        assert rung.width % 8 == rung.height % 8 == 0


def test_what_is_traded_in_words():
    asked = RUNGS[0]
    assert describe(asked, asked, Fraction(1)) == []
    assert describe(asked, RUNGS[1], Fraction(1)) == ["steps 4 -> 2"]
    assert describe(asked, RUNGS[5], Fraction(1, 2)) == ["steps 4 -> 1", "size 512x512 -> 256x256", "frames 1/2"]
    assert describe(asked, RUNGS[5], Fraction(1)) == ["steps 4 -> 1", "size 512x512 -> 256x256"]


class Plant:
    """An engine whose tick is a constant, a part a row and a part a picture, with a source of its own pace.

    Times in seconds for 512x512. A frame waits for the tick under way, then takes as many ticks as it has steps.
    """

    def __init__(self, constant, row, picture, brought=0.01, period=1 / 30, noise=0.0, power=1.0, seed=0):
        self.constant, self.row, self.picture, self.power = constant, row, picture, power
        self.brought, self.period, self.noise = brought, period, noise
        self.random = np.random.default_rng(seed)
        self.load = 1.0

    def tick(self, rung):
        pixels = (rung.pixels / 512**2) ** self.power
        return self.load * (self.constant + (self.row * rung.steps + self.picture) * pixels)

    def play(self, keeper, bound, seconds, now=0.0):
        """Run for so long; give the rungs stood on, and the times and ages of the pictures shown."""
        stood, shown, end = [keeper.at], [], now + seconds
        while now < end:
            jitter = 1 + self.noise * self.random.uniform(-1, 1)
            tick = self.tick(keeper.rung) * jitter
            waited = self.random.uniform(0, min(tick, self.period)) + self.brought
            seen = Seen(waited, keeper.rung.steps * tick)
            now += max(tick, self.period)
            if keeper.admits(waited, bound, now) and keeper.shows(seen, bound, now):
                shown.append((now, seen.age))
            wanted = keeper.wanted(bound, now)
            if wanted != keeper.at:
                now += 0.5  # it takes building
                keeper.moved(wanted)
                stood.append(wanted)
        return stood, shown, now


def test_where_all_is_well_nothing_is_traded():
    stood, shown, _ = Plant(0.002, 0.003, 0.005).play(Keeper(RUNGS), 0.120, 60)
    assert stood == [0]
    assert max(age for _, age in shown) <= 0.120


def test_without_a_bound_everything_is_given_back():
    keeper = Keeper(RUNGS, at=4)
    assert keeper.wanted(None, 0.0) == 0


@pytest.mark.parametrize(("row", "expected"), [(0.02, 1), (0.05, 2), (0.1, 2), (0.2, 3), (0.3, 4)])
def test_it_gives_up_no_more_than_it_has_to(row, expected):
    plant = Plant(0.0, row, 0.0, brought=0.0)
    stood, shown, now = plant.play(Keeper(RUNGS), 0.150, 60)
    assert stood[-1] == expected
    assert all(age <= 0.150 for time, age in shown if time > now - 30)
    assert len(shown) > 60


def test_it_goes_back_up_when_the_load_has_gone():
    plant, keeper = Plant(0.002, 0.003, 0.004), Keeper(RUNGS)  # 72 ms and a wait, on the first rung
    for load, least, most in ((1, 0, 0), (3, 1, 3), (1, 0, 0), (8, 2, 4), (1, 0, 0)):
        plant.load = load
        plant.play(keeper, 0.120, 40)
        assert least <= keeper.at <= most


@settings(max_examples=40)
@given(
    constant=st.floats(0, 0.05),
    row=st.floats(0.0005, 0.2),
    picture=st.floats(0, 0.1),
    brought=st.floats(0, 0.1),
    period=st.floats(0.005, 0.2),
    bound=st.floats(0.03, 0.5),
    begin=st.integers(0, 5),
    power=st.floats(1.0, 1.5),
)
def test_it_comes_to_rest(constant, row, picture, brought, period, bound, begin, power):
    """For any engine of this kind, on whatever rung it begins: some moves, and then none."""
    plant = Plant(constant, row, picture, brought, period, noise=0.05, power=power)
    keeper = Keeper(RUNGS, at=begin)
    stood, _, now = plant.play(keeper, bound, 60)
    assert len(stood) <= 2 * len(RUNGS)
    later, *_ = plant.play(keeper, bound, 60, now)
    assert len(later) <= 3, (stood, later)  # ages near a threshold may cross it by chance


def test_an_engine_that_deceives_is_tried_less_and_less():
    """It is fast on every rung but the first, against all measure: there is no rest, so the waits double."""

    class Deceiving(Plant):
        def tick(self, rung):
            return 0.2 if rung.steps == 4 else 0.001

    stood, _, _ = Deceiving(0, 0, 0).play(Keeper(RUNGS), 0.120, 500)
    assert len(RUNGS) < len(stood) < len(RUNGS) * np.log2(500 / 3)


def test_where_nothing_keeps_the_bound_pictures_still_come():
    """At the floor: one at least each half second and a tick, and the ladder is at its end."""
    plant, keeper = Plant(0.3, 0.05, 0.0), Keeper(RUNGS)
    _, shown, now = plant.play(keeper, 0.120, 60)
    assert keeper.rung.thins
    times = [time for time, _ in shown if time > now - 40]
    assert len(times) > 30
    assert all(b - a <= FLOOR + 2 * 0.35 for a, b in pairwise(times))
    assert keeper.share < 1


def test_what_a_picture_brings_with_it_is_no_reason_to_trade():
    stood, *_ = Plant(0.0, 0.002, 0.0, brought=0.2).play(Keeper(RUNGS), 0.120, 30)
    assert stood == [0]


def test_frames_that_cannot_make_it_do_not_enter():
    keeper = Keeper(RUNGS, at=5)
    for i in range(4):
        assert keeper.admits(0.0, 0.120, i)
        assert keeper.shows(Seen(0.0, 0.1), 0.120, i)
    assert not keeper.admits(0.05, 0.120, 3.1)
    assert keeper.admits(0.01, 0.120, 3.2)
    assert not keeper.admits(0.05, 0.120, 3.2 + FLOOR - 0.01)
    assert keeper.admits(0.05, 0.120, 3.2 + FLOOR)
    assert keeper.share == Fraction(3, 4)


def test_old_pictures_are_shown_at_the_floor_alone():
    keeper = Keeper(RUNGS)
    shown = [keeper.shows(Seen(0.0, 0.2), 0.1, i / 10) for i in range(11)]
    assert shown == [True, *[False] * 4, True, *[False] * 4, True]


def test_a_rung_that_cannot_be_built_is_left_out():
    keeper = Keeper(list(RUNGS), at=2)
    keeper.forbid(1)
    assert keeper.rung == RUNGS[2]
    assert RUNGS[1] not in keeper.rungs
