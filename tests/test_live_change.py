"""Changes of a live stream, with real threads; gaps and order are proved in test_handover."""

import threading
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from time import monotonic, sleep

import numpy as np
import pytest

from millstream import BadInputError, MillstreamError, ModelError, Params, Stream, StreamConfig
from millstream.engine import Engine
from millstream.live.changes import following
from millstream.live.live import STALLED, Live
from tests import toy

LIMIT = toy.LIMIT
SIZE = {"width": toy.SIDE, "height": toy.SIDE, "backend": "eager"}
MODEL = toy.ToyModel()


@pytest.fixture
def stream():
    with Stream(MODEL, StreamConfig(**SIZE, steps=2), Params(prompt="a", seed=5)) as opened:
        yield opened


def show_until(stream, accept, number=0):
    """Go on submitting until a shown picture is accepted; give all that were shown."""
    end, shown = monotonic() + LIMIT, []
    while monotonic() < end:
        stream.submit(toy.frame(number + len(shown)))
        frame = stream.poll(timeout=0.2)
        if frame is not None:
            shown.append(frame)
            if accept(frame):
                return shown
    raise AssertionError("the picture never came")


@pytest.mark.parametrize("change", [{"steps": 4}, {"steps": 1}, {"frame_buffer": 3}, {"guidance": "self-negative"}])
def test_the_show_goes_on_over_a_change(stream, change):
    show_until(stream, lambda frame: frame.id >= 2)
    changed = stream.change(**change)
    shown = show_until(stream, lambda frame: frame.version > 1, number=3)
    assert changed.result(LIMIT).model_dump() == stream.config.model_dump()
    assert stream.config.model_dump().items() >= change.items()
    assert [frame.id for frame in shown] == sorted(frame.id for frame in shown)
    assert shown[-1].version == stream._running().session.version
    stats = stream.stats()
    assert (stats.steps, stats.version, stats.building) == (stream.config.steps, shown[-1].version, False)


def test_one_step_becomes_more_and_each_picture_that_is_waited_for_comes():
    """Nothing is in flight between two of them, and no other is there to set free what a hand-over holds back."""
    with Stream(MODEL, StreamConfig(**SIZE, steps=1), Params(prompt="a", seed=5)) as stream:
        changed, number, version = stream.change(steps=3), 0, 0
        while version < 2:
            stream.submit(toy.frame(number))
            shown = stream.poll(timeout=LIMIT)
            assert shown is not None and shown.id == number
            number, version = number + 1, shown.version
        assert changed.result(LIMIT).steps == 3
        assert stream.stats().dropped_after == 0


def test_pictures_behind_a_change_are_those_of_the_new_stream(stream):
    show_until(stream, lambda frame: frame.id >= 2)
    changed = stream.change(steps=4)
    last = show_until(stream, lambda frame: frame.version > 1, number=3)[-1]
    changed.result(LIMIT)
    expected = toy.alone(MODEL, last.id, stream.params, 4)
    assert np.abs(last.pixels.astype(int) - expected).max() <= 1


def test_another_size_and_another_model(stream):
    other = toy.ToyModel("other", gain=0.5)
    changed = stream.change(model=other, width=24)
    last = show_until(stream, lambda frame: frame.version > 1)[-1]
    assert changed.result(LIMIT).width == 24
    assert last.pixels.shape == (16, 24, 3)
    assert stream._running().session.model is other


def test_a_change_while_the_source_has_stalled(stream):
    stream.submit(toy.frame(0))
    assert stream.poll(timeout=None).id == 0
    version = stream._running().change(lambda params: _open(stream, steps=3)).result(LIMIT).version
    while stream.poll(timeout=LIMIT).version != version:  # the last picture is sent again
        pass


def test_a_stream_that_holds_changes_though_nothing_comes():
    with Stream(MODEL, StreamConfig(**SIZE, stall="hold"), Params()) as stream:
        assert stream.change(steps=3).result(LIMIT).steps == 3
        stream.submit(toy.frame(0))
        assert [frame.version for frame in stream.drain()] == [stream._running().session.version]


def test_what_the_schema_refuses_is_refused_at_once(stream):
    for change in ({"steps": 0}, {"colour": "red"}, {"width": 17}, {"input": "text", "guidance": "self-negative"}):
        with pytest.raises(BadInputError):
            stream.change(**change)
    stream.update(t_index=(0, 20))
    with pytest.raises(BadInputError, match="t_index: give 3"):
        stream.change(steps=3)
    assert stream.config.steps == 2


