"""The live connection: real sockets, a real server, the real worker with a tiny model."""

import json
import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from pydantic import ValidationError
from websockets.exceptions import ConnectionClosed, InvalidStatus

from millstream.errors import MillstreamError
from millstream.server.codecs import decoder, encoder
from millstream.server.limits import Limits
from millstream.server.messages import Back
from millstream.server.protocol import BAD, CODECS, FLOOD, IDLE, REPLACED
from millstream.server.replies import REPLIES
from tests import tiny
from tests.serving import SMALL, Line, closes_with, jpeg, picture, serve, shared, wait_for
from tests.workers import SOON, load_noting, without_load

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def empty(pytestconfig: pytest.Config) -> None:
    """Each test begins with no session."""
    closes_with(pytestconfig)
    house = shared().house
    wait_for(lambda: not house.sessions, 60)


def codes(session: str = "new", role: str = "control") -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refused:
        Line(shared(), session, role)
    return refused.value.response.status_code, json.loads(refused.value.response.body)["message"]


@pytest.mark.parametrize("codec", CODECS)
def test_pictures_go_round_in_order_with_their_capture_time(codec: Any) -> None:
    with shared().client.open(codec=codec) as stream:
        results = list(stream.run(picture(k) for k in range(12)))
        ids = [result.id for result in results]
        assert ids == sorted(ids)
        assert ids[-1] == 11
        assert all(result.pixels.shape == (32, 32, 3) and result.version == 1 for result in results)
        times = [result.time for result in results]
        assert times == sorted(times)


def test_a_change_reaches_the_pictures_that_follow() -> None:
    with shared().client.open() as stream:
        before = list(stream.run([picture(1)]))[-1]
        assert stream.set(prompt="another", strength=0.9) == 2
        after = list(stream.run([picture(1)]))[-1]
        assert (before.version, after.version) == (1, 2)
        assert not np.array_equal(before.pixels, after.pixels)
        assert stream.change(steps=2)["config"]["steps"] == 2
        assert list(stream.run([picture(1), picture(2)]))[-1].version > 2


def test_welcome_says_what_a_client_needs() -> None:
    with Line(shared(), send=["av1", "vp8"], receive=["h264", "jpeg"], size=[640, 480]) as line:
        welcome = line.hear("welcome")
        assert (welcome["role"], welcome["send"], welcome["receive"]) == ("control", "vp8", "h264")
        assert (welcome["size"], welcome["version"], welcome["device"]) == ([32, 32], 1, "cpu")
        assert welcome["settings"]["params"]["prompt"] == [{"text": "a", "weight": 1.0}]
        assert set(welcome["schema"]) == {"model", "config", "params"}
        assert welcome["limits"]["picture"] == SMALL.picture
        assert line.hear("credit")["upto"] == 0
        line.say("bye")


def test_what_the_server_says_is_of_the_schema() -> None:
    """Every message that a `Line` hears is held to it, in all tests; here each type is heard."""
    with Line(shared(), send=["h264"]) as line:
        line.credit()
        payload = encoder("h264").encode(picture(0), True).payload
        line.show(replace(jpeg(0), codec="h264", key=False, payload=payload))
        line.hear("key")
        line.credit(1)
        line.show(replace(jpeg(1), codec="h264", payload=payload))
        line.hear("picture")
        line.say("snapshot", id="mine")
        assert line.hear("file")["id"] == "mine"
        line.say("change", id=2, config={"steps": 2})
        line.hear("building")
        line.hear("ack")
        line.say("record", id=3, on=False)
        line.hear("error")
        line.say("take")
        line.event("control")
        while "steps" not in line.hear("stats"):
            pass
        assert line.heard == {"welcome", "credit", "key", "file", "building", "ack", "error", "event", "stats"}
        line.say("bye")


@pytest.mark.parametrize(
    "message",
    [
        {"v": 2, "type": "credit", "upto": 1},
        {"v": 1, "type": "credit", "upto": "1"},
        {"v": 1, "type": "credit"},
        {"v": 1, "type": "credit", "upto": 1, "more": 1},
        {"v": 1, "type": "error", "id": None, "message": "no"},
        {"v": 1, "type": "event", "name": "back"},
        {"v": 1, "type": "event", "name": "gone"},
    ],
)
def test_what_the_server_never_says_is_not_of_the_schema(message: dict) -> None:
    with pytest.raises(ValidationError):
        REPLIES.validate_json(json.dumps(message))


def test_the_capture_time_and_the_number_come_back_with_the_result() -> None:
    with Line(shared()) as line:
        line.credit()
        for k in range(3):
            line.show(replace(jpeg(k), capture=1e12 + 0.1 * k))
            found = line.result(k)
            assert (found.sequence, found.capture, found.revision, found.key) == (k, 1e12 + 0.1 * k, 1, True)
            assert decoder("jpeg", Limits()).decode(found.payload).shape == (32, 32, 3)
            line.say("ack", seq=k, age_ms=20)
            line.credit(k + 1)
        line.say("bye")


