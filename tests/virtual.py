"""A virtual screen: an X server of its own, without a monitor."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import numpy as np
import pytest

from millstream.media.screen import ScreenSource

os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"

WIDTH, HEIGHT = 640, 480
LIMIT = 60.0

needs_screen = pytest.mark.skipif(not shutil.which("Xvfb"), reason="needs a virtual screen: apt-get install xvfb")
needs_keys = pytest.mark.skipif(not shutil.which("xdotool"), reason="needs a hand on the keys: apt-get install xdotool")


@contextmanager
def screen() -> Iterator[None]:
    """Start a virtual screen, and let it be the one that programs use."""
    reading, writing = os.pipe()
    form = ["-displayfd", str(writing), "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-nolisten", "tcp", "-noreset"]
    server = subprocess.Popen(["Xvfb", *form], pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe, pytest.MonkeyPatch.context() as patch:
            forget(patch)
            patch.setenv("DISPLAY", f":{int(pipe.readline())}")
            yield
    finally:
        server.terminate()
        server.wait()


def forget(patch: pytest.MonkeyPatch) -> None:
    """Let programs know of no screen at all."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE", "SDL_VIDEODRIVER"):
        patch.delenv(name, raising=False)


def seen() -> np.ndarray:
    """All of the screen as it is now."""
    source = ScreenSource("0")
    frame = next(iter(source))
    source.close()
    return frame.pixels


def wait_until(true: Callable[[], bool]) -> None:
    end = monotonic() + LIMIT
    while not true():
        assert monotonic() < end, "it never came"
        sleep(0.05)


def press(key: str) -> None:
    subprocess.run(["xdotool", "key", key], check=True)
