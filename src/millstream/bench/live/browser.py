"""A live stream in Chromium, on the page that users have: source drawn there, results read back from its canvas."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.bench.live.watch import Seen
from millstream.errors import MillstreamError
from millstream.server.protocol import CodecName

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE = 300_000  # milliseconds until the page is live: its model has to be loaded
STREAMING = ("live", "stalled")  # a machine under load can leave a page without its beat; fps tells
NAMES = ("chromium", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
SCRIPT = Path(__file__).with_name("page.js")
ONLY = """for (const kind of [globalThis.VideoEncoder, globalThis.VideoDecoder]) {
    if (!kind) continue;
    const ask = kind.isConfigSupported.bind(kind);
    const wanted = (config) => config.codec.startsWith({ h264: "avc1", vp8: "vp8" }["%s"] ?? "none");
    kind.isConfigSupported = async (config) => (wanted(config) ? ask(config) : { supported: false });
}"""


def lacking() -> str | None:
    """Why no browser can be driven, with the cure; None where one can."""
    if find_spec("playwright") is None:
        return "no playwright, which drives the browser; pip install playwright"
    if _executable() is None:
        return "no Chromium; install the system's chromium package, or Google Chrome"
    return None


@contextmanager
def chromium() -> Iterator["Browser"]:
    """The installed Chromium, headless. To be asked for only where nothing is lacking."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a dependency of development alone

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_executable(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class BrowserWatch:
    """A page that streams from the moment it is live."""

    def __init__(self, page: "Page", stamped: bool) -> None:
        """`stamped`: the pictures come back as they were, with their numbers."""
        self._page = page
        page.evaluate(SCRIPT.read_text(encoding="utf-8"))
        page.evaluate("reads => bench.begin(reads)", stamped)
        page.wait_for_function("() => bench.codecs.send && bench.codecs.receive")

    @property
    def codec(self) -> str:
        """What the pictures travel in."""
        codecs = self._page.evaluate("() => bench.codecs")
        return str(codecs["send"]) if codecs["send"] == codecs["receive"] else f"{codecs['send']}, {codecs['receive']}"

    @property
    def backend(self) -> str | None:
        """What computes the ticks, once it is built."""
        stats = self._page.evaluate("() => millstream.show.stats.value")
        return None if stats is None or stats.get("building", True) else stats["backend"]

    def see(self, seconds: float) -> Seen:
        """Look for so long."""
        self._page.evaluate("() => void bench.take()")
        self._page.wait_for_timeout(seconds * 1000)
        phase = self._page.evaluate("() => millstream.show.phase.value")
        if phase not in STREAMING:
            raise MillstreamError(f"the page is {phase}; look at the server's messages above")
        return Seen(**self._page.evaluate("() => bench.take()"))


@contextmanager
def page(browser: "Browser", url: str, codec: CodecName, stamped: bool) -> Iterator[BrowserWatch]:
    """The page of a server, in a window of its own that knows one codec alone beside JPEG."""
    context = browser.new_context(viewport={"width": 1360, "height": 800})
    try:
        context.set_default_timeout(PATIENCE)
        window = context.new_page()
        window.add_init_script(ONLY % codec)
        window.goto(url)
        window.wait_for_selector('.app[data-phase="live"]')
        yield BrowserWatch(window, stamped)
        window.evaluate("() => millstream.show.link.send({ type: 'bye' })")
    finally:
        context.close()


def _executable() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)
