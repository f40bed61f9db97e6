"""The engine worker in a process of its own, on a real model."""

import numpy as np
import pytest

from millstream import Stream
from millstream.server.messages import Answered, Building, Picture, Said, Stats
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
