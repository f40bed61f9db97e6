"""The page, the real server and the embedded model: what is drawn in the browser comes back through ticks."""

from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from millstream.params import ModelConfig, Params, Settings, StreamConfig
from tests.headed import headed
from tests.page_browser import BRIGHTNESS, advance, choose, keep, live, open_page, until
from tests.serving import Running, serve
from tests.virtual import needs_screen

STAMP = (Path(__file__).parent / "page_stamp.js").read_text()
STAGES = 2
SIDE = 192  # as wide as the stamp
AS_IT_IS = "a photo"  # the prompt that gives a picture back, though through the whole of the model
LIGHT, DARK = 180, 90  # the paper of a drawing and its negative are well beyond these
HIDDEN = 8.0  # seconds
# The brightness of each picture of this source, by its time, and that of its result.
PAIRED = """() => {
    const { sender, shown, presenter } = millstream.show, { source } = sender, { paint } = source;
    const sent = new Map();
    window.pairs = [];
    source.paint = function (context) {
        const time = paint.call(this, context);
        sent.set(time, brightness(context.canvas));
        return time;
    };
    shown.subscribe((result) => {
        if (sent.has(result?.time)) pairs.push([sent.get(result.time), brightness(presenter.canvas)]);
    });
}"""
COUNT = "window.counts = { shown: 0 }; millstream.show.shown.subscribe(() => window.counts.shown++)"
COUNTS = "[performance.now(), window.counts.shown, millstream.show.sender.painted]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    form = StreamConfig(width=SIDE, height=SIDE, steps=STAGES, backend="eager")
    wanted = Settings(model=ModelConfig(device="cpu"), config=form, params=Params(prompt=AS_IT_IS))
    with serve(tmp_path_factory.mktemp("data"), with_settings=wanted) as running:
        yield running


@pytest.fixture
def page(browser: Any, server: Running) -> Iterator[Any]:
    opened = open_page(browser, server.url)
    live(opened)
    yield opened
    opened.evaluate("() => millstream.show.link.send({ type: 'bye' })")
    opened.context.close()
    assert opened.faults == []


def test_a_number_in_the_pixels_goes_through_the_model_and_is_read_back(page: Any) -> None:
    page.evaluate(STAMP)
    page.evaluate("() => stamped.begin()")
    until(page, "() => stamped.read.filter(({ capture }) => capture >= stamped.sent[0]).length >= 20")
    sent, read = page.evaluate("() => [stamped.sent, stamped.read]")
    read = [row for row in read if row["capture"] >= sent[0]]  # what came before was of the source before
    numbers = [row["number"] for row in read]
    assert [sent[number] for number in numbers] == [row["capture"] for row in read]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) >= 10
    keep(page, "stamped-model")


def test_a_prompt_shows_in_the_pixels_within_the_frames_in_flight(page: Any) -> None:
    """No later than two after those that were in flight when the server took it."""
    page.get_by_role("button", name="drawing").click()
    until(page, "() => millstream.sources.kind.value === 'drawing'")
    advance(page, STAGES + 3)
    page.evaluate(
        """() => {
            const { show } = millstream, { canvas } = show.presenter;
            const context = canvas.getContext("2d");
            const middle = () => context.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[1];
            window.log = [];
            show.shown.subscribe((shown) => window.log.push([shown.revision, middle()]));
            const { accept } = show.settings;
            show.settings.accept = function (answer) { window.at ??= window.log.length; accept.call(this, answer); };
            show.settings.set("prompt", [{ text: "negative", weight: 1 }]);
        }"""
    )
    before = page.evaluate("() => window.log[0][0]")
    until(page, f"() => window.log.filter(([, light]) => light < {DARK}).length >= 3")
    log, at = page.evaluate("() => [window.log, window.at]")
    first = next(i for i, (_, light) in enumerate(log) if light < DARK)
    assert first - at <= STAGES + 2, (log, at)
    assert all(light > LIGHT if revision == before else light < DARK for revision, light in log), log
    keep(page, "prompt-in-the-pixels")


@pytest.mark.parametrize("kind", ["camera", "screen", "drawing", "file", "demo"])
def test_every_source_goes_through_the_model(page: Any, kind: str) -> None:
    choose(page, kind)
    page.evaluate(f"() => {{ window.brightness = {BRIGHTNESS} }}")
    page.evaluate(PAIRED)
    until(page, "() => pairs.length >= 5")
    for sent, shown in page.evaluate("() => pairs"):
        assert sent > 10
        assert abs(shown - sent) < 30
    keep(page, f"model-{kind}")


@needs_screen
def test_a_tab_in_the_background_goes_on(server: Running) -> None:
    with headed() as browser:
        tab = browser.open(server.url)
        browser.until(tab, "millstream.show.phase.value === 'live'")
        browser.evaluate(tab, "millstream.sources.choose('drawing')")
        browser.evaluate(tab, COUNT)
        browser.open("about:blank")
        browser.until(tab, "document.visibilityState === 'hidden'")
        hidden = rates(browser, tab, HIDDEN)
        assert browser.evaluate(tab, "document.visibilityState") == "hidden"
        browser.evaluate(tab, "millstream.show.link.send({ type: 'bye' })")
    assert min(hidden) > 2, hidden  # the timers of a hidden page alone would give one


def rates(browser: Any, tab: str, seconds: float) -> tuple[float, float]:
    """Results shown and pictures sent a second."""
    then = browser.evaluate(tab, COUNTS)
    sleep(seconds)
    time, *counts = [new - old for new, old in zip(browser.evaluate(tab, COUNTS), then, strict=True)]
    return counts[0] * 1000 / time, counts[1] * 1000 / time