def test_each_second_brings_statistics() -> None:
    with Line(shared()) as line:
        line.credit()
        line.show(jpeg(0))
        line.hear("picture")
        line.say("ack", seq=0, age_ms=25)
        stats = line.hear("stats")
        while "steps" not in stats:  # the engine tells each second too
            stats = line.hear("stats")
        assert (stats["steps"], stats["width"], stats["backend"], stats["viewers"]) == (1, 32, "eager", 1)
        assert stats["age_ms"] == {"p50": 25.0, "p95": 25.0, "p99": 25.0}
        line.say("reset")
        line.say("bye")


def test_a_session_that_cannot_be_looked_after_keeps_no_other_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with Line(shared()) as first, Line(shared()) as second:
        broken = shared().house.get(first.hear("welcome")["session"])
        monkeypatch.setattr(broken, "stats", lambda: 1 / 0)
        second.hear("welcome")
        for _ in range(3):
            second.hear("stats")


def test_a_delta_without_its_key_asks_for_one() -> None:
    encoded = [encoder("h264").encode(picture(0), True)]
    with Line(shared(), send=["h264"]) as line:
        line.credit()
        line.show(replace(jpeg(0), codec="h264", key=False, payload=encoded[0].payload))
        line.hear("key")
        line.credit(1)
        line.show(replace(jpeg(1), codec="h264", payload=b"\0\0\1nonsense"))
        line.hear("key")
        assert line.hear("error")["field"] == "payload"
        line.credit(2)
        line.show(replace(jpeg(2), codec="h264", payload=encoded[0].payload))
        assert line.hear("picture").sequence == 2
        line.say("bye")


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"type": "set", "id": 7, "params": {"strength": 2}}, "strength"),
        ({"type": "set", "id": 7, "params": {"colour": 1}}, "colour"),
        ({"type": "set", "id": 7, "params": {"prompt": ["a"] * 9}}, "prompt"),
        ({"type": "set", "id": 7, "params": {"prompt": "x" * 2001}}, "prompt"),
        ({"type": "set", "id": 7, "params": {"similarity_threshold": 1}}, "similarity_threshold"),
        ({"type": "set", "id": 7, "params": {"t_index": [5, 3]}}, "t_index"),
        ({"type": "set", "id": 7, "params": {"t_index": [5, 50]}}, "t_index"),
        ({"type": "change", "id": 7, "config": {"steps": 0}}, "steps"),
        ({"type": "change", "id": 7, "config": {"input": "text", "guidance": "self-negative"}}, "guidance"),
        ({"type": "change", "id": 7, "config": {"width": 33}}, "width"),
        ({"type": "change", "id": 7, "model": {"name": "/etc/passwd"}}, "name"),
        ({"type": "set", "id": 7}, "params"),
        ({"type": "record", "id": 7, "on": False}, "on"),
    ],
)
def test_a_bad_message_is_answered_with_its_field_and_the_connection_lives(message: dict, field: str) -> None:
    with Line(shared()) as line:
        line.credit()
        line.socket.send(json.dumps({"v": 1} | message))
        error = line.hear("error")
        assert (error["id"], error["field"]) == (7, field)
        assert "\n" not in error["message"]
        line.show(jpeg(0))
        assert line.hear("picture").sequence == 0
        line.say("bye")


def test_faults_in_a_row_close_the_connection() -> None:
    with Line(shared()) as line:
        line.credit()
        for _ in range(SMALL.bad_messages):
            line.socket.send("{}")
        assert line.closed() == BAD


def test_a_flood_is_slowed_and_then_closed() -> None:
    with Line(shared()) as line:
        line.credit()
        message = json.dumps({"v": 1, "type": "reset"})
        with suppress(ConnectionClosed):  # unless all of it fits into the buffers on the way
            for _ in range(100_000):
                line.socket.send(message)
        assert line.closed() in (FLOOD, 1006)  # what was under way when it closed may reset the connection


def test_pictures_without_credit_are_let_go_and_then_closed() -> None:
    with Line(shared()) as line:
        line.credit()
        with suppress(ConnectionClosed):
            for k in range(SMALL.slowed_messages + 2):
                line.show(jpeg(0, sequence=1000 + k))
        assert line.closed() == FLOOD


def test_a_picture_that_is_too_large_is_refused() -> None:
    with Line(shared()) as line:
        line.credit()
        wide = encoder("jpeg").encode(np.zeros((8, SMALL.side + 8, 3), np.uint8), True).payload
        line.show(replace(jpeg(0), payload=wide))
        assert line.hear("error")["field"] == "payload"
        line.socket.send(bytes(SMALL.picture + 21))
        assert line.closed() == 1009


def test_nobody_waits_for_a_hello_for_ever() -> None:
    with Line(shared(), greet=False) as line:
        assert line.closed() == BAD
    with Line(shared(), greet=False) as line:
        line.say("key")
        assert line.closed() == BAD
    with Line(shared(), receive=["av1"]) as line:
        assert "receive" in line.hear("error")["message"]


