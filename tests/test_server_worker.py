"""The engine worker in a process of its own, on a real model."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from millstream import Stream
from millstream.errors import TooLargeError
from millstream.models import load_model
from millstream.server.engines import WatchedEngine
from millstream.server.messages import OUT_OF_MEMORY, Answered, Building, Opened, Picture, Refused, Said, Stats
from tests import tiny
from tests.workers import Running, picture, settings


@pytest.fixture(scope="module")
def running():
    with Running() as running:
        yield running


@pytest.fixture
def session(running, request):
    """A name, and a session under it."""
    sid = request.node.name
    running.open(sid, settings())
    yield sid
    running.supervisor.close(sid)


@pytest.mark.parametrize("frame_buffer", [1, 2])
def test_pictures_are_those_of_a_stream(running, frame_buffer):
    wanted = settings(frame_buffer=frame_buffer, prompt="a house", seed=7)
    with Stream.open(tiny.small(), wanted.config, wanted.params) as stream:
        expected = list(stream.run([picture(i) for i in range(4)]))
    opened = running.open("same", wanted)
    assert (opened.version, opened.device, opened.traded) == (1, "cpu", "")
    assert (opened.config, opened.params) == (stream.config, wanted.params)
    for i in range(4):
        made = running.picture("same", i)
        assert np.abs(made.pixels.astype(int) - expected[i].pixels).max() <= 1
        assert made.version == 1
    running.supervisor.close("same")


def test_a_change_of_parameters_is_answered_and_shows(running, session):
    before = running.picture(session, 0)
    running.supervisor.set(session, 1, {"prompt": "a tree", "strength": 0.9})
    answer = running.told.wait(Answered)
    assert (answer.request, answer.version, answer.rebuilt) == (1, 2, False)
    assert answer.params.prompt[0].text == "a tree"
    assert answer.settings.params == answer.params
    running.send(session, 0)
    after = running.told.wait(Picture, lambda event: event.frame.version == 2).frame
    assert not np.array_equal(after.pixels, before.pixels)


def test_a_refused_change_changes_nothing(running, session):
    running.supervisor.set(session, 1, {"strength": 7})
    assert "strength" in running.refusal(1)
    running.supervisor.set(session, 2, {"seed": 3})
    answer = running.told.wait(Answered)
    assert (answer.version, answer.params.strength, answer.params.seed) == (2, 0.5, 3)


def test_answers_come_in_the_order_of_the_commands(running, session):
    for request in range(1, 33):
        running.supervisor.set(session, request, {"seed": request})
    answers = [running.told.wait(Answered) for _ in range(32)]
    assert [answer.request for answer in answers] == list(range(1, 33))
    assert [answer.version for answer in answers] == list(range(2, 34))


def test_a_session_is_rebuilt_while_it_shows(running, session):
    running.picture(session, 0)
    running.supervisor.change(session, 1, None, {"steps": 3, "width": 48})
    assert running.told.wait(Building).what == "steps, width"
    answer, number = None, 0
    while not isinstance(answer, Answered):
        number += 1
        running.send(session, number)
        answer = running.told.wait((Answered, Picture))
    assert answer.rebuilt
    assert (answer.config.steps, answer.config.width, answer.settings.config.width) == (3, 48, 48)
    assert running.picture(session, number + 1).pixels.shape == (32, 48, 3)


@pytest.mark.parametrize(
    ("model", "config", "name"),
    [
        (None, {"steps": 0}, "steps"),
        (None, {"width": 33}, "width"),
        (None, {"nonsense": 1}, "nonsense"),
        ({"name": "no/such/folder"}, {}, "no/such/folder"),
    ],
)
def test_a_change_that_cannot_be_is_refused(running, session, model, config, name):
    running.supervisor.change(session, 1, model, config)
    assert name in running.refusal(1)
    assert running.picture(session, 0).version == 1


def test_the_newest_wins_under_a_flood(running, session):
    for number in range(500):
        running.send(session, number)
    shown = [running.told.wait(Picture, lambda event: event.sid == session).frame.id]
    while shown[-1] != 499:
        shown.append(running.told.wait(Picture, lambda event: event.sid == session).frame.id)
    assert shown == sorted(set(shown))
    assert len(shown) < 500


def test_sessions_do_not_disturb_one_another(running):
    names = [f"many-{i}" for i in range(3)]
    for i, name in enumerate(names):
        running.open(name, settings(seed=i))
    made = {name: running.picture(name, 0).pixels for name in names}
    assert not np.array_equal(made[names[0]], made[names[1]])
    running.supervisor.set(names[0], 1, {"prompt": "another"})
    assert running.told.wait(Answered).sid == names[0]
    assert np.array_equal(running.picture(names[1], 0).pixels, made[names[1]])
    for name in names:
        running.supervisor.close(name)


def test_a_remark_on_a_prompt_is_told(running, session):
    running.supervisor.set(session, 1, {"prompt": "long " * 40})
    assert "cut off" in running.told.wait(Said, lambda event: event.sid == session).message


def test_figures_come_by_themselves(running, session):
    running.picture(session, 0)
    figures = running.told.wait(Stats, lambda event: event.sid == session and event.stats.finished)
    assert figures.stats.submitted == 1
    assert figures.memory_bytes > 2**24


def test_a_model_that_cannot_be_opened_is_refused(running):
    wanted = settings()
    running.supervisor.open(
        "absent", wanted.model_copy(update={"model": wanted.model.model_copy(update={"name": "x/y/z"})})
    )
    assert "x/y/z" in running.refusal(0)
    running.supervisor.set("absent", 1, {"seed": 1})
    assert "no such session" in running.refusal(1)


def test_a_model_that_gives_no_pictures_ends_its_session_alone(running, session):
    wanted = settings()
    broken = wanted.model.model_copy(update={"name": str(tiny.broken())})
    running.open("broken", wanted.model_copy(update={"model": broken}))
    running.send("broken", 0)
    assert "NaN" in running.refusal(0)
    assert running.picture(session, 0).id == 0


class Tight(WatchedEngine):
    """Once `filled` is there its memory does for pictures of `most` a side; a tick of a larger one ends the process."""

    def __init__(self, config, filled, most, error):
        super().__init__(load_model(config))
        self._filled, self._most, self._error = filled, most, error

    def open(self, config, params, version=1):
        session = super().open(config, params, version)
        if self._too_large(session):
            raise self._error
        return session

    def tick(self, entering):
        if any(self._too_large(session) for session in entering):
            os._exit(OUT_OF_MEMORY)
        return super().tick(entering)

    def _too_large(self, session):
        return self._filled.exists() and max(session.size) > self._most


def tight(filled: Path, most: int, error: Exception, config) -> Tight:
    return Tight(config, filled, most, error)


ERRORS = [TooLargeError("stream: needs 9.0 GiB on cpu; use fewer steps"), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=["counted", "raised"])
def test_a_session_that_is_opened_again_goes_down_until_it_fits(tmp_path, error):
    filled = tmp_path / "filled"
    with Running(partial(tight, filled, 32, error)) as running:
        running.open("s", settings(width=64, height=64, prompt="a house"))
        filled.touch()
        running.send("s", 0)
        opened = running.told.wait((Opened, Refused))
        assert isinstance(opened, Opened), opened
        assert opened.traded == "size 64x64 -> 32x32"
        assert opened.params.prompt[0].text == "a house"
        assert running.picture("s", 1).pixels.shape == (32, 32, 3)


def test_what_never_fits_is_refused_in_the_end_and_a_new_session_at_once(tmp_path):
    filled = tmp_path / "filled"
    with Running(partial(tight, filled, 8, ERRORS[0])) as running:
        running.open("s", settings())
        filled.touch()
        running.send("s", 0)
        assert "use fewer steps" in running.refusal(0)
    with Running(partial(tight, filled, 16, ERRORS[0])) as running:
        running.supervisor.open("s", settings())  # whoever asks for a size gets it, or hears that it does not fit
        assert "use fewer steps" in running.refusal(0)
