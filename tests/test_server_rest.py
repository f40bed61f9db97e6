"""The REST interface and the page, asked as a script asks them."""

import asyncio
import http.client
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from time import sleep
from typing import Any
from urllib.request import urlopen

import av
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from millstream.errors import BadInputError, MillstreamError
from millstream.media import room
from millstream.params import Params, Settings
from millstream.server import rest
from millstream.server.refused import RefusedError
from tests.serving import SMALL, Line, closes_with, picture, shared, wait_for

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def empty(pytestconfig: pytest.Config) -> Iterator[None]:
    closes_with(pytestconfig)
    wait_for(lambda: not shared().house.sessions, 60)
    yield
    for session in shared().client.call("sessions"):
        with suppress(MillstreamError):  # it has ended meanwhile
            shared().client.call(f"sessions/{session['id']}", "DELETE")


def ask(method: str, target: str, body: str | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", shared().port, timeout=120)
    try:
        connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def call(*args: Any) -> Any:
    return shared().client.call(*args)


def test_openapi_describes_every_route_by_the_one_schema() -> None:
    found = call("openapi.json")
    assert "Params" in found["components"]["schemas"]
    assert set(found["paths"]) >= {
        "/api/v1/schema", "/api/v1/models", "/api/v1/presets", "/api/v1/presets/{name}", "/api/v1/sessions",
        "/api/v1/sessions/{session}", "/api/v1/sessions/{session}/picture.jpg",
        "/api/v1/sessions/{session}/stream.mjpg", "/api/v1/sessions/{session}/snapshots",
        "/api/v1/sessions/{session}/recordings", "/api/v1/recordings/{name}", "/api/v1/snapshots/{name}",
        "/api/v1/demo.webm", "/healthz", "/metrics",
    }  # fmt: skip
    assert call("schema")["params"] == Params.model_json_schema()


def test_the_schema_has_the_messages_of_both_directions() -> None:
    found = call("schema")
    assert found["version"] == 1
    assert set(found["messages"]["discriminator"]["mapping"]) == {
        "hello", "set", "change", "ack", "key", "take", "record", "snapshot", "bye", "reset"
    }  # fmt: skip
    replies = found["replies"]
    types = {definition["properties"]["type"]["const"] for name, definition in replies["$defs"].items()
             if "type" in definition.get("properties", {})}  # fmt: skip
    assert types == {"welcome", "credit", "key", "ack", "building", "error", "stats", "file", "event"}
    assert "schema" in replies["$defs"]["Welcome"]["required"]
    assert "reason" in replies["$defs"]["Lost"]["required"]


def test_presets_are_kept_under_names_of_the_server() -> None:
    settings = {"params": {"prompt": [{"text": "frost", "weight": 1.0}], "seed": 3}}
    assert call("presets/My%20Frost!", "PUT", settings) == {"name": "my-frost"}
    assert call("presets")["names"] == ["my-frost"]
    assert call("presets/my-frost")["params"]["seed"] == 3
    assert (shared().data / "presets" / "my-frost.yaml").is_file()
    with pytest.raises(BadInputError, match="seed"):
        call("presets/bad", "PUT", {"params": {"seed": -1}})
    with pytest.raises(BadInputError, match="letter"):
        call("presets/...", "PUT", settings)
    call("presets/my-frost", "DELETE")
    with pytest.raises(MillstreamError, match="no preset"):
        call("presets/my-frost")


@pytest.mark.parametrize(
    "target",
    [
        "/../app.py",
        "/js/../../app.py",
        "/%2e%2e/app.py",
        "/js/%2e%2e/%2e%2e/app.py",
        "/..%5capp.py",
        "/api/v1/recordings/..%2fpresets%2fx.yaml",
        "/api/v1/snapshots/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/api/v1/presets/..%2f..%2fsecret",
        "//etc/passwd",
    ],
)
def test_nothing_outside_is_served(target: str) -> None:
    (shared().data / "secret.yaml").write_text("params: {seed: 1}")
    status, _, body = ask("GET", target)
    assert status in (400, 404, 405)
    assert b"seed" not in body
    assert b"import" not in body


def test_a_session_is_opened_looked_at_and_ended() -> None:
    opened = call("sessions", "POST", {"params": {"prompt": "gold", "seed": 4}})
    sid = opened["id"]
    assert opened["settings"]["params"]["seed"] == 4
    assert opened["settings"]["model"]["name"] == shared().house.defaults.model.name
    wait_for(lambda: call(f"sessions/{sid}")["opened"], 120)
    assert [session["id"] for session in call("sessions")] == [sid]
    with pytest.raises(MillstreamError, match="no picture yet"):
        call(f"sessions/{sid}/picture.jpg")
    with pytest.raises(BadInputError, match="not a model"):
        call("sessions", "POST", {"model": {"name": "/etc"}})
    with pytest.raises(BadInputError, match="strength"):
        call("sessions", "POST", {"params": {"strength": 4}})
    call(f"sessions/{sid}", "DELETE")
    with pytest.raises(MillstreamError, match="no such session"):
        call(f"sessions/{sid}")


def test_sessions_are_bounded() -> None:
    for _ in range(3):
        call("sessions", "POST")
    with pytest.raises(MillstreamError, match="in use"):
        call("sessions", "POST")


def test_results_as_pictures_for_scripts_and_obs() -> None:
    with shared().client.open() as stream:
        list(stream.run([picture(0)]))
        path = f"sessions/{stream.session}"
        assert Image.open(BytesIO(shared().client.fetch(f"{path}/picture.jpg"))).size == (32, 32)
        with urlopen(f"{shared().url}/api/v1/{path}/stream.mjpg", timeout=60) as answer:
            assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=millstream"
            for _ in range(2):
                assert answer.readline() == b"--millstream\r\n"
                assert answer.readline() == b"Content-Type: image/jpeg\r\n"
                size = int(answer.readline().split(b":")[1])
                assert answer.readline() == b"\r\n"
                assert Image.open(BytesIO(answer.read(size))).size == (32, 32)
                assert answer.readline() == b"\r\n"
                stream.set(seed=8)  # the source has stalled: the last picture is made again
        wait_for(lambda: call(path)["clients"] == 1, 60)


def test_streams_asked_for_at_once_are_no_more_than_may_watch() -> None:
    with shared().client.open() as stream:
        session = shared().house.get(stream.session)

        async def ask_for_all() -> None:
            """None has begun to be sent when the last one is asked for."""
            answers = [await rest.stream(session) for _ in range(SMALL.viewers - 1)]
            with pytest.raises(RefusedError, match="as many viewers"):
                await rest.stream(session)
            for answer in answers:  # whose clients leave before the first picture
                await answer({"type": "http"}, leaving, sending)

        asyncio.run_coroutine_threadsafe(ask_for_all(), shared().house._loop).result(60)
        assert call(f"sessions/{stream.session}")["clients"] == 1


async def leaving() -> dict[str, str]:
    return {"type": "http.disconnect"}


async def sending(message: Any) -> None:
    await asyncio.sleep(0)


def apart(count: int) -> Iterator[np.ndarray]:
    """Pictures that were not taken within the same millisecond, of which a recording has one place."""
    for number in range(count):
        sleep(0.005)
        yield picture(number)


def test_snapshots_and_recordings_are_made_listed_and_downloaded() -> None:
    with shared().client.open() as stream:
        list(stream.run([picture(0)]))
        path = f"sessions/{stream.session}"
        kept = call(f"{path}/snapshots", "POST")
        assert kept in [one | {"seconds": None} for one in call("snapshots")]
        data = shared().client.fetch(f"snapshots/{kept['name']}")
        assert Image.open(BytesIO(data)).format == "PNG"
        assert len(data) == kept["bytes"]
        assert stream.snapshot()["url"].startswith("/api/v1/snapshots/")

        call(f"{path}/recordings", "POST")
        with pytest.raises(MillstreamError, match="already"):
            call(f"{path}/recordings", "POST")
        results = list(stream.run(apart(10)))
        kept = call(f"{path}/recordings", "DELETE")
        with av.open(BytesIO(shared().client.fetch(f"recordings/{kept['name']}"))) as container:
            times = [float(frame.time) for frame in container.decode(video=0)]
        assert times[0] == 0.0
        assert len(times) >= len(results)
        assert times == sorted(times)
        assert kept["seconds"] == pytest.approx(times[-1], abs=2e-3)
        with pytest.raises(MillstreamError, match="not recording"):
            call(f"{path}/recordings", "DELETE")


def test_a_recording_is_begun_and_ended_over_the_live_connection() -> None:
    with shared().client.open() as stream:
        stream.record(True)
        list(stream.run(picture(k) for k in range(5)))
        kept = stream.record(False)
        assert (shared().data / "recordings" / kept["name"]).stat().st_size == kept["bytes"]


def test_a_recording_that_takes_long_to_complete_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "PATIENCE", 0.0)
    with shared().client.open() as stream:
        call(f"sessions/{stream.session}/recordings", "POST")
        list(stream.run(picture(k) for k in range(3)))
        before = len(call("recordings"))
        status, _, body = ask("DELETE", f"/api/v1/sessions/{stream.session}/recordings")
        assert status == 504
        assert "not complete yet" in json.loads(body)["message"]
        wait_for(lambda: len(call("recordings")) == before + 1)


