"""The page against the real server, with its engine in a worker process and a tiny model."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Event, Thread
from typing import Any

import av
import pytest

from tests import tiny
from tests.page_browser import PATIENCE, advance, brightness, keep, live, open_page, until
from tests.serving import Running, serve, settings

STAGES = 2
SIDE = 64
PICTURES = 50  # that one viewer sees while the other stands still; it is sent those of half a second
NEWEST = "() => millstream.show.shown.value.sequence"
STANDING = """const draw = CanvasRenderingContext2D.prototype.drawImage, { send } = WebSocket.prototype;
    window.shown = [];
    CanvasRenderingContext2D.prototype.drawImage = function (...all) {
        const wait = new XMLHttpRequest();
        wait.open("GET", "%s", false);  // not a loop: that would take the processor from the other viewer
        wait.send();
        return draw.apply(this, all);
    };
    WebSocket.prototype.send = function (message) {
        const { type, seq } = JSON.parse(message);
        if (type === "ack") window.shown.push(seq);
        return send.call(this, message);
    };"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    wanted = settings(width=SIDE, height=SIDE, steps=STAGES)
    with serve(tmp_path_factory.mktemp("data"), with_settings=wanted) as running:
        yield running


@pytest.fixture
def page(browser: Any, server: Running) -> Iterator[Any]:
    opened = open_page(browser, server.url)
    live(opened)
    yield opened
    opened.evaluate("() => millstream.show.link.send({ type: 'bye' })")
    opened.context.close()


def test_a_worker_that_is_killed_comes_back_under_the_last_picture(page: Any, server: Running) -> None:
    light = brightness(page)
    os.kill(server.house._supervisor.pid, signal.SIGKILL)
    page.wait_for_selector('.app[data-phase="lost"]')
    assert abs(brightness(page) - light) < 60
    keep(page, "engine-lost")
    live(page)
    advance(page, 5)


class Gate(ThreadingHTTPServer):
    """Answers where it is open; where it is closed, who asks stands still."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.opened, self.waited = Event(), Event()
        self.opened.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Closed until the end, from when somebody stands before it."""
        self.waited.clear()
        self.opened.clear()
        try:
            assert self.waited.wait(PATIENCE / 1000)
            yield
        finally:
            self.opened.set()


class Passage(BaseHTTPRequestHandler):
    server: Gate

    def do_GET(self) -> None:
        if not self.server.opened.is_set():
            self.server.waited.set()
        self.server.opened.wait()
        self.send_response(204)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as gate:
        Thread(target=gate.serve_forever, daemon=True).start()
        yield gate
        gate.shutdown()