def test_viewers_see_what_the_controller_makes() -> None:
    with shared().client.open() as stream:
        first = list(stream.run([picture(0)]))[-1]
        with Line(shared(), stream.session, "view", receive=["vp8"]) as viewer:
            assert viewer.hear("welcome")["role"] == "view"
            found = viewer.hear("picture")  # the last one, at once
            assert (found.codec, found.key, found.sequence) == ("vp8", True, first.id)
            viewer.show(jpeg(0))
            assert viewer.hear("error")["field"] == "role"
            viewer.say("set", id=1, params={"seed": 3})
            assert viewer.hear("error")["field"] == "role"
            stream.set(seed=9)
            assert viewer.hear("ack")["params"]["seed"] == 9


def test_who_came_by_a_viewers_link_watches_and_does_not_control(tmp_path: Path) -> None:
    with serve(tmp_path, SMALL, token="secret") as server, Line(server) as first:
        greeting = first.hear("welcome")
        first.credit()
        first.show(jpeg(0))
        with Line(server, greeting["session"], "view", token=greeting["viewers"]) as viewer:
            welcome = viewer.hear("welcome")
            assert "viewers" not in welcome
            assert welcome["settings"]["model"]["name"] == tiny.small().name  # and not where it lies
            assert viewer.hear("picture").sequence == 0
            viewer.say("take")
            refusal = viewer.hear("error")
            assert "shows the stream" in refusal["message"]
            assert refusal["field"] == "role"
            first.say("set", id=1, params={"seed": 3})
            assert first.hear("ack")["params"]["seed"] == 3
            assert viewer.hear("ack")["model"]["name"] == tiny.small().name
        with urlopen(f"{server.url}/api/v1/sessions/{greeting['session']}?token={greeting['viewers']}") as answer:
            assert str(tiny.small().parent) not in answer.read().decode()
        with pytest.raises(InvalidStatus, match="401"):
            Line(server, greeting["session"], "control", token=greeting["viewers"])


def test_a_slow_viewer_slows_nobody() -> None:
    with shared().client.open() as stream, Line(shared(), stream.session, "view") as slow:
        slow.hear("welcome")
        results = list(stream.run(picture(k) for k in range(25)))  # the viewer reads and acknowledges nothing
        assert results[-1].id == 24
        outboxes = list(shared().house.sessions[stream.session].watchers)
        assert len(outboxes) == 2
        seen = [slow.hear("picture").sequence]
        slow.say("ack", seq=seen[0], age_ms=10)
        assert seen[0] < 24


def test_control_is_taken_over_and_taken_back() -> None:
    with Line(shared()) as first:
        session = first.hear("welcome")["session"]
        first.credit()
        first.show(jpeg(0))
        first.hear("picture")
        with Line(shared(), session, "view") as second:
            second.hear("welcome")
            second.say("take")
            second.event("control")
            assert second.hear("credit")["upto"] == 0
            first.event("viewer")
            first.say("set", id=1, params={"seed": 1})
            assert first.hear("error")["field"] == "role"
            second.show(jpeg(5, sequence=0))
            while (found := second.hear("picture")).capture != 5000.0:
                pass
            assert found.sequence == 0
            first.say("take")
            second.event("viewer")
        first.say("bye")


def test_who_finds_no_place_among_the_viewers_is_replaced() -> None:
    with Line(shared()) as first:
        session = first.hear("welcome")["session"]
        with Line(shared(), session, "view"), Line(shared(), session, "view") as third:
            third.hear("welcome")
            status, message = codes(session, "view")
            assert status == 503
            assert "viewers" in message
            with Line(shared(), session) as fourth:
                fourth.credit()
                assert first.closed() == REPLACED


def test_a_full_server_says_so_before_it_accepts() -> None:
    lines = [Line(shared()) for _ in range(SMALL.sessions)]
    for line in lines:
        line.hear("welcome")
    status, message = codes()
    assert status == 503
    assert "3 sessions" in message
    for line in lines:
        line.socket.close()
    wait_for(lambda: not shared().house.sessions, 60)
    with Line(shared()) as line:
        line.hear("welcome")


def test_strange_addresses_are_refused() -> None:
    assert codes("no-such-session")[0] == 404
    assert codes("new", "view")[0] == 400
    assert codes("new", "king")[0] == 400
    with pytest.raises(MillstreamError, match="no such session"), shared().client.join("x" * 500):
        pass


def test_an_idle_session_ends() -> None:
    with Line(shared()) as line:
        session = shared().house.get(line.hear("welcome")["session"])
        session.limits = replace(SMALL, idle=0.5)
        assert line.event("idle")["message"]
        assert line.closed() == IDLE
    assert codes(session.id)[0] == 404


def test_a_worker_that_dies_comes_back_with_the_parameters(tmp_path: Path) -> None:
    with serve(tmp_path, SMALL, make=partial(load_noting, tmp_path)) as server, Line(server) as line:
        line.credit()
        line.say("set", id=1, params={"seed": 5})
        line.hear("ack")
        line.show(jpeg(0))
        line.hear("picture")
        os.kill(server.house._supervisor.pid or 0, 9)
        assert line.event("lost")["reason"] == "died"
        assert line.hear("ack")["params"]["seed"] == 5
        assert 0 < without_load(Back(line.event("back")["seconds"]), tmp_path) < SOON
        line.hear("picture")  # the last one goes through again
        line.say("bye")
