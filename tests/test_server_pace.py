"""Pull credit, driven by a clock that the test turns: the engine is kept busy and pictures do not wait."""

import heapq
from dataclasses import dataclass

import pytest

from millstream.params import Params
from millstream.server.pace import MOST_AHEAD, Pace
from tests.serving import closes_with, settings, shared
from tests.workers import picture

SECONDS = 20.0


@dataclass
class Run:
    """What a client saw: when results came, and how old each was."""

    moments: list[float]
    ages: list[float]

    @property
    def rate(self) -> float:
        half = self.moments[len(self.moments) // 2 :]
        return (len(half) - 1) / (half[-1] - half[0])

    @property
    def age(self) -> float:
        return sorted(self.ages[len(self.ages) // 2 :])[len(self.ages) // 4]


def simulate(tick: float, up: float, stages: int = 1, least: float = 1 / 240) -> Run:
    """A client `up` seconds away and an engine of one place before it."""
    pace = Pace(stages, 1, least)
    events: list[tuple[float, int, str, int]] = [(0.0, 0, "credit", pace.begin(0.0))]
    count, sent, upto = 0, -1, -1
    box: int | None = None
    captured: dict[int, float] = {}
    arrived: dict[int, float] = {}
    flight: list[int | None] = []
    busy = False
    run = Run([], [])

    def put(when: float, what: str, value: int) -> None:
        nonlocal count
        count += 1
        heapq.heappush(events, (when, count, what, value))

    def work(now: float) -> None:
        nonlocal box, busy
        flight.append(box)
        box, busy = None, True
        put(now + tick, "ticked", 0)

    while events and events[0][0] < SECONDS:
        now, _, what, value = heapq.heappop(events)
        if what == "credit":
            upto = max(upto, value)
        while sent < upto:
            sent += 1
            captured[sent] = now
            put(now + up, "arrives", sent)
        if what == "arrives":
            put(pace.arrived(value, now), "grant", value)
            arrived[value], box = now, value
            if not busy:
                work(now)
        if what == "grant":
            put(now, "credit", pace.grant(value, now))
        if what == "ticked":
            busy = False
            if len(flight) == stages and (done := flight.pop(0)) is not None:
                pace.finished(done, now - arrived[done], now)
                run.moments.append(now)
                run.ages.append(now - captured[done])
            if box is not None or any(each is not None for each in flight):
                work(now)
    return run


@pytest.mark.parametrize("tick", [0.02, 0.06, 0.2])
@pytest.mark.parametrize("up", [0.002, 0.01])
def test_the_engine_is_kept_busy_and_pictures_hardly_wait(tick: float, up: float) -> None:
    run = simulate(tick, up)
    assert run.rate > 0.9 / tick
    assert run.age < tick + up + 0.012


def test_a_long_way_is_filled() -> None:
    run = simulate(0.03, 0.1)
    assert run.rate > 0.85 / 0.03
    assert run.age < 0.1 + 2.2 * 0.03


@pytest.mark.parametrize("stages", [2, 4])
def test_a_stream_batch_is_fed_each_tick(stages: int) -> None:
    run = simulate(0.05, 0.004, stages)
    assert run.rate > 0.9 / 0.05
    assert run.age < (stages + 0.4) * 0.05


def test_a_stream_batch_of_another_form_is_measured_anew() -> None:
    """Groups of three that leave each 0.3 s, behind single frames: P is a third of that."""
    pace = Pace(1, 1, 0.01)
    pace.reshape(2, 3)
    for k in range(60):
        pace.arrived(k, 0.1 * k)
        pace.finished(k, 5.0, 0.1 * k + 5.0)
    assert pace.process == pytest.approx(0.1, rel=0.1)


def test_the_pace_is_that_of_the_steps_that_run(pytestconfig: pytest.Config) -> None:
    """Fifty steps are asked for and told still; fewer are run for the bound's sake, and are what pictures come for."""
    closes_with(pytestconfig)
    asked = settings(steps=50).model_copy(update={"params": Params(max_age="300ms")})
    with shared().client.open(asked) as stream:
        session = shared().house.get(stream.session)
        for _ in stream.run(picture(k % 5) for k in range(2000)):
            if session._uplink._pace.stages < 50:
                break
        stream.set(prompt="b")
        assert session.settings.config.steps == 50
        assert session._uplink._pace.stages == session.stats()["steps"] < 50


def test_credit_is_cumulative_and_bounded() -> None:
    pace = Pace(1, 1, 0.01)
    assert pace.begin(0.0) == 0
    for k in range(50):
        pace.arrived(k, 0.4 * (k + 1))  # a lead of 0.4 s and more
        assert k < pace.grant(k, 0.4 * (k + 1)) <= k + MOST_AHEAD


def test_a_source_that_rested_does_not_count_as_far_away() -> None:
    pace = Pace(1, 1, 0.01)
    pace.begin(0.0)
    pace.arrived(0, 60.0)
    assert pace.lead == 0.0
    assert pace.grant(0, 60.0) == 1


def test_the_rate_of_a_client_is_bounded() -> None:
    run = simulate(0.001, 0.0005, least=1 / 60)
    assert 50 < run.rate < 61
