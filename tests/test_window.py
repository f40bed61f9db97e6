"""The window, on a virtual screen that is read back, with keys pressed from outside."""

from threading import Event

import numpy as np
import pytest

from millstream.errors import OutputError
from millstream.frame import Frame
from millstream.media.live import open_display, open_live_sink
from millstream.media.sources import SourceInfo
from millstream.media.status import Status
from tests import virtual

pytest.importorskip("pygame", reason="needs pygame-ce: pip install 'millstream[live]'")

from millstream.media.window import Window, opening, within

COLOURS = ((250, 10, 20), (30, 240, 10), (20, 30, 230), (240, 230, 20))
LINES = Status(lines=("12.3 pictures a second", "age 50 ms"))


def picture(seed, width=320, height=240):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def quarters(width=320, height=240):
    """A flat colour in each quarter."""
    pixels = np.empty((height, width, 3), np.uint8)
    for i, colour in enumerate(COLOURS):
        top, left = i // 2 * height // 2, i % 2 * width // 2
        pixels[top : top + height // 2, left : left + width // 2] = colour
    return pixels


def shows(pixels, left=160, top=120):
    rows, columns = pixels.shape[:2]
    return lambda: np.array_equal(virtual.seen()[top : top + rows, left : left + columns], pixels)


def fills():
    """Whether the quarters are as large as the screen. No window manager is here that would move them to its corner."""
    return shows(np.full((240, 320, 3), COLOURS[0]))()


def run(acts, status=lambda speed: LINES, keys=None):
    """Run a window over the pictures of `acts`, a generator that also looks at the screen; tell whether it was left."""
    stop = Event()
    with Window() as window:
        window.run(acts(stop), status, stop, keys or {})
    assert stop.is_set()


@virtual.needs_screen
def test_a_picture_is_shown_to_the_last_bit_and_the_newest_wins():
    passed = []

    def acts(stop):
        yield Frame(0, picture(0))
        virtual.wait_until(shows(picture(0)))
        for i in range(1, 200):
            yield Frame(i, picture(i))
        virtual.wait_until(shows(picture(199)))
        passed.append(True)

    with virtual.screen():
        run(acts)
    assert passed


@virtual.needs_screen
@virtual.needs_keys
def test_the_keys():
    passed = []

    def acts(stop):
        yield Frame(0, quarters())
        virtual.wait_until(shows(quarters()))
        virtual.press("f")
        virtual.wait_until(fills)
        virtual.press("Escape")
        virtual.wait_until(shows(quarters()))
        virtual.press("i")
        virtual.wait_until(lambda: not shows(quarters())())
        assert shows(quarters()[120:], top=240)()  # text lies at the top alone
        virtual.press("i")
        virtual.wait_until(shows(quarters()))
        virtual.press("space")
        virtual.wait_until(lambda: not shows(quarters())())  # it says that it pauses
        yield Frame(1, picture(1))
        assert shows(quarters()[120:], top=240)()
        virtual.press("space")
        yield Frame(2, picture(2))
        virtual.wait_until(shows(picture(2)))
        virtual.press("q")
        assert stop.wait(virtual.LIMIT)
        passed.append(True)

    with virtual.screen():
        run(acts)
    assert passed


@virtual.needs_screen
@virtual.needs_keys
def test_the_views_and_what_other_keys_do():
    """Side by side the result lies at the right, half as large; split, the source is its left half, also in a pause."""
    passed, pressed = [], []
    source = Frame(0, np.full((48, 64, 3), COLOURS[3], np.uint8))

    def acts(stop):
        yield Frame(7, quarters())
        virtual.wait_until(shows(quarters()))
        virtual.press("space")
        virtual.wait_until(lambda: not shows(quarters())())
        yield Frame(8, picture(8))
        virtual.press("v")
        virtual.wait_until(shows(np.full((100, 150, 3), COLOURS[3]), left=162, top=190))  # all of the left
        assert shows(np.full((40, 70, 3), COLOURS[0]), left=325, top=195)()
        virtual.press("v")
        virtual.wait_until(shows(np.full((190, 158, 3), COLOURS[3]), left=160, top=165))
        assert shows(quarters()[50:, 160:], left=320, top=170)()
        virtual.press("v")
        virtual.wait_until(shows(quarters()[50:], top=170))
        virtual.press("h")
        virtual.wait_until(lambda: not shows(quarters()[50:], top=170)())
        virtual.press("h")
        virtual.wait_until(shows(quarters()[50:], top=170))
        for key in ("s", "x", "r", "u"):
            virtual.press(key)
        virtual.wait_until(lambda: pressed == [("s", 7), ("r", 7), ("u", 7)])
        passed.append(True)

    keys = {key: lambda shown, key=key: pressed.append((key, shown.id)) for key in ("s", "r", "u")}
    with virtual.screen():
        run(acts, lambda speed: Status(source=source), keys)
    assert passed


@virtual.needs_screen
def test_a_notice_is_shown_as_long_as_it_holds():
    notice = ["the source gives no pictures"]
    passed = []

    def acts(stop):
        yield Frame(0, quarters())
        virtual.wait_until(lambda: shows(quarters()[120:], top=240)() and not shows(quarters())())
        notice.clear()
        virtual.wait_until(shows(quarters()))
        passed.append(True)

    with virtual.screen():
        run(acts, lambda speed: Status("".join(notice)))
    assert passed


@virtual.needs_screen
def test_what_stands_in_its_way_is_an_error_and_the_window_closes():
    def acts(stop):
        yield Frame(0, picture(0))
        stop.wait(virtual.LIMIT)

    def status(speed):
        raise RuntimeError("no statistics")

    with virtual.screen(), pytest.raises(RuntimeError, match="no statistics"):
        run(acts, status)


@virtual.needs_screen
def test_the_display_is_named():
    with virtual.screen():
        assert open_display() == "x11"


@pytest.mark.parametrize("name", [None, ":4711"])
def test_without_a_display_it_says_so(monkeypatch, name):
    virtual.forget(monkeypatch)
    if name:
        monkeypatch.setenv("DISPLAY", name)
    with pytest.raises(OutputError, match="no display"), open_live_sink("window", SourceInfo(8, 8)):
        pass


@pytest.mark.parametrize(
    ("shown", "screen", "place"),
    [
        ((320, 240), (640, 480), (0, 0, 640, 480)),
        ((100, 100), (640, 480), (80, 0, 480, 480)),
        ((200, 100), (100, 100), (0, 25, 100, 50)),
        ((64, 64), (64, 64), (0, 0, 64, 64)),
        ((1000, 1), (100, 100), (0, 49, 100, 1)),
    ],
)
def test_a_picture_fits_in_the_middle(shown, screen, place):
    assert within(shown, screen) == place


@pytest.mark.parametrize(
    ("shown", "desktop", "size"),
    [
        ((256, 256), (1920, 1080), (768, 768)),
        ((512, 512), (1920, 1080), (512, 512)),
        ((320, 240), (640, 480), (320, 240)),
        ((2000, 1000), (1000, 1000), (800, 400)),
    ],
)
def test_a_window_opens_whole_times_as_large(shown, desktop, size):
    assert opening(shown, desktop) == size
