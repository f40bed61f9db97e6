"""The page through reloads, restarts, refusals and in the background; what is true of the page's files."""

import hashlib
import json
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.page_browser import advance, brightness, keep, live, open_page, until
from tests.page_server import PAGE, Echo, serving

TOOLS = Path(__file__).parents[1] / "tools" / "page"
HIDE = """
Object.defineProperty(document, 'hidden', { get: () => window.isHidden ?? false });
window.hide = (hidden) => { window.isHidden = hidden; document.dispatchEvent(new Event('visibilitychange')); };
"""


@pytest.fixture(scope="module")
def tools() -> Path:
    """The folder with the development tools of the page, installed."""
    if shutil.which("npm") is None:
        pytest.skip("no npm: install Node.js to check the page's types and accessibility")
    if not (TOOLS / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=TOOLS, check=True)
    return TOOLS


def test_a_reload_comes_back_to_its_session(browser: Any) -> None:
    echo = Echo()
    with serving(echo) as port:
        page = open_page(browser, f"http://127.0.0.1:{port}/")
        live(page)
        session = page.evaluate("() => millstream.show.session.value")
        page.reload()
        live(page)
        assert page.evaluate("() => millstream.show.session.value") == session
        assert list(echo.rooms) == [session]
        page.context.close()


def test_a_restart_of_the_server_keeps_picture_and_settings(browser: Any) -> None:
    first, second = Echo(), Echo()
    with ExitStack() as stack:
        port = stack.enter_context(serving(first))
        page = open_page(browser, f"http://127.0.0.1:{port}/")
        live(page)
        page.evaluate("() => millstream.show.settings.set('prompt', [{ text: 'frost', weight: 1 }])")
        until(page, "() => millstream.show.shown.value.revision === 2")
        stack.close()
        page.wait_for_selector('.app[data-phase="reconnecting"]')
        assert brightness(page) > 10
        keep(page, "reconnecting")
        with serving(second, port):
            live(page)
            until(page, "() => millstream.show.shown.value.revision === 2")
            assert [message["params"]["prompt"][0]["text"] for message in second.heard if message["type"] == "set"] == [
                "frost"
            ]
            advance(page)
        page.context.close()


def test_a_full_server_is_said_and_tried_again(browser: Any) -> None:
    echo = Echo()
    echo.full = True
    with serving(echo) as port:
        page = open_page(browser, f"http://127.0.0.1:{port}/")
        page.wait_for_selector('.app[data-phase="full"]')
        keep(page, "full")
        echo.full = False
        live(page)
        page.context.close()


def test_a_viewer_sees_the_session_and_its_end(browser: Any) -> None:
    echo = Echo()
    with serving(echo) as port:
        page = open_page(browser, f"http://127.0.0.1:{port}/")
        live(page)
        session = page.evaluate("() => millstream.show.session.value")
        viewer = open_page(browser, f"http://127.0.0.1:{port}/view?session={session}")
        viewer.wait_for_selector("body.started")
        keep(viewer, "viewer")
        assert viewer.locator("button").count() == 0
        echo.rooms.clear()
        viewer.context.close()
        late = open_page(browser, f"http://127.0.0.1:{port}/view?session={session}")
        late.get_by_text("This session has ended").wait_for()
        late.context.close()
        page.context.close()


def test_in_the_background_the_source_goes_on(browser: Any) -> None:
    """Headless Chromium has no hidden tabs: the page is told that it is hidden, and its refreshes are held back."""
    echo = Echo()
    with serving(echo) as port:
        page = open_page(browser, f"http://127.0.0.1:{port}/", script=HIDE)
        live(page)
        page.keyboard.press("3")
        until(page, "() => millstream.sources.kind.value === 'drawing'")
        page.evaluate("() => { window.requestAnimationFrame = () => 0; hide(true); }")
        advance(page, 10)
        page.keyboard.press("5")
        until(page, "() => millstream.sources.kind.value === 'demo'")
        advance(page, 10)
        assert page.faults == []
        page.context.close()