def test_what_goes_wrong_later_is_raised_by_the_future_and_the_show_goes_on(stream):
    show_until(stream, lambda frame: frame.id >= 2)
    with pytest.raises(ModelError, match="NaN"):
        stream.change(model=toy.ToyModel("broken", gain=float("nan"))).result(LIMIT)
    with pytest.raises(ModelError, match="no such"):
        stream.change(model="/nowhere/at/all").result(LIMIT)
    assert show_until(stream, lambda frame: frame.id >= 6, number=3)[-1].version == 1
    assert stream.config.steps == 2


def test_steps_change_with_their_indices_or_not_at_all(stream):
    stream.update(t_index=(0, 20))
    show_until(stream, lambda frame: frame.id >= 2)
    with pytest.raises(BadInputError, match="strength"):
        stream.change(steps=3, params={"t_index": (0, 20, 40), "strength": 7})
    with pytest.raises(BadInputError, match="multiples"):
        stream.change(steps=3, width=17, params={"t_index": (0, 20, 40)})
    assert stream.params.t_index == (0, 20)
    changed = stream.change(steps=3, params={"t_index": (0, 20, 40)})
    last = show_until(stream, lambda frame: frame.version > 2, number=3)[-1]
    assert changed.result(LIMIT).steps == 3
    assert stream.params.t_index == (0, 20, 40)
    expected = Stream(MODEL, StreamConfig(**SIZE, steps=3), stream.params).run([toy.picture(last.id)])
    assert np.array_equal(last.pixels, next(iter(expected)).pixels)


def test_changes_in_quick_succession_are_all_kept(stream):
    """The second takes the first one in, model and parameters too; what came between them is newer than the first."""
    other, go_on = toy.ToyModel("other", gain=0.5), threading.Event()
    blocked = stream._running().change(lambda params: (go_on.wait(LIMIT), _open(stream))[1])
    first = stream.change(model=other, steps=3, params={"t_index": (0, 20, 40), "prompt": "b"})
    stream.update(prompt="c")
    second = stream.change(width=24)
    go_on.set()
    assert blocked.cancelled() and first.cancelled()
    assert second.result(LIMIT).model_dump().items() >= {"steps": 3, "width": 24}.items()
    assert stream._running().session.model is other
    assert (stream.params.t_index, stream.params.prompt[0].text) == ((0, 20, 40), "c")


def test_a_change_builds_on_what_stands_where_the_last_one_came_to_nothing(stream):
    with pytest.raises(ModelError, match="no such"):
        stream.change(model="/nowhere/at/all", steps=5).result(LIMIT)
    assert stream.change(width=24).result(LIMIT).steps == 2


def test_a_newer_change_cancels_one_under_way(stream):
    begun, go_on = threading.Event(), threading.Event()

    def slow(params):
        begun.set()
        go_on.wait(LIMIT)
        return _open(stream, steps=5)

    first = stream._running().change(slow)
    begun.wait(LIMIT)
    assert stream.stats().building
    second = stream.change(steps=3)
    go_on.set()
    with pytest.raises(CancelledError):
        first.result(LIMIT)
    assert second.result(LIMIT).steps == 3


def test_updates_during_a_preparation_reach_both_sessions(stream):
    opened, go_on = threading.Event(), threading.Event()

    def slow(params):
        found = _open(stream, steps=4)
        opened.set()
        go_on.wait(LIMIT)
        return found

    stream.submit(toy.frame(0))
    changed = stream._running().change(slow)
    opened.wait(LIMIT)
    first = stream.update(prompt="b")
    assert show_until(stream, lambda frame: frame.version == first)
    go_on.set()
    version = changed.result(LIMIT).version
    second = stream.update(strength=0.7)
    assert 1 < first < version < second
    last = show_until(stream, lambda frame: frame.version == second)[-1]
    assert stream.params.prompt[0].text == "b"
    assert np.abs(last.pixels.astype(int) - toy.alone(MODEL, last.id, stream.params, 4)).max() <= 1


def test_a_change_of_parameters_that_the_next_session_cannot_take_changes_nothing(stream):
    go_on = threading.Event()
    changed = stream._running().change(lambda params: (go_on.wait(LIMIT), _open(stream, steps=3))[1])
    stream.update(t_index=(0, 20))
    go_on.set()
    with pytest.raises(BadInputError, match="t_index: give 3"):
        changed.result(LIMIT)


