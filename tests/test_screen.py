"""The screen, seen on a virtual one."""

import sys
from itertools import islice
from threading import Thread

import numpy as np
import pytest

from millstream.errors import BadInputError
from millstream.media.screen import RATE, ScreenSource
from tests import virtual

PICTURE = np.random.default_rng(0).integers(0, 256, (virtual.HEIGHT, virtual.WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def painted():
    """A virtual screen that shows a known picture."""
    pygame = pytest.importorskip("pygame")
    with virtual.screen():
        pygame.display.init()
        surface = pygame.display.set_mode((virtual.WIDTH, virtual.HEIGHT), pygame.NOFRAME)
        pygame.mouse.set_visible(False)
        surface.blit(pygame.image.frombytes(PICTURE.tobytes(), surface.get_size(), "RGB"), (0, 0))
        pygame.display.flip()
        pygame.event.pump()
        virtual.wait_until(lambda: np.array_equal(virtual.seen(), PICTURE))
        yield
        pygame.display.quit()


@virtual.needs_screen
@pytest.mark.parametrize("which", ["", "0", "1"])
def test_the_whole_screen_to_the_last_bit(painted, which):
    source = ScreenSource(which)
    frames = list(islice(source, 3))
    assert (source.info.width, source.info.height, source.info.rate) == (virtual.WIDTH, virtual.HEIGHT, RATE)
    assert [frame.id for frame in frames] == [0, 1, 2]
    assert frames[0].time < frames[1].time < frames[2].time
    for frame in frames:
        np.testing.assert_array_equal(frame.pixels, PICTURE)


@virtual.needs_screen
@pytest.mark.parametrize(("x", "y", "width", "height"), [(0, 0, 1, 1), (10, 20, 101, 51), (639, 479, 1, 1)])
def test_a_part_of_the_screen(painted, x, y, width, height):
    frame = next(iter(ScreenSource(f"{x},{y},{width},{height}")))
    np.testing.assert_array_equal(frame.pixels, PICTURE[y : y + height, x : x + width])


@virtual.needs_screen
@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("2", "there are 1 monitors"),
        ("left", "x,y,width,height"),
        ("1,2,3", "x,y,width,height"),
        ("0,0,641,480", "0,0,640,480"),
        ("-1,0,10,10", "0,0,640,480"),
        ("0,0,0,10", "0,0,640,480"),
    ],
)
def test_no_such_part(painted, which, message):
    with pytest.raises(BadInputError, match=message):
        ScreenSource(which)


@virtual.needs_screen
def test_closing_ends_it_from_another_thread(painted):
    source = ScreenSource("0,0,8,8")
    reader = Thread(target=lambda: [None for _ in source])
    reader.start()
    source.close()
    reader.join(virtual.LIMIT)
    assert not reader.is_alive()


@pytest.mark.parametrize("display", [None, ":4711"])
@pytest.mark.skipif(sys.platform != "linux", reason="a display is a matter of X11")
def test_without_a_display_it_says_so(monkeypatch, display):
    virtual.forget(monkeypatch)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(BadInputError, match=r"^screen: .*start from a desktop"):
        ScreenSource()


@pytest.mark.skipif(sys.platform != "linux", reason="Wayland is a matter of Linux")
def test_wayland_is_refused_and_not_shown_black(monkeypatch):
    monkeypatch.setenv("XDG_SESSION_TYPE", "wayland")
    with pytest.raises(BadInputError, match="Wayland"):
        ScreenSource()
