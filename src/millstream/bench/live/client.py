"""A live stream through `millstream.client`, without a browser: a detailed moving source with numbers in its pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import numpy as np
from jaxtyping import UInt8

from millstream.bench.live.server import SIDE
from millstream.bench.live.watch import NUMBERS, Seen, Tally
from millstream.client import Client, LiveStream
from millstream.errors import MillstreamError
from millstream.frame import Frame, Pixels
from millstream.server.protocol import CodecName

BEAT = 1 / 30  # seconds
BLOCK = 8  # pixels a side of a patch of one colour
MOVE = 7, 5  # pixels a picture, across and down
CELL, BITS = 16, 16  # a number's bits are white and black squares in the upper left corner


class Stamped:
    """30 pictures a second until `ended`, each made when it is asked for; `made` counts them, `moments` says when."""

    def __init__(self) -> None:
        self.made = 0
        self.ended = False
        self.moments = np.full(NUMBERS, np.nan)
        self._detail = np.tile(_patches(), (2, 2, 1))

    def __iter__(self) -> Iterator[Pixels]:
        begun = monotonic()
        beat = 0
        while not self.ended:
            beat = max(beat + 1, int((monotonic() - begun) / BEAT))  # a beat that was missed is not made up for
            sleep(max(0.0, begun + beat * BEAT - monotonic()))
            yield self._paint()

    def _paint(self) -> Pixels:
        left, top = (self.made * step % SIDE for step in MOVE)
        picture = self._detail[top : top + SIDE, left : left + SIDE].copy()
        number = self.made % NUMBERS
        write_number(picture, number)
        self.made += 1
        self.moments[number] = monotonic()
        return picture


class ClientWatch:
    """Streams for as long as it is looked at. `stamped`: the pictures come back as they were, with their numbers."""

    def __init__(self, stream: LiveStream, stamped: bool) -> None:
        self._stream, self._stamped = stream, stamped
        self._source, self._tally = Stamped(), Tally()
        self._results = stream.run(self._source)

    @property
    def codec(self) -> str:
        """What the pictures travel in."""
        return str(self._stream.welcome["send"])

    @property
    def backend(self) -> str | None:
        """What computes the ticks, once it is built."""
        stats = self._stream.stats
        return None if stats.get("building", True) else stats["backend"]

    def see(self, seconds: float) -> Seen:
        """Look for so long."""
        begun, before = monotonic(), self._source.made
        while monotonic() - begun < seconds:
            self._note(next(self._results))
        return self._tally.take(monotonic() - begun, self._source.made - before)

    def close(self) -> None:
        """Send no more."""
        self._source.ended = True
        for _ in self._results:
            pass

    def _note(self, result: Frame) -> None:
        number = read_number(result.pixels) if self._stamped else result.id % NUMBERS
        made = float(self._source.moments[number]) if self._stamped else result.time
        now = monotonic()
        self._tally.note(number, (now - made) * 1e3, labelled=made <= result.time <= now)


@contextmanager
def python_client(url: str, codec: CodecName, stamped: bool) -> Iterator[ClientWatch]:
    """Stream to a server."""
    with Client(url).open(codec=codec) as stream:
        watch = ClientWatch(stream, stamped)
        try:
            yield watch
        finally:
            watch.close()


def write_number(picture: Pixels, number: int) -> None:
    """Write a number into the corner of a picture."""
    for bit in range(BITS):
        picture[:CELL, bit * CELL : (bit + 1) * CELL] = 255 * (number >> bit & 1)


def read_number(picture: Pixels) -> int:
    """Read it back. Raises MillstreamError where the picture is too small."""
    if picture.shape[1] < BITS * CELL:
        raise MillstreamError(f"pictures of {SIDE}x{SIDE} went out, and {picture.shape[1]} pixels came back")
    line = picture[CELL // 2, CELL // 2 : BITS * CELL : CELL, 0] > 127
    return int(line @ (1 << np.arange(BITS)))


def _patches() -> UInt8[np.ndarray, "side side 3"]:
    """Random colours in patches, which tile without a seam."""
    cells = SIDE // BLOCK
    y, x = np.mgrid[0:cells, 0:cells] * (2 * np.pi / cells)
    waves = np.stack([np.sin(2 * x + y), np.sin(x - 3 * y), np.cos(x + 2 * y)], axis=-1)
    grain = np.random.default_rng(0).uniform(-1, 1, (cells, cells, 1))
    colours = np.rint(128 + 64 * waves + 40 * grain).astype(np.uint8)
    return np.repeat(np.repeat(colours, BLOCK, axis=0), BLOCK, axis=1)
