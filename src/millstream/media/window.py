"""A window as a sink, with pygame-ce. Importing this needs pygame-ce; `live.open_live_sink` says so to users.

Not tkinter, though Python often has it: it takes pictures in its own thread alone, which would have to ask for them,
and it scales them slowly.
"""

import os
import sys
from collections.abc import Callable, Iterable
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np
import pygame

from millstream.errors import OutputError
from millstream.frame import Frame, Pixels
from millstream.media.fit import fit_frame
from millstream.media.status import KEYS, Acts, Status

REFRESH = 0.5  # seconds between two looks at the statistics
_SHARE = 0.8  # of the desktop that a new window may take
_MARGIN, _TEXT = 6, 18  # pixels
_BLACK, _WHITE, _SHADE = (0, 0, 0), (255, 255, 255), (0, 0, 0, 170)
_NO_DISPLAY = "window: there is no display; start from a desktop, or take a file or the page of `millstream serve`"
_CAME, _ENDED, _REFRESH = (pygame.event.custom_type() for _ in range(3))

Size = tuple[int, int]
View = Literal["result", "side", "split"]
VIEWS: tuple[View, ...] = get_args(View)


class Window:
    """Shows the newest of live pictures, as large as fits.

    `KEYS` says what keys do. Closing it ends, as Q does.

    For the main thread, but for `write`. It opens with its first picture: margins apart, it is never black. Entering
    raises OutputError where there is no display.
    """

    def __init__(self, title: str = "millstream") -> None:
        self.kind = ""
        """What shows windows here, by SDL's name of it: x11, wayland, windows, cocoa; known once it is entered."""
        self._title = title
        self._newest: Frame | None = None
        self._held: tuple[Frame, Frame | None] | None = None  # what is shown, and what had last gone in
        self._view: View = VIEWS[0]
        self._acts: Acts = {}
        self._posted = Lock()
        self._status: Callable[[float], Status] = lambda _: Status()
        self._paused = self._informed = self._helped = False
        self._shown, self._since, self._speed = 0, monotonic(), 0.0

    def __enter__(self) -> Self:
        self.kind = _open_display()
        self._canvas = Canvas()
        pygame.display.set_caption(self._title)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pygame.display.quit()

    def run(self, pictures: Iterable[Frame], status: Callable[[float], Status], stop: Event, acts: Acts) -> None:
        """Show `pictures`, read in a thread of their own, until they end or the user has enough.

        `status` is told the pictures shown a second; keys do `acts`. In the end `stop` is set, by which `pictures` must
        end too.
        """
        self._status, self._acts = status, acts
        reader = Thread(target=self._read, args=(pictures,), daemon=True, name="millstream-window")
        reader.start()
        pygame.time.set_timer(_REFRESH, int(REFRESH * 1000))
        try:
            while self._handle(pygame.event.wait()):
                pass
        finally:
            stop.set()
            reader.join()

    def write(self, frame: Frame) -> None:
        """Leave a picture; one that is not yet shown gives way. From any thread; never waits."""
        self._newest = frame
        if self._posted.acquire(blocking=False):  # so that one event waits at most, whatever the window does
            pygame.event.post(pygame.event.Event(_CAME))

    def _read(self, pictures: Iterable[Frame]) -> None:
        try:
            for frame in pictures:
                self.write(frame)
        finally:
            pygame.event.post(pygame.event.Event(_ENDED))

    def _handle(self, event: pygame.Event) -> bool:
        """Do what an event asks for; tell whether to go on."""
        if event.type == pygame.KEYDOWN:
            return self._press(event.key)
        if event.type == _CAME:
            self._take()
        elif event.type == _REFRESH:
            self._measure()
        elif event.type in (pygame.VIDEOEXPOSE, pygame.VIDEORESIZE):
            self._draw()
        return event.type not in (pygame.QUIT, _ENDED)

    def _press(self, key: int) -> bool:
        if key == pygame.K_f or (key == pygame.K_ESCAPE and self._canvas.full):
            self._canvas.toggle_full()
        elif key == pygame.K_i:
            self._informed = not self._informed
        elif key == pygame.K_SPACE:
            self._paused = not self._paused
        elif key == pygame.K_h:
            self._helped = not self._helped
        elif key == pygame.K_v:
            self._view = VIEWS[(VIEWS.index(self._view) + 1) % len(VIEWS)]
            self._compose()
        elif self._held and (act := self._acts.get(pygame.key.name(key))):
            act(self._held[0])
        self._draw()
        return key != pygame.K_q

    def _take(self) -> None:
        self._posted.release()
        if self._newest is not None and not self._paused:
            self._shown += 1
            self._draw(self._newest)

    def _compose(self) -> None:
        if self._held is not None:
            self._canvas.take(composed(*self._held, self._view))

    def _measure(self) -> None:
        now = monotonic()
        self._speed = self._shown / (now - self._since)
        self._shown, self._since = 0, now
        self._draw()

    def _draw(self, fresh: Frame | None = None) -> None:
        status = self._status(self._speed)
        if fresh is not None:
            self._held = fresh, status.source
            self._compose()
        notices = (status.notice, "paused" if self._paused else "")
        lines = [notice for notice in notices if notice]
        self._canvas.draw([*lines, *(status.lines if self._informed else ()), *(KEYS if self._helped else ())])


