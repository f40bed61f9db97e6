"""The page in a real browser, against a server that sends its pictures straight back."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.page_browser import advance, brightness, choose, keep, live, open_page, until
from tests.page_server import Echo

STAMP = (Path(__file__).parent / "page_stamp.js").read_text()
WITHOUT_WEBCODECS = "delete globalThis.VideoEncoder; delete globalThis.VideoDecoder;"


def said(echo: Echo, type: str) -> list[dict[str, Any]]:
    return [message for message in echo.heard if message["type"] == type]


def wait_said(page: Any, echo: Echo, type: str, count: int = 1) -> dict[str, Any]:
    for _ in range(300):
        if len(said(echo, type)) >= count:
            return said(echo, type)[count - 1]
        page.wait_for_timeout(100)
    raise AssertionError(f"the page never said {type}")


@pytest.mark.parametrize(("codec", "number"), [("h264", 1), ("vp8", 2), ("jpeg", 0)])
def test_pictures_come_back_in_order_with_their_capture_time(
    browser: Any, echo: Echo, address: str, codec: str, number: int
) -> None:
    echo.codecs = (codec,)
    page = open_page(browser, address)
    live(page)
    page.evaluate(STAMP)
    page.evaluate("() => stamped.begin()")
    until(page, "() => stamped.read.length >= 25")
    read = page.evaluate("() => stamped.read")[5:]
    numbers = [row["number"] for row in read]
    assert numbers == sorted(set(numbers)), numbers
    assert [row["capture"] for row in read] == [row["stamp"] for row in read]
    assert set(echo.received[-10:]) == {number}
    keep(page, f"stamped-{codec}")
    page.context.close()
    assert page.faults == []


@pytest.mark.parametrize("kind", ["camera", "screen", "drawing", "file", "demo"])
def test_every_source_runs(page: Any, kind: str) -> None:
    choose(page, kind)
    painted = page.evaluate("() => millstream.show.sender.painted")
    until(page, "n => millstream.show.sender.painted > n + 2", painted)
    advance(page, 5)
    assert brightness(page, "sender") > 10
    assert brightness(page) > 10
    keep(page, f"source-{kind}")


def test_without_webcodecs_jpeg_goes_both_ways(browser: Any, echo: Echo, address: str) -> None:
    page = open_page(browser, address, script=WITHOUT_WEBCODECS)
    live(page)
    advance(page)
    assert said(echo, "hello")[-1]["send"] == said(echo, "hello")[-1]["receive"] == ["jpeg"]
    assert set(echo.received) == {0}
    page.context.close()


def test_a_prompt_changes_at_once_and_is_undone(page: Any, echo: Echo) -> None:
    page.get_by_label("Prompt", exact=True).fill("stained glass")
    assert wait_said(page, echo, "set")["params"] == {"prompt": [{"text": "stained glass", "weight": 1}]}
    until(page, "() => millstream.show.shown.value.revision === 2")
    page.locator(".bar").get_by_role("button", name="Undo").click()
    assert wait_said(page, echo, "set", 2)["params"]["prompt"][0]["text"] == ""
    until(page, "() => millstream.show.shown.value.revision === 3")


def test_movements_within_a_frame_travel_together(page: Any, echo: Echo) -> None:
    page.evaluate("() => { for (let i = 0; i <= 50; i++) millstream.show.settings.set('strength', i / 100); }")
    wait_said(page, echo, "set")
    page.wait_for_timeout(300)
    assert [message["params"] for message in said(echo, "set")] == [{"strength": 0.5}]
    assert page.evaluate("() => millstream.show.settings.undoable.value") == 1


def test_every_field_of_the_schema_has_a_control(page: Any) -> None:
    missing = page.evaluate(
        """() => millstream.show.settings.fields.value
            .filter(({ widget, part, name }) => widget !== "prompts" && !document.getElementById(`${part}-${name}`))
            .map(({ name }) => name)"""
    )
    assert missing == []
    assert page.locator("#params-strength").get_attribute("max") == "1"
    assert page.locator("#config-guidance option").count() == 4


def test_a_refusal_stands_at_its_field_and_nothing_changes(page: Any) -> None:
    page.locator("#params-max_skip").fill("10001")
    page.locator("#params-max_skip").blur()
    page.locator(".field", has_text="max skip").get_by_role("alert").wait_for()
    assert page.evaluate("() => millstream.show.settings.value('max_skip')") == 10
    assert page.locator("#params-max_skip").input_value() == "10"
    keep(page, "refused")


def test_a_refusal_of_no_field_stands_on_the_picture(page: Any, echo: Echo) -> None:
    echo.refusals["t_index"] = "the engine has no time for it"
    page.locator("#params-t_index").fill("16 32")
    page.locator("#params-t_index").blur()
    page.locator(".words").get_by_role("alert").filter(has_text="no time for it").wait_for()
    assert page.evaluate("() => millstream.show.settings.value('t_index')") is None


def test_what_is_rebuilt_says_so_and_the_picture_stays(page: Any, echo: Echo) -> None:
    next(iter(echo.rooms.values())).build = 1.0
    page.evaluate(
        """() => {
            const { canvas } = millstream.show.presenter;
            window.darkest = 255;
            const look = () => {
                const [r, g, b] = canvas.getContext("2d").getImageData(canvas.width / 2, 8, 1, 1).data;
                window.darkest = Math.min(window.darkest, Math.max(r, g, b));
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    page.get_by_role("heading", name="Stream", exact=True).click()
    page.locator("#config-height").fill("192")
    page.locator("#config-height").blur()
    page.locator(".words .building").wait_for()
    keep(page, "building")
    until(page, "() => millstream.show.presenter.canvas.height === 192")
    page.locator(".words .building").wait_for(state="detached")
    assert page.evaluate("() => window.darkest") > 40


def test_travel_moves_the_weights_from_prompt_to_prompt(page: Any, echo: Echo) -> None:
    page.get_by_text("Travel", exact=True).first.click()
    for text in ("frost", "gold"):
        page.get_by_role("button", name="Add a stop").click()
        page.locator(".journey li").last.get_by_role("textbox").fill(text)
    page.get_by_label("Stop 2: seconds").fill("1")
    page.get_by_label("Stop 2: seconds").blur()
    page.get_by_role("button", name="Travel").click()
    keep(page, "travel")
    until(page, "() => millstream.show.settings.value('prompt')[0].text === 'gold'")
    blends = [message["params"]["prompt"] for message in said(echo, "set")]
    shares = [blend[1]["weight"] for blend in blends if len(blend) == 2]
    assert shares == sorted(shares)
    assert all(abs(sum(one["weight"] for one in blend) - 1) < 1e-6 for blend in blends)


def test_presets_are_saved_and_loaded(page: Any, echo: Echo) -> None:
    page.get_by_text("Presets").click()
    page.evaluate("() => millstream.show.settings.set('strength', 0.9)")
    until(page, "() => millstream.show.shown.value.revision === 2")
    page.get_by_label("Name of the preset").fill("loud")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="loud", exact=True).wait_for()
    page.evaluate("() => millstream.show.settings.set('strength', 0.1)")
    until(page, "() => millstream.show.shown.value.revision === 3")
    page.get_by_role("button", name="loud", exact=True).click()
    assert wait_said(page, echo, "set", 3)["params"] == {"strength": 0.9}
    page.get_by_role("button", name="Delete loud").click()
    page.get_by_role("button", name="loud", exact=True).wait_for(state="detached")


def test_snapshot_and_recording(page: Any, echo: Echo) -> None:
    page.keyboard.press("s")
    page.get_by_role("link", name="a.jpg").wait_for()
    page.keyboard.press("r")
    page.get_by_role("button", name="End recording").wait_for()
    keep(page, "recording")
    page.keyboard.press("r")
    page.get_by_role("button", name="Record", exact=True).wait_for()
    page.get_by_role("link", name="a.mp4").wait_for()
    assert [message["on"] for message in said(echo, "record")] == [True, False]


def test_what_is_older_than_the_bound_is_not_shown(page: Any, echo: Echo) -> None:
    """But the newest each half second, so that the picture is never dead; and all are acknowledged with their ages."""
    next(iter(echo.rooms.values())).delay = 0.1
    page.locator("#params-max_age").fill("20")
    page.locator("#params-max_age").blur()
    page.wait_for_selector('.app[data-phase="late"]')
    page.evaluate(
        """() => {
            window.moments = [];
            millstream.show.shown.subscribe(() => window.moments.push(performance.now()));
            window.moments.shift();
        }"""
    )
    until(page, "() => window.moments.length >= 4")
    moments = page.evaluate("() => window.moments")
    assert all(after - before >= 499 for before, after in pairwise(moments)), moments
    assert page.evaluate("() => millstream.show.presenter.tooOld") > 2
    acks = [message for message in said(echo, "ack") if message["age_ms"] > 100]
    assert len(acks) > 2 * len(moments), "those that are not shown are acknowledged too"
    page.get_by_text("older than max age allows").first.wait_for()
    keep(page, "late")
    page.reload()
    page.wait_for_selector('.app[data-phase="late"]')  # and not "warming" for ever
    page.locator("#params-max_age").fill("")
    page.locator("#params-max_age").blur()
    live(page)


def test_views_keys_and_help(page: Any) -> None:
    for view in ("result", "split", "side"):
        page.keyboard.press("v")
        page.wait_for_selector(f'.stage[data-view="{view}"]')
        keep(page, f"view-{view}")
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    keep(page, "help")
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    page.locator(".panel").wait_for(state="hidden")
    keep(page, "picture-alone")


HOLDING = """async () => {
    const { Sender } = await import("/js/sender.js");
    const sleep = setTimeout, timers = [];  // a clock of our own: only the encoder takes real time
    let clock = 0, fresh, painted = 0;
    performance.now = () => clock;
    window.setTimeout = (then, ms) => timers.push([clock + ms, then]);
    window.clearTimeout = (number) => { if (number) timers[number - 1] = [Infinity, () => {}]; };
    const pass = (ms) => {
        clock += ms;
        timers.forEach(([at, then], i) => { if (at <= clock) { timers[i] = [Infinity, () => {}]; then(); } });
    };
    const sent = [], counts = [];
    const until = async (count) => { while (sent.length < count) await new Promise((then) => sleep(then, 5)); };
    const sender = new Sender({ ready: true, sendPicture: (picture) => sent.push(picture.time) }, () => {});
    const source = { start: async (take) => { fresh = take; }, stop() {}, size: () => null, paint: () => ++painted };
    sender.begin("jpeg", [32, 32]);
    await sender.run(source);
    sender.grant(0);
    await until(1);
    for (let k = 1; k < 4; k++) {  // a picture each 100 ms, a credit each 300
        for (let i = 0; i < 3; i++) { pass(100); fresh(); await until(k); }
        pass(10);
        sender.grant(k);
        counts.push(sender.painted);
        pass(-10);
    }
    pass(100);
    fresh();
    await until(4);
    pass(20);
    fresh();  // a stroke between two beats
    sender.grant(4);
    pass(200);
    await until(5);
    return { counts, sent, painted };
}"""


def test_a_picture_waits_for_the_next_one_that_is_due_and_goes_where_none_comes(page: Any) -> None:
    found = page.evaluate(HOLDING)
    first, *held, last = found["sent"]
    assert first == 1  # nothing is known of the source yet: at once
    assert held == [count + 1 for count in found["counts"]]  # the one that was due, not the one at hand
    assert last == found["painted"]  # no other came: the one at hand goes after all
