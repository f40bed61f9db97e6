"""Clients that come, go and keep something: early, late, cut off, and one after the other."""

import asyncio
import threading
from contextlib import ExitStack
from pathlib import Path
from time import sleep

import pytest

from millstream.errors import MillstreamError
from millstream.models import load_model
from millstream.params import ModelConfig
from millstream.server.engines import WatchedEngine
from millstream.server.hearing import KEPT
from millstream.server.house import BEAT
from millstream.server.protocol import BAD
from tests.serving import BRIEF, SMALL, Line, closes_with, jpeg, serve, shared, wait_for

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def empty(pytestconfig: pytest.Config) -> None:
    """Each test begins with no session."""
    closes_with(pytestconfig)
    wait_for(lambda: not shared().house.sessions, 60)


def test_who_controls_ends_a_recording_whoever_began_it() -> None:
    with Line(shared()) as first:
        welcome = first.hear("welcome")
        assert welcome["recording"] is False
        first.credit()
        first.say("record", id=1, on=True)
        assert first.hear("ack")["id"] == 1
        first.show(jpeg(0))
        first.hear("picture")
        with Line(shared(), welcome["session"]) as second:
            assert second.hear("welcome")["recording"] is True
            second.say("record", id="mine", on=False)
            kept = second.hear("file")
            assert (kept["id"], kept["kind"]) == ("mine", "recording")
            told = first.hear("file")  # who began it hears of its end too
            assert (told["name"], "id" in told) == (kept["name"], False)
            second.say("bye")


def test_where_nothing_can_be_kept_the_client_is_told_and_the_connection_lives(tmp_path: Path) -> None:
    for name in ("recordings", "snapshots"):
        (tmp_path / name).touch()
    with serve(tmp_path, SMALL) as server, Line(server) as line:
        line.credit()
        line.show(jpeg(0))
        line.hear("picture")
        for type, fields in (("record", {"on": True}), ("snapshot", {})):
            line.say(type, id=type, **fields)
            error = line.hear("error")
            assert error["id"] == type
            assert "--data" in error["message"]
        line.say("set", id=1, params={"seed": 3})
        assert line.hear("ack")["id"] == 1
        sid = next(iter(server.house.sessions))
        for kind in ("recordings", "snapshots"):
            with pytest.raises(MillstreamError, match="--data"):
                server.client.call(f"sessions/{sid}/{kind}", "POST")


def test_a_viewer_that_leaves_for_good_does_not_end_the_wait_for_a_controller_that_was_cut_off() -> None:
    with ExitStack() as lines:
        line = lines.enter_context(Line(shared()))
        session = line.hear("welcome")["session"]
        line.credit()
        line.show(jpeg(0))
        line.hear("picture")
        viewer = lines.enter_context(Line(shared(), session, "view"))
        viewer.hear("picture")
        line.socket.socket.shutdown(2)
        viewer.event("away")
        viewer.say("bye")
        viewer.closed()
        sleep(2.5 * BEAT)
        with Line(shared(), session) as again:
            assert again.hear("welcome")["session"] == session
            again.say("bye")  # and who has control ends it at once
        wait_for(lambda: not shared().house.sessions, 2.5 * BEAT)


def load_slowly(config: ModelConfig) -> WatchedEngine:
    sleep(600)
    raise AssertionError("nobody waits for it so long")


def test_who_leaves_while_the_model_loads_leaves_no_session(tmp_path: Path) -> None:
    with serve(tmp_path, SMALL, make=load_slowly) as server:
        for _ in range(SMALL.sessions + 1):
            with Line(server) as line:
                line.hear("building")
                line.say("key")  # not yet to be heeded, nor to be lost
            wait_for(lambda: not server.house.sessions, 5)


def load_late(config: ModelConfig) -> WatchedEngine:
    sleep(3)
    return WatchedEngine(load_model(config))


def test_what_is_said_before_the_welcome_is_heeded_after_it(tmp_path: Path) -> None:
    with serve(tmp_path, SMALL, make=load_late) as server, Line(server) as line:
        line.hear("building")
        for number in range(KEPT):
            line.say("set", id=number, params={"seed": number})
        assert line.hear("welcome", "ack")["type"] == "welcome"
        assert [line.hear("ack")["id"] for _ in range(KEPT)] == list(range(KEPT))


def test_much_that_is_said_before_the_welcome_closes_the_connection(tmp_path: Path) -> None:
    with serve(tmp_path, SMALL, make=load_slowly) as server, Line(server) as line:
        for _ in range(KEPT + 1):
            line.say("key")
        assert "welcome" in line.hear("error")["message"]
        assert line.closed() == BAD


def test_a_controller_that_was_cut_off_finds_its_session_as_it_was() -> None:
    line = Line(shared())
    session = line.hear("welcome")["session"]
    line.credit()
    line.say("set", id=1, params={"prompt": "mine", "seed": 77})
    line.hear("ack")
    line.show(jpeg(0))
    found = line.hear("picture")
    while found.revision != 2:
        found = line.hear("picture")
    line.socket.socket.shutdown(2)  # as when a network goes
    line.socket.close()
    with Line(shared(), session) as again:
        welcome = again.hear("welcome")
        assert welcome["session"] == session
        assert welcome["settings"]["params"]["prompt"] == [{"text": "mine", "weight": 1.0}]
        assert welcome["settings"]["params"]["seed"] == 77
        assert again.hear("picture").payload == found.payload
        again.show(jpeg(3, sequence=0))
        while again.hear("picture").capture != 3000.0:
            pass


def test_cycles_of_connecting_leave_nothing_behind(tmp_path: Path) -> None:
    with serve(tmp_path, BRIEF) as server:
        house, loop = server.house, server.house._loop

        def left() -> tuple[int, int, int]:
            tasks = asyncio.run_coroutine_threadsafe(_count_tasks(), loop).result(30)
            return tasks, threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

        with Line(server) as line:
            line.hear("welcome")
        wait_for(lambda: not house.sessions, 60)
        before = left()
        for k in range(200):
            with Line(server, greet=k % 3 != 0) as line:
                if k % 3 == 1:
                    line.hear("welcome")
            wait_for(lambda: len(house.sessions) < BRIEF.sessions, 60)
        wait_for(lambda: not house.sessions, 60)
        wait_for(lambda: all(now <= then + 2 for now, then in zip(left(), before, strict=True)), 60)


async def _count_tasks() -> int:
    return len(asyncio.all_tasks())
