"""A live source on its way through a stream, and what can be said of it meanwhile."""

from collections.abc import Callable, Iterator
from threading import Event, Thread
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from millstream.cli.common import say
from millstream.cli.desk import Desk
from millstream.cli.takes import Takes
from millstream.frame import Frame
from millstream.media.base import Source, SourceInfo
from millstream.media.status import Acts, Status

if TYPE_CHECKING:
    from millstream.live.stats import LiveStats
    from millstream.pipeline import Stream

LOOK = 0.5  # seconds without a picture after which to see whether the source still gives any
SILENT = 3.0  # seconds without a picture, at least, that are said
PERIODS = 3  # of the source's frame rate, which may be slow: as many pictures must be missing
TOLD = 4.0  # seconds for which a window shows what became of a key or a line
LINGER = 1.0  # seconds that a source has to end; a device that hangs does not hold the program


class Player:
    """Reads a source into a stream, in a thread of its own, the newest winning; `pictures` gives what comes out.

    What fails, in the source or the stream, is kept in `error`, so that a recording can be completed first. A stop is
    asked for by `asked`, Ctrl-C, or by setting `stop`, the sink. `advance` is called for every picture.
    """

    def __init__(self, stream: "Stream", source: Source, asked: Event, advance: Callable[[], None]) -> None:
        self.count = 0
        self.stop = Event()
        self.error: Exception | None = None
        self._stream, self._source = stream, source
        self._asked, self._advance = asked, advance
        self._patience = _patience(source.info)
        self._ended = Event()
        self._came_in = self._came_out = monotonic()
        self._said = ""
        self._told, self._told_at = "", 0.0
        self._submitted: Frame | None = None
        self.desk = Desk(stream, self._tell)
        self._takes = Takes(source.info, self._tell)
        self._thread = Thread(target=self._read, daemon=True, name="millstream-source")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._takes.close()
        self._source.close()
        self._thread.join(LINGER)

    @property
    def _stopped(self) -> bool:
        return self.stop.is_set() or self._asked.is_set()

    @property
    def notice(self) -> str:
        """What the user should know of: why there have been no pictures for long."""
        now = monotonic()
        if now - self._came_in > self._patience and not self._ended.is_set():
            return "the source gives no pictures; waiting for it"
        if now - self._came_out > self._patience and self._stream.stats().aged:
            return "every picture is older than --max-age allows; allow more, or make less of it: --steps, --width"
        return ""

    def pictures(self) -> Iterator[Frame]:
        """Every picture that comes out in time, until the source ends, something fails, or a stop is asked for."""
        try:
            while not (self._stopped or self._ended.is_set()):
                yield from self._counted(self._stream.poll(LOOK))
                self._say_notice()
            for frame in [] if self._stopped or self.error else self._stream.drain():
                yield from self._counted(frame)
        except Exception as error:
            self.error = self.error or error

    def status(self, speed: float) -> Status:
        """What to show beside the picture; `speed` is the pictures shown a second."""
        told = self._told if monotonic() - self._told_at < TOLD else ""
        return Status(told or self.notice, describe(self._stream.stats(), speed), self._submitted)

    @property
    def acts(self) -> Acts:
        """What keys do: the letters are those of the page."""
        return {"s": self._takes.snapshot, "r": lambda _: self._takes.record(), "u": lambda _: self.desk.undo()}

    def _read(self) -> None:
        try:
            for frame in self._source:
                self._stream.submit(frame)
                self._submitted = frame
                self._came_in = monotonic()
        except Exception as error:  # raised again by the command
            self.error = error
        self._ended.set()

    def _counted(self, frame: Frame | None) -> Iterator[Frame]:
        if frame is not None:
            self.count += 1
            self._came_out = monotonic()
            self._takes.put(frame)
            self._advance()
            yield frame

    def _tell(self, message: str) -> None:
        self._told, self._told_at = message, monotonic()
        say(message, 0)

    def _say_notice(self) -> None:
        notice = self.notice
        if notice != self._said:
            self._said = notice
            say(notice or "pictures come again", 0)


def describe(stats: "LiveStats", speed: float) -> tuple[str, ...]:
    """Statistics in a few lines; ages as p50 / p95 / p99."""
    ages = (stats.age_ms_p50, stats.age_ms_p95, stats.age_ms_p99)
    age = " / ".join("-" if value is None else f"{value:.0f}" for value in ages)
    lost = f"skipped {stats.skipped}, dropped {stats.dropped_before + stats.dropped_after}, too old {stats.aged}"
    made = f"{stats.backend}, {stats.width}x{stats.height}, steps {stats.steps}"
    traded = [f"given up: {', '.join(stats.traded)}"] if stats.traded else []
    return f"{speed:.1f} pictures a second", f"age {age} ms", lost, made, *traded


def _patience(info: SourceInfo) -> float:
    return max(SILENT, PERIODS / float(info.rate)) if info.rate else SILENT