def test_what_cannot_be_stored_is_a_status_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with shared().client.open() as stream:
        list(stream.run([picture(0)]))
        path = f"/api/v1/sessions/{stream.session}"
        assert ask("POST", f"{path}/recordings")[0] == 201
        status, _, body = ask("DELETE", f"{path}/recordings")
        assert (status, "no picture came" in json.loads(body)["message"]) == (409, True)
        monkeypatch.setattr(room, "RESERVE", shutil.disk_usage(shared().data).total + 1)
        for kind in ("snapshots", "recordings"):
            status, _, body = ask("POST", f"{path}/{kind}")
            assert (status, "no room" in json.loads(body)["message"]) == (507, True)


def test_the_event_loop_reads_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = {"iterdir": set[str](), "is_file": set[str]()}

    def noting(name: str, real: Any) -> Any:
        def note(path: Path) -> Any:
            threads[name].add(threading.current_thread().name)
            return real(path)

        return note

    for name in threads:
        monkeypatch.setattr(Path, name, noting(name, getattr(Path, name)))
    (shared().data / "models").mkdir(exist_ok=True)
    with shared().client.open() as stream:
        list(stream.run([picture(0)]))
        call("models")
        call("sessions", "POST", {"model": {"name": "embedded"}})
        stream.change(model={"name": shared().house.defaults.model.name})
        stream.record(True)
        list(stream.run([picture(1)]))
        kept = stream.record(False)
        shared().client.fetch(f"recordings/{kept['name']}")
        shared().client.fetch(f"snapshots/{stream.snapshot()['name']}")
    for seen in threads.values():
        assert seen
        assert all(name.startswith(("millstream-pictures", "millstream-recording")) for name in seen), seen