def violations(page: Any, tools: Path) -> list[tuple[str, list[str]]]:
    """What the rules of accessibility find fault with, and where."""
    page.evaluate((tools / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found = page.evaluate("() => axe.run({ resultTypes: ['violations'] })")["violations"]
    return [(fault["id"], [node["html"][:120] for node in fault["nodes"]]) for fault in found]


STATES = {
    "help": "() => millstream.look.toggleHelp()",
    "error": "() => { for (const [k, v] of [['max_skip', 10001], ['t_index', [16, 32]]]) {"
    " setTimeout(() => millstream.show.settings.set(k, v), k === 'max_skip' ? 0 : 200); } }",
    "recording": "() => millstream.show.record()",
    "notice": "() => millstream.show.notice.say('no word of this model')",
    "window": "() => { millstream.look.full.value = 'window'; }",
}
REACHED = {
    "help": "dialog[open]",
    "error": ".field .fault >> visible=true",
    "recording": "button.record[aria-pressed='true']",
    "notice": ".notice",
    "window": ".leave",
}


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("state", STATES)
def test_what_appears_later_stands_in_nobodys_way(browser: Any, tools: Path, state: str, theme: str) -> None:
    echo = Echo()
    echo.refusals["t_index"] = "the engine has no time for it"
    with serving(echo) as port:
        page = open_page(browser, f"http://127.0.0.1:{port}/", bypass_csp=True)
        page.evaluate("theme => { millstream.look.theme.value = theme; }", theme)
        live(page)
        page.evaluate(STATES[state])
        page.wait_for_selector(REACHED[state])
        if state == "error":
            page.locator(".words").get_by_role("alert").wait_for()
        found = violations(page, tools)
        keep(page, f"{state}-{theme}")
        page.context.close()
    assert found == []


@pytest.mark.parametrize("look", ["dark", "light", "phone"])
def test_nothing_stands_in_the_way_of_assistive_technology(browser: Any, tools: Path, look: str) -> None:
    size = {"width": 390, "height": 844} if look == "phone" else {"width": 1360, "height": 900}
    with serving(Echo()) as port:
        page = open_page(browser, f"http://127.0.0.1:{port}/", viewport=size, bypass_csp=True)
        page.evaluate("look => { millstream.look.theme.value = look === 'light' ? 'light' : 'dark'; }", look)
        live(page)
        page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        page.keyboard.press("3")
        until(page, "() => millstream.sources.kind.value === 'drawing'")
        page.locator(".source canvas").focus()
        page.keyboard.press("Space")
        page.locator(".cursor i").wait_for()
        found = violations(page, tools)
        keep(page, f"look-{look}")
        page.context.close()
    assert found == []


def test_a_phone_has_no_sideways_scroll(browser: Any) -> None:
    with serving(Echo()) as port:
        page = open_page(browser, f"http://127.0.0.1:{port}/", viewport={"width": 360, "height": 740})
        live(page)
        page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
        page.context.close()


def test_the_vendored_modules_are_those_that_were_checked() -> None:
    entries = json.loads((PAGE / "vendor" / "vendor.json").read_text())
    assert {entry["file"] for entry in entries} == {file.name for file in (PAGE / "vendor").glob("*.js")}
    for entry in entries:
        assert hashlib.sha256((PAGE / "vendor" / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        assert (PAGE / "vendor" / entry["licence_file"]).is_file()


def test_the_vendored_modules_are_those_of_the_registry(tools: Path) -> None:
    for entry in json.loads((PAGE / "vendor" / "vendor.json").read_text()):
        folder = tools / "node_modules" / entry["package"]
        assert json.loads((folder / "package.json").read_text())["version"] == entry["version"]
        assert (folder / entry["source"]).read_bytes() == (PAGE / "vendor" / entry["file"]).read_bytes()


def test_pages_hold_nothing_inline_but_the_same_import_map() -> None:
    maps = []
    for file in ("index.html", "view.html"):
        text = (PAGE / file).read_text()
        scripts = re.findall(r"<script([^>]*)>(.*?)</script>", text, re.DOTALL)
        maps += [body for tag, body in scripts if body.strip()]
        assert "<style" not in text
        assert not re.search(r"\s(on\w+|style)=", text)
    assert len(maps) == 2 and maps[0] == maps[1]
    for target in json.loads(maps[0])["imports"].values():
        assert (PAGE / target).is_file()


def test_types(tools: Path) -> None:
    checked = subprocess.run(
        ["npm", "run", "--silent", "check"], cwd=tools, check=False, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout


def test_files_stay_short() -> None:
    files = [*PAGE.glob("*.html"), *PAGE.glob("css/*.css"), *PAGE.glob("js/**/*.js")]
    assert len(files) > 30
    assert {file.name: n for file in files if (n := len(file.read_text().splitlines())) > 300} == {}
