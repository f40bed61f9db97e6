"""Chromium for the tests of the page, and the folder for its pictures."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.page_server import demo_clip

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 60_000  # milliseconds: the machine may be busy
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--auto-select-desktop-capture-source=Entire",
]
# What keeps a hidden tab awake is left out, or the tests would see a background that users do not have.
AWAKE = [
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
]
BRIGHTNESS = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.reduce((sum, value, i) => sum + (i % 4 === 3 ? 0 : value), 0) / (data.length * 3 / 4);
}"""
ARTIFACTS = Path(os.environ.get("MILLSTREAM_ARTIFACTS") or tempfile.gettempdir()) / "millstream-page"


@contextmanager
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: install the system's chromium package")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, ignore_default_args=AWAKE)
        yield browser
        browser.close()


def open_page(browser: Any, address: str, script: str = "", **options: Any) -> Any:
    """A page that fails the test where its console has an error."""
    context = browser.new_context(**{"viewport": {"width": 1360, "height": 800}} | options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
    if script:
        page.add_init_script(script)
    page.goto(address)
    return page


def until(page: Any, condition: str, argument: Any = None) -> Any:
    """Wait until an expression in the page is true."""
    return page.wait_for_function(condition, arg=argument, timeout=PATIENCE).json_value()


def choose(page: Any, kind: str) -> None:
    """Press a source's button, give it the demo clip where it wants a file, and wait until it is the one that runs.

    The one before may be of the same kind, as the one that a page begins with, and gives pictures until then.
    """
    page.evaluate("() => { window.former = millstream.show.sender.source; }")
    if kind == "file":
        page.set_input_files("#file", {"name": "clip.webm", "mimeType": "video/webm", "buffer": demo_clip()})
    else:
        page.locator(".choice").first.get_by_role("button", name=kind).click()
    until(page, "kind => millstream.sources.kind.value === kind && millstream.show.sender.source !== former", kind)


def live(page: Any) -> None:
    page.wait_for_selector('.app[data-phase="live"]')


def advance(page: Any, pictures: int = 3) -> None:
    """Wait until this many more results have been shown."""
    page.evaluate(
        """n => {
            window.uncount?.(); // or this call would count each picture as often as there were calls before
            window.uncount = millstream.show.shown.subscribe(() => window.goal++);
            window.goal = -n;
        }""",
        pictures,
    )
    until(page, "() => window.goal >= 0")


def brightness(page: Any, canvas: str = "presenter") -> float:
    """The mean of all values of a canvas, 0 for black."""
    return page.evaluate(f"name => ({BRIGHTNESS})(millstream.show[name].canvas)", canvas)


def keep(page: Any, name: str) -> None:
    """Keep a picture of the page."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{re.sub(r'[^a-z0-9-]+', '-', name)}.png")