def test_health_and_metrics() -> None:
    assert json.loads(ask("GET", "/healthz")[2])["status"] == "ok"
    with Line(shared()) as line:
        line.hear("welcome")
        status, headers, body = ask("GET", "/metrics")
        found = {family.name: family for family in text_string_to_metric_families(body.decode())}
        assert status == 200
        assert headers["content-type"].startswith("text/plain; version=")
        assert found["millstream_sessions_open"].samples[0].value == 1
        assert found["millstream_clients"].samples[0].value == 1
        assert found["millstream_engine_running"].samples[0].value == 1
        assert found["millstream_sessions"].samples[0].value >= 1
        line.say("bye")


def test_the_page_is_served_and_locked_down() -> None:
    for target, kind in (("/", "text/html"), ("/view?session=x", "text/html"), ("/js/protocol.js", "text/javascript")):
        status, headers, body = ask("GET", target)
        assert status == 200
        assert body
        assert headers["content-type"].startswith(kind)
        assert headers["cache-control"] == "no-cache"
        assert "default-src 'none'" in headers["content-security-policy"]
    assert ask("GET", "/nothing.js")[0] == 404


def test_others_are_kept_out() -> None:
    assert ask("GET", "/", Host="evil.example")[0] == 403
    assert ask("POST", "/api/v1/sessions", "{}", Origin="http://evil.example")[0] == 403
    assert (
        ask("OPTIONS", "/api/v1/sessions", Origin="http://evil.example")[1].get("access-control-allow-origin") is None
    )


def test_bodies_are_bounded_and_read_as_what_they_are() -> None:
    assert ask("PUT", "/api/v1/presets/x", "{", Content_Type="application/json")[0] == 422
    assert ask("PUT", "/api/v1/presets/x", json.dumps({"params": {"prompt": "x" * 10**7}}))[0] == 413
    status, _, body = ask("PUT", "/api/v1/presets/x", '{"more": 1}', Content_Type="application/json")
    assert status == 422
    assert "more" in json.loads(body)["message"]


def test_the_demo_clip_plays() -> None:
    data = shared().client.fetch("demo.webm")
    with av.open(BytesIO(data)) as container:
        assert (container.streams.video[0].width, container.format.name) == (256, "matroska,webm")
    assert ask("GET", "/api/v1/demo.webm", Range="bytes=0-9")[2] == data[:10]


def test_settings_of_a_session_make_a_preset(tmp_path: Path) -> None:
    settings = Settings.model_validate(call("sessions", "POST")["settings"])
    call("presets/mine", "PUT", settings.model_dump(mode="json"))
    assert Settings.model_validate(call("presets/mine")) == settings
    call("presets/mine", "DELETE")