def seen(page: Any) -> float:
    """The part that a page sees of the next pictures that are made: a busy machine has it leave some out."""
    first = page.evaluate(NEWEST)
    for _ in range(PICTURES // 10):
        advance(page, 10)
    return PICTURES / (page.evaluate(NEWEST) - first)


def test_a_viewer_that_stands_still_does_not_hold_up_the_other(
    browser: Any, page: Any, server: Running, gate: Gate
) -> None:
    view = f"{server.url}/view?session={page.evaluate('() => millstream.show.session.value')}"
    still, sent = open_page(browser, "about:blank", script=STANDING % gate.url, bypass_csp=True), []

    def received(message: str | bytes) -> None:
        if isinstance(message, bytes):
            sent.append(message)

    still.on("websocket", lambda socket: socket.on("framereceived", received))
    still.goto(view)
    still.wait_for_selector("body.started")
    before = seen(page)
    with gate.closed():
        sent.clear()
        meanwhile = seen(page)
        last = page.evaluate(NEWEST)
    until(still, "(newest) => window.shown.at(-1) >= newest", last)
    assert len(sent) <= PICTURES * 2 / 3, "it was sent what it could not show"
    assert meanwhile >= 0.8 * min(before, seen(page)), "of what was made meanwhile, the other saw too little"
    shown = still.evaluate("() => window.shown")
    still.context.close()
    assert len(shown) >= 3
    assert shown == sorted(set(shown))


@contextmanager
def process(data: Path, port: int = 0) -> Iterator[int]:
    """A server in a process of its own, which is killed in the end; its port."""
    form = [f"--model={tiny.small()}", f"--width={SIDE}", f"--height={SIDE}", "--backend=eager"]
    command = [sys.executable, "-m", "millstream", "serve", f"--port={port}", f"--data={data}", *form]
    with Popen(command, stdout=PIPE, text=True) as running:
        try:
            assert running.stdout
            line = running.stdout.readline()
            assert line.startswith("millstream: http://127.0.0.1:"), line
            yield int(line.rstrip("/\n").rpartition(":")[2])
        finally:
            running.kill()


def test_a_page_finds_a_server_that_was_killed_and_started_again(browser: Any, tmp_path: Path) -> None:
    with process(tmp_path) as port:
        page = open_page(browser, f"http://127.0.0.1:{port}/")
        live(page)
        page.get_by_label("Prompt", exact=True).fill("frost")
        until(page, "() => millstream.show.shown.value.revision > 1")
        session = page.evaluate("() => millstream.show.session.value")
    page.wait_for_selector('.app[data-phase="reconnecting"]')
    with process(tmp_path, port):
        live(page)
        advance(page, 5)
        assert page.evaluate("() => millstream.show.session.value") != session
        until(page, "() => millstream.show.shown.value.revision > 1")  # the prompt was set again
        (found,) = page.request.get(f"http://127.0.0.1:{port}/api/v1/sessions").json()
        assert [prompt["text"] for prompt in found["settings"]["params"]["prompt"]] == ["frost"]
        assert page.get_by_label("Prompt", exact=True).input_value() == "frost"
        page.context.close()


def test_the_shared_link_shows_and_does_not_control(browser: Any, tmp_path: Path) -> None:
    with serve(tmp_path, token="secret", with_settings=settings(width=SIDE, height=SIDE)) as locked:
        page = open_page(browser, f"{locked.url}/?token=secret")
        live(page)
        link = page.evaluate("() => document.querySelector('[aria-label=\"Link for viewers\"]').value")
        assert "secret" not in link
        viewer = open_page(browser, link)  # in a context of its own: no cookie of the other's
        viewer.wait_for_selector("body.started")
        session = page.evaluate("() => millstream.show.session.value")
        token = link.partition("token=")[2]
        assert viewer.request.get(f"{locked.url}/?token={token}").status == 401
        assert viewer.request.delete(f"{locked.url}/api/v1/sessions/{session}?token={token}").status == 401
        viewer.context.close()
        page.context.close()


def test_a_recording_is_a_file_that_plays(page: Any, server: Running, tmp_path: Path) -> None:
    page.keyboard.press("r")
    page.get_by_role("button", name="End recording").wait_for()
    advance(page, 10)
    page.keyboard.press("r")
    link = page.locator(".files a").first
    with page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "show.mp4")
    with av.open(str(tmp_path / "show.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 5


def test_steps_are_rebuilt_while_the_picture_goes_on(page: Any) -> None:
    page.evaluate("() => millstream.show.settings.change({ config: { steps: 3 } })")
    until(page, "() => millstream.show.settings.value('steps') === 3 && !millstream.show.settings.building.value")
    advance(page, 5)
    page.locator(".bar").get_by_role("button", name="Undo").click()
    until(page, "() => millstream.show.settings.value('steps') === 2")


def test_a_preset_brings_steps_and_the_indices_that_go_with_them(page: Any) -> None:
    asked = "millstream.show.settings.value('t_index')?.length"
    page.evaluate("() => millstream.show.settings.apply({ config: { steps: 3 }, params: { t_index: [0, 20, 40] } })")
    until(page, f"() => {asked} === 3 && millstream.show.settings.value('steps') === 3")
    page.locator(".bar").get_by_role("button", name="Undo").click()
    until(page, f"() => {asked} === undefined && millstream.show.settings.value('steps') === 2")
    assert page.evaluate("() => millstream.show.settings.faults.value") == {}
    advance(page)


def test_a_second_page_takes_over_and_the_first_takes_control_back(browser: Any, page: Any, server: Running) -> None:
    session = page.evaluate("() => millstream.show.session.value")
    other = open_page(browser, server.url, script=f"sessionStorage.setItem('millstream.session', '{session}')")
    live(other)
    until(page, "() => millstream.show.role.value === 'view'")
    keep(page, "taken-over")
    page.get_by_role("button", name="Take control").click()
    until(other, "() => millstream.show.role.value === 'view'")
    until(page, "() => millstream.show.role.value === 'control'")
    advance(page, 5)
    other.context.close()
