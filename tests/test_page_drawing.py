"""Drawing on the page, by pointer and by keyboard: what becomes of the pixels, and what is undone."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.page_browser import advance, brightness, keep, live, open_page, until

PAPER, INK = (244, 241, 234), (209, 73, 91)
BRUSH = 0.03  # of the drawing's side, at first


@pytest.fixture
def page(page: Any) -> Any:
    """The page with its drawing for a source."""
    choose(page)
    return page


def choose(page: Any) -> None:
    page.keyboard.press("3")
    until(page, "() => millstream.sources.kind.value === 'drawing'")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def reach(page: Any) -> None:
    """Go on from control to control until the drawing has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement === millstream.show.sender.canvas"):
            return
    raise AssertionError("the keyboard never comes to the drawing")


def pixels(page: Any, name: str = "sender") -> np.ndarray:
    """Those of a canvas once all that was drawn has gone through."""
    advance(page)
    height, width, data = page.evaluate(
        """name => {
            const { canvas } = millstream.show[name];
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.height, canvas.width, [...data]];
        }""",
        name,
    )
    return np.array(data).reshape(height, width, 4)[..., :3]


def same(pixels: np.ndarray, others: Any) -> bool:
    """But for the rounding of a drawing that is made smaller."""
    return bool(np.abs(pixels - others).max() <= 1)


def said(page: Any) -> str:
    return page.locator(".stage").get_by_role("status").inner_text()


def strokes(page: Any) -> list[int]:
    return page.evaluate("() => millstream.sources.drawing.strokes.map(({ points }) => points.length)")


def test_a_drawing_is_sent_and_undone(page: Any) -> None:
    canvas = page.locator(".source canvas")
    empty = brightness(page, "sender")
    box = canvas.bounding_box()
    page.keyboard.press("]")
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 200, steps=6)
    page.mouse.up()
    advance(page)
    assert brightness(page, "sender") < empty - 1
    keep(page, "drawing-stroke")
    page.keyboard.press("Control+z")
    advance(page)
    assert abs(brightness(page, "sender") - empty) < 0.5


def test_a_stroke_ends_whatever_happens_to_the_canvas(page: Any) -> None:
    box = page.locator(".source canvas").bounding_box()
    page.evaluate("() => addEventListener('pointerdown', (event) => { window.pointer = event.pointerId; })")
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 90, steps=2)
    page.keyboard.press("v")
    page.locator(".source canvas").wait_for(state="hidden")
    page.evaluate("() => millstream.show.sender.canvas.releasePointerCapture(pointer)")  # as some browsers do
    page.mouse.up()
    page.evaluate("() => { millstream.look.view.value = 'side'; }")
    page.locator(".source canvas").wait_for()
    before = strokes(page)
    page.mouse.move(box["x"] + 150, box["y"] + 150, steps=3)
    assert strokes(page) == before, "the pen is up"
    page.mouse.down()
    page.mouse.up()
    assert len(strokes(page)) == len(before) + 1, "and draws again"


def test_undo_in_a_stroke_leaves_the_one_before_as_it_was_and_clear_is_undone(page: Any) -> None:
    empty = brightness(page, "sender")
    box = page.locator(".source canvas").bounding_box()
    for k in range(2):
        page.mouse.move(box["x"] + 60, box["y"] + 60 + 80 * k)
        page.mouse.down()
        page.mouse.move(box["x"] + 200, box["y"] + 60 + 80 * k, steps=4)
        if k == 0:
            page.mouse.up()
    first = strokes(page)[0]
    page.keyboard.press("Control+z")
    page.mouse.move(box["x"] + 300, box["y"] + 300, steps=4)
    page.mouse.up()
    assert strokes(page) == [first]
    advance(page)
    drawn = brightness(page, "sender")
    page.get_by_role("button", name="Clear").click()
    advance(page)
    assert abs(brightness(page, "sender") - empty) < 0.5
    page.get_by_role("button", name="Undo stroke").click()
    advance(page)
    assert abs(brightness(page, "sender") - drawn) < 0.5 < empty - drawn


def distance(shape: tuple[int, ...], *corners: tuple[float, float]) -> np.ndarray:
    """Of the middle of every pixel from a path of upright and level lines, in pixels."""
    height, width = shape[:2]
    y, x = np.mgrid[:height, :width] + 0.5
    scaled = np.multiply(corners, width)
    return np.min([from_line(x, y, a, b) for a, b in pairwise(scaled)], axis=0)