def test_closing_during_a_change_leaves_no_thread():
    before = threading.active_count()
    stream = Stream(MODEL, StreamConfig(**SIZE), Params())
    begun, go_on = threading.Event(), threading.Event()
    changed = stream._running().change(lambda params: (begun.set(), go_on.wait(LIMIT), _open(stream))[2])
    begun.wait(LIMIT)
    stream.close()
    assert changed.cancelled()
    go_on.set()
    end = monotonic() + LIMIT
    while threading.active_count() > before and monotonic() < end:
        sleep(0.01)
    assert threading.active_count() == before
    with pytest.raises(MillstreamError, match="closed"):
        stream.change(steps=1)


def test_a_worker_that_stops_cancels_the_change():
    with Stream(toy.ToyModel("broken", gain=float("nan")), StreamConfig(**SIZE), Params()) as stream:
        go_on = threading.Event()
        changed = stream._running().change(lambda params: (go_on.wait(LIMIT), _open(stream))[1])
        stream.submit(toy.frame(0))
        with pytest.raises(CancelledError):
            changed.result(LIMIT)
        go_on.set()
        with pytest.raises(ModelError, match="NaN"):
            stream.change(steps=1)


def test_whoever_waits_for_ever_is_told_of_the_end():
    stream = Stream(MODEL, StreamConfig(**SIZE), Params())
    told = []

    def wait():
        try:
            stream.poll(timeout=None)
        except MillstreamError as error:
            told.append(str(error))

    live = stream._running()
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    stream.close()
    for thread in threads:
        thread.join(LIMIT)
    assert live.session is not None
    assert len(told) == 3 and all("closed" in message for message in told)


def test_a_stalled_source_is_said(stream):
    assert not stream.stats().stalled
    stream.submit(toy.frame(0))
    end = monotonic() + LIMIT
    while not stream.stats().stalled and monotonic() < end:
        sleep(0.02)
    assert stream.stats().stalled


@dataclass(frozen=True)
class Gated(toy.ToyModel):
    """A tick begins, and ends when it may."""

    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def denoise(self, x, t, cond):
        self.begun.set()
        assert self.go_on.wait(LIMIT)
        return super().denoise(x, t, cond)


def test_a_slow_tick_is_no_stalled_source():
    model = Gated()
    with Stream(model, StreamConfig(**SIZE, steps=1), Params()) as stream:
        stream.submit(toy.frame(0))
        assert model.begun.wait(LIMIT)
        sleep(3 * STALLED)
        assert not stream.stats().stalled
        model.go_on.set()
        assert stream.poll(timeout=LIMIT).id == 0


def test_a_source_has_stalled_when_the_engine_has_waited_for_it(monkeypatch):
    monkeypatch.setattr("millstream.live.live.STALLED", 2.0)
    with Stream(MODEL, StreamConfig(**SIZE, steps=2, stall="hold"), Params()) as stream:
        stream.submit(toy.frame(0))
        assert stream.poll(timeout=LIMIT).id == 0
        finished = monotonic()
        while not stream.stats().stalled and monotonic() < finished + LIMIT:
            sleep(0.01)
        assert 1 < monotonic() - finished < 30
        stream.submit(toy.frame(1))
        assert stream.poll(timeout=LIMIT).id == 1
        assert not stream.stats().stalled


def test_several_streams_of_one_engine():
    """Threads take turns on one engine, and each stream gets its own pictures."""
    engine = Engine(MODEL)
    params = [Params(prompt=str(i), seed=i, strength=0.8) for i in range(3)]
    lives = [Live(engine, engine.open(StreamConfig(**SIZE, stall="hold"), each)) for each in params]
    for number in range(5):
        for live in lives:
            live.submit(toy.frame(number))
        for live, each in zip(lives, params, strict=True):
            frame = live.poll(LIMIT)
            assert np.abs(frame.pixels.astype(int) - toy.alone(MODEL, number, each, 2)).max() <= 1
    for live in lives:
        live.close()


def test_a_future_that_follows_another():
    answer: Future[int] = Future()
    assert following(answer, lambda n: n + 1).cancel()
    assert answer.cancelled()
    answer = Future()
    result = following(answer, lambda n: 1 // n)
    answer.set_result(0)
    with pytest.raises(ZeroDivisionError):
        result.result(0)


def _open(stream, **config):
    session = stream._running().session
    form = session.config.model_copy(update=config)
    return stream._engine, stream._engine.open(form, session.params)
