"""The page against the real server, with its engine in a worker process and a tiny model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from tests.page_browser import advance, brightness, chromium, keep, live, open_page, until
from tests.serving import Server, serve, settings

STAGES = 2
SIDE = 64
SLOW = "const draw = CanvasRenderingContext2D.prototype.drawImage; CanvasRenderingContext2D.prototype.drawImage ="
SLOW += " function (...all) { const end = Date.now() + 150; while (Date.now() < end); return draw.apply(this, all); };"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    wanted = settings(width=SIDE, height=SIDE, steps=STAGES)
    with serve(tmp_path_factory.mktemp("data"), with_settings=wanted) as running:
        yield running


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    opened = open_page(browser, server.url)
    live(opened)
    yield opened
    opened.evaluate("() => millstream.show.link.send({ type: 'bye' })")
    opened.context.close()


def workers() -> list[psutil.Process]:
    """The engine's processes: those that a fork server has forked."""

    def forks(process: psutil.Process) -> bool:
        return any("forkserver" in part for part in process.cmdline())

    servers = [child for child in psutil.Process().children() if forks(child)]
    return [worker for server in servers for worker in server.children()]


def test_a_prompt_shows_within_the_frames_in_flight(page: Any) -> None:
    """No later than two after those that were in flight when the server took it: revisions are the server's word."""
    page.evaluate(
        """() => {
            const { show } = millstream;
            window.log = [];
            show.shown.subscribe((shown) => shown && window.log.push(shown.revision));
            show.settings.set("prompt", [{ text: "frost", weight: 1 }]);
            const { accept } = show.settings;
            show.settings.accept = function (answer) { window.at ??= window.log.length; accept.call(this, answer); };
        }"""
    )
    before = page.evaluate("() => millstream.show.shown.value.revision")
    until(page, "old => window.log.some((revision) => revision > old)", before)
    log, at = page.evaluate("() => [window.log, window.at]")
    first = next(i for i, revision in enumerate(log) if revision > before)
    assert first - at <= STAGES + 2, (log, at)
    assert log == sorted(log)


def test_a_worker_that_is_killed_comes_back_under_the_last_picture(page: Any, server: Server) -> None:
    light = brightness(page)
    for worker in workers():
        worker.kill()
    page.wait_for_selector('.app[data-phase="lost"]')
    assert abs(brightness(page) - light) < 60
    keep(page, "engine-lost")
    live(page)
    advance(page, 5)


def test_a_slow_viewer_does_not_hold_up_the_fast_one(browser: Any, page: Any, server: Server) -> None:
    session = page.evaluate("() => millstream.show.session.value")
    slow = open_page(browser, f"{server.url}/view?session={session}", script=SLOW)
    slow.wait_for_selector("body.started")
    first = page.evaluate("() => millstream.show.shown.value.sequence")
    advance(page, 40)
    assert page.evaluate("() => millstream.show.shown.value.sequence") > first
    slow.context.close()


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


def test_a_recording_is_a_file_that_plays(page: Any, server: Server, tmp_path: Path) -> None:
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


def test_a_second_page_takes_over_and_the_first_takes_control_back(browser: Any, page: Any, server: Server) -> None:
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