def from_line(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low, high = np.minimum(a, b), np.maximum(a, b)
    return np.hypot(x - x.clip(low[0], high[0]), y - y.clip(low[1], high[1]))


def test_a_stroke_by_keyboard_is_where_the_keys_went_and_one_step_of_undo(page: Any) -> None:
    blank = pixels(page)
    reach(page)
    press(page, "Shift+ArrowLeft", "Space", *["ArrowRight"] * 5, "Shift+ArrowDown", "Space", "Shift+ArrowDown")
    drawn, result = pixels(page), pixels(page, "presenter")
    away = distance(drawn.shape, (0.4, 0.5), (0.5, 0.5), (0.5, 0.6))
    radius = BRUSH * drawn.shape[0] / 2
    assert same(drawn[away < radius - 1], INK)
    assert same(drawn[away > radius + 1], PAPER)
    assert np.abs(result[away < radius - 2] - INK).mean() < 30, "it has been there and back"
    assert strokes(page) == [7]
    page.keyboard.press("Control+z")
    assert same(pixels(page), blank)


@pytest.mark.parametrize("by", ["pointer", "keys"])
def test_a_brush_put_down_and_lifted_leaves_a_dot(page: Any, by: str) -> None:
    if by == "pointer":
        page.locator(".source canvas").click()  # in its middle, where the keys begin
    else:
        reach(page)
        press(page, "Space", "Space")
    drawn = pixels(page)
    away = distance(drawn.shape, (0.5, 0.5), (0.5, 0.5))
    radius = BRUSH * drawn.shape[0] / 2
    assert same(drawn[away < radius - 1], INK)
    assert same(drawn[away > radius + 1], PAPER)


def test_the_eraser_takes_away_by_keyboard_what_the_brush_has_drawn(page: Any) -> None:
    blank = pixels(page)
    reach(page)
    press(page, "Enter", "Shift+ArrowRight", "Enter")
    assert not same(pixels(page), blank)
    press(page, "e", "]", "Enter", "Shift+ArrowLeft", "Escape")
    assert same(pixels(page), blank)
    assert strokes(page) == [2, 2]


def test_the_brush_is_seen_and_said_and_needs_no_single_keys(page: Any) -> None:
    canvas, ring = page.get_by_role("application", name="Source: drawing"), page.locator(".cursor i")
    page.evaluate("() => { millstream.look.keys.value = false; }")
    assert not ring.is_visible()
    reach(page)
    ring.wait_for()
    press(page, "ArrowUp", "Space")
    assert said(page) == "Brush down: 50 % from the left, 48 % from the top"
    advance(page)
    keep(page, "drawing-keys")
    box, on = ring.bounding_box(), canvas.bounding_box()
    assert box["width"] == pytest.approx(BRUSH * on["width"], abs=0.5)
    assert middle(box) == pytest.approx([middle(on)[0], middle(on)[1] - 0.02 * on["height"]], abs=0.5)
    page.keyboard.press("Tab")
    assert not ring.is_visible()
    page.keyboard.press("Shift+Tab")
    assert said(page) == "Brush up: 50 % from the left, 48 % from the top", "it does not stay down while it is away"


def middle(box: dict[str, float]) -> list[float]:
    return [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]


def test_a_pointer_takes_the_brush_from_the_keys_and_leaves_it_where_it_ends(page: Any) -> None:
    reach(page)
    press(page, "Space", "ArrowRight")
    box = page.locator(".source canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.down()
    assert not page.locator(".cursor i").is_visible()
    press(page, "Space", "ArrowRight", "Escape")
    assert strokes(page) == [2, 1], "the keys wait for the pointer"
    page.mouse.up()
    press(page, "ArrowRight")
    assert strokes(page) == [2, 1], "and begin where it ended, with the brush up"
    assert said(page) == "Brush up: 27 % from the left, 25 % from the top"


@pytest.fixture
def wide(browser: Any, echo: Any, address: str) -> Iterator[Any]:
    """A page whose picture shows the middle of the drawing."""
    echo.size = [256, 128]
    opened = open_page(browser, address)
    live(opened)
    choose(opened)
    yield opened
    opened.context.close()


@pytest.mark.parametrize("view", ["side", "split"])
def test_the_brush_does_not_leave_the_picture(wide: Any, view: str) -> None:
    wide.evaluate("view => { millstream.look.view.value = view; }", view)
    reach(wide)
    press(wide, *["Shift+ArrowUp"] * 4, *["Shift+ArrowRight"] * 6)
    assert said(wide) == "Brush up: 100 % from the left, 0 % from the top"
    on = wide.locator(".source canvas").bounding_box()
    corner = [on["x"] + on["width"], on["y"]]
    assert middle(wide.locator(".cursor i").bounding_box()) == pytest.approx(corner, abs=0.5)