class Canvas:
    """The window's surface: one picture, scaled to fit, and text on it."""

    def __init__(self) -> None:
        pygame.font.init()
        self._font = pygame.font.Font(None, _TEXT)
        self.full = False
        self._picture: pygame.Surface | None = None
        self._windowed: Size = (0, 0)

    def take(self, pixels: Pixels) -> None:
        """Hold the picture that is drawn from now on; the first one opens the window."""
        rows, columns = pixels.shape[:2]
        opens = self._picture is None
        self._picture = pygame.image.frombytes(pixels.tobytes(), (columns, rows), "RGB")
        if opens:
            desktop = pygame.display.get_desktop_sizes()[0]
            self._windowed = opening((columns, rows), desktop)
            pygame.display.set_mode(self._windowed, pygame.RESIZABLE)

    def toggle_full(self) -> None:
        """Fill the screen, or be a window again."""
        self.full = not self.full
        if self.full:
            self._windowed = pygame.display.get_window_size()
            pygame.display.set_mode((0, 0), pygame.FULLSCREEN)
        else:
            pygame.display.set_mode(self._windowed, pygame.RESIZABLE)
        pygame.mouse.set_visible(not self.full)

    def draw(self, lines: list[str]) -> None:
        """Draw the picture and lines of text, if there is a picture."""
        screen = pygame.display.get_surface()
        if self._picture is None or screen is None:
            return
        place = pygame.Rect(within(self._picture.get_size(), screen.get_size()))
        fits = self._picture.get_size() == place.size
        screen.fill(_BLACK)
        screen.blit(self._picture if fits else pygame.transform.smoothscale(self._picture, place.size), place)
        for i, line in enumerate(lines):
            self._write(screen, line, _MARGIN + i * (_TEXT + _MARGIN))
        pygame.display.flip()

    def _write(self, screen: pygame.Surface, line: str, top: int) -> None:
        text = self._font.render(line, True, _WHITE)
        shade = pygame.Surface((text.get_width() + 2 * _MARGIN, _TEXT + _MARGIN // 2), pygame.SRCALPHA)
        shade.fill(_SHADE)
        shade.blit(text, (_MARGIN, _MARGIN // 2))
        screen.blit(shade, (_MARGIN, top))


def _open_display() -> str:
    # Left to itself, SDL tries every kind of display, complains on stderr, and in the end draws where nobody sees it.
    if sys.platform == "linux":
        os.environ.setdefault("SDL_VIDEODRIVER", "wayland,x11" if "WAYLAND_DISPLAY" in os.environ else "x11")
    try:
        pygame.display.init()
    except pygame.error:
        raise OutputError(_NO_DISPLAY) from None
    return pygame.display.get_driver()


def composed(result: Frame, source: Frame | None, view: View) -> Pixels:
    """The result alone, or with the source, brought to its size: at its left, or in place of its left half."""
    if view == "result" or source is None:
        return result.pixels
    rows, columns = result.pixels.shape[:2]
    left = fit_frame(source, (columns, rows)).pixels
    if view == "split":
        return np.hstack([left[:, : columns // 2], result.pixels[:, columns // 2 :]])
    return np.hstack([left, result.pixels])


def within(picture: Size, screen: Size) -> tuple[int, int, int, int]:
    """Left, top, width and height of a picture in the middle of a screen, as large as fits, its aspect kept."""
    scale = min(screen[0] / picture[0], screen[1] / picture[1])
    width, height = (max(1, round(side * scale)) for side in picture)
    return (screen[0] - width) // 2, (screen[1] - height) // 2, width, height


def opening(picture: Size, desktop: Size) -> Size:
    """Size of a new window: the picture enlarged a whole number of times, or reduced where it is too large."""
    scale = _SHARE * min(desktop[0] / picture[0], desktop[1] / picture[1])
    factor = int(scale) if scale >= 1 else scale
    return max(1, round(picture[0] * factor)), max(1, round(picture[1] * factor))
