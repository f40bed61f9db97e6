"""What the page says of its state: each one is made by the server, seen, and kept as a picture."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.page_browser import advance, keep, live, open_page, until
from tests.page_server import Echo, Room

SILENT = 4.0  # seconds without a message after which a connection is gone


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    opened = open_page(browser, address)
    live(opened)
    yield opened
    opened.context.close()


def phase(page: Any, name: str) -> None:
    page.wait_for_selector(f'.app[data-phase="{name}"]')


def before(echo: Echo, state: str) -> None:
    """Make the server so that a page that opens comes into this state."""
    echo.pause = state == "connecting"
    echo.blank = state == "warming"
    echo.locked = state == "refused"


@pytest.mark.parametrize(
    ("state", "words"),
    [("connecting", "Connecting"), ("warming", "Warming up"), ("refused", "open the address with the token")],
)
def test_a_page_that_opens_says_what_it_waits_for(
    browser: Any, echo: Echo, address: str, state: str, words: str
) -> None:
    before(echo, state)
    page = open_page(browser, address)
    phase(page, state)
    page.locator(".first").filter(has_text=words).wait_for()
    keep(page, f"state-{state}")
    before(echo, "live")
    if state != "refused":  # which a user mends
        live(page)
    page.context.close()


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [("failed", 1011, "The engine does not start"), ("idle", 4001, "The session ended")],
)
def test_a_session_that_ends_says_so_under_its_last_picture_and_starts_again(
    page: Any, echo: Echo, state: str, code: int, words: str
) -> None:
    echo.end(code)
    phase(page, state)
    page.locator(".words").get_by_text(words).wait_for()
    keep(page, f"state-{state}")
    page.get_by_role("button", name="Start again").click()
    live(page)


def test_a_connection_that_says_nothing_is_made_anew(page: Any, echo: Echo) -> None:
    advance(page)
    echo.pause = True
    phase(page, "reconnecting")
    keep(page, "state-silent")
    echo.pause = False
    live(page)
    advance(page)


def test_a_page_that_slept_keeps_its_connection(page: Any) -> None:
    first = page.evaluate("() => millstream.show.shown.value.sequence")
    page.evaluate("(ms) => { const end = Date.now() + ms; while (Date.now() < end); }", 1000 * (SILENT + 1))
    advance(page)
    assert page.evaluate("() => millstream.show.shown.value.sequence") > first, "numbers begin anew with a connection"


STILL = """async () => {
    const paint = () => performance.timeOrigin + performance.now();
    const start = async (fresh) => { still.fresh = fresh; };
    window.still = { kind: "file", start, stop() {}, size: () => [64, 64], paint };
    await millstream.show.run(still);
}"""


def test_a_source_has_stalled_where_it_gives_no_pictures_not_where_the_engine_is_slow(page: Any, room: Room) -> None:
    room.stalled = True  # as the engine has it while the page waits for credit
    until(page, "() => millstream.show.stats.value?.stalled")
    advance(page)
    assert page.evaluate("() => millstream.show.phase.value") == "live"
    page.evaluate(STILL)
    phase(page, "stalled")
    page.locator(".words").get_by_text("The source has stalled").wait_for()
    keep(page, "state-stalled")
    page.evaluate("() => still.fresh()")
    live(page)


def test_a_prompt_shows_on_a_stalled_source_though_its_picture_is_older_than_the_bound(
    browser: Any, echo: Echo, address: str
) -> None:
    echo.codecs = ("jpeg",)  # each picture for itself
    page = open_page(browser, address)
    live(page)
    page.evaluate("() => millstream.show.settings.set('max_age', 300)")
    until(page, "() => millstream.show.shown.value.revision === 2")
    page.evaluate(STILL)
    phase(page, "stalled")
    next(iter(echo.rooms.values())).stalled = True
    for revision, word in enumerate(["frost", "gold", "night"], 3):  # faster than one each half second
        page.evaluate("(text) => millstream.show.settings.set('prompt', [{ text, weight: 1 }])", word)
        until(page, "(revision) => millstream.show.shown.value.revision === revision", revision)
    assert page.evaluate("() => millstream.show.phase.value") == "stalled"
    assert page.evaluate("() => millstream.show.presenter.tooOld") == 0
    page.context.close()


def test_a_viewer_is_told_by_the_server_that_the_source_has_stalled(browser: Any, page: Any, room: Room) -> None:
    session = page.evaluate("() => millstream.show.session.value")
    viewer = open_page(browser, page.url + f"view?session={session}")
    viewer.wait_for_selector("body.started")
    room.stalled = True
    viewer.get_by_text("The source has stalled").wait_for()
    room.stalled = False
    viewer.wait_for_selector('body[data-phase="live"]')
    viewer.context.close()


SCREEN = """async () => {
    const { VideoSource } = await import("/js/sources/video.js");
    const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
    canvas.getContext("2d").fillRect(0, 0, 64, 64);
    window.screen_ = new VideoSource("screen", async (video) => { video.srcObject = canvas.captureStream(30); });
    setTimeout(() => canvas.getContext("2d").fillRect(0, 0, 9, 9), 100);  // its one picture
    await millstream.show.run(screen_);
}"""


def test_a_screen_on_which_nothing_moves_is_sent_all_the_same(page: Any) -> None:
    page.evaluate(SCREEN)
    page.wait_for_timeout(1000)
    painted = page.evaluate("() => millstream.show.sender.painted")
    page.wait_for_timeout(2500)
    assert page.evaluate("() => millstream.show.sender.painted") > painted + 20
    assert page.evaluate("() => millstream.show.phase.value") == "live"


def test_a_full_session_says_so_to_who_wants_to_watch(browser: Any, echo: Echo, page: Any) -> None:
    session = page.evaluate("() => millstream.show.session.value")
    echo.full = True
    viewer = open_page(browser, page.url + f"view?session={session}")
    viewer.get_by_text("Too many are watching").wait_for()
    keep(viewer, "state-full-viewer")
    echo.full = False
    viewer.wait_for_selector("body.started")
    viewer.context.close()


def test_a_remark_goes_with_the_prompt_that_it_was_on(page: Any, echo: Echo) -> None:
    echo.remarks["sta"] = "'sta' is no word of this model"
    notice = page.locator(".words .notice")
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("sta")
    notice.wait_for()
    until(page, "() => millstream.show.shown.value.revision === 2")
    page.evaluate("() => millstream.show.settings.set('strength', 0.6)")
    until(page, "() => millstream.show.shown.value.revision === 3")
    assert notice.is_visible(), "the prompt is still that one"
    page.get_by_role("button", name="Full screen").click()
    until(page, "() => millstream.look.full.value === 'screen'")
    assert not notice.is_visible(), "the public need not read it"
    page.keyboard.press("f")
    until(page, "() => millstream.look.full.value === 'no'")
    prompt.fill("stained glass")
    notice.wait_for(state="detached")


def test_a_notice_goes_by_itself(page: Any, echo: Echo) -> None:
    page.clock.install()
    echo.tell("event", name="away", message="the controller has left")
    page.locator(".words .notice").wait_for()
    page.clock.fast_forward(11_000)
    page.locator(".words .notice").wait_for(state="detached")


def test_where_elements_cannot_fill_the_screen_the_pictures_fill_the_window(browser: Any, address: str) -> None:
    phone = "Object.defineProperty(Document.prototype, 'fullscreenEnabled', { get: () => false });"
    page = open_page(browser, address, script=phone, viewport={"width": 390, "height": 844})
    live(page)
    page.get_by_role("button", name="Full screen").click()
    leave = page.get_by_role("button", name="Leave full screen")
    leave.wait_for()
    assert page.locator(".stage").bounding_box() == {"x": 0, "y": 0, "width": 390, "height": 844}
    keep(page, "full-window")
    leave.click()
    leave.wait_for(state="detached")
    page.context.close()


def test_controls_without_effect_say_why_and_stay_in_reach(page: Any) -> None:
    scale = page.locator(".field", has=page.locator("#params-guidance_scale"))
    threshold = page.locator(".field", has=page.locator("#params-similarity_threshold"))
    assert scale.get_attribute("data-idle") == threshold.get_attribute("data-idle") == "true"
    scale.get_by_text("no effect while guidance is none").wait_for()
    page.locator("#params-guidance_scale").focus()
    assert page.evaluate("() => document.activeElement.id") == "params-guidance_scale"
    page.evaluate("() => millstream.show.settings.change({ config: { guidance: 'full' } })")
    page.evaluate("() => millstream.show.settings.set('similarity_filter', true)")
    until(page, "() => millstream.show.settings.value('guidance') === 'full'")
    assert scale.get_attribute("data-idle") == "false"
    page.locator('.field[data-idle="true"] #params-similarity_threshold').wait_for(state="detached")
    page.locator('.field[data-idle="true"] #params-delta').wait_for()
