"""The figures of a session: what the engine tells, and what the server counts."""

from collections.abc import Sequence
from time import monotonic
from typing import Any

from millstream.live.stats import percentiles
from millstream.server import messages


class Figures:
    """Counts since the session began, rates since they were last read, and the engine's own figures."""

    def __init__(self) -> None:
        self.pictures_in = self.pictures_out = self.bytes_in = self.bytes_out = 0
        self.engine: messages.Stats | None = None
        self._then = monotonic()
        self._before = (0, 0)

    def arrived(self, size: int) -> None:
        """A picture came, of so many bytes."""
        self.pictures_in += 1
        self.bytes_in += size

    def shown(self) -> None:
        """A result came."""
        self.pictures_out += 1

    def encoded(self, size: int) -> None:
        """A result was encoded to so many bytes."""
        self.bytes_out += size

    def read(self, ages: Sequence[float], device: str, viewers: int) -> dict[str, Any]:
        """The fields of a `stats` message. Ages are those at the controller's screen, else those inside the engine."""
        now, counts = monotonic(), (self.pictures_in, self.pictures_out)
        seconds = max(now - self._then, 1e-3)
        rates = [round((new - old) / seconds, 1) for new, old in zip(counts, self._before, strict=True)]
        self._then, self._before = now, counts
        fields = {"fps_in": rates[0], "fps_out": rates[1], "device": device, "viewers": viewers}
        return fields | self._engine() | ({"age_ms": _named(percentiles(ages))} if ages else {})

    def _engine(self) -> dict[str, Any]:
        if self.engine is None:
            return {}
        stats = self.engine.stats
        return {
            "age_ms": _named((stats.age_ms_p50, stats.age_ms_p95, stats.age_ms_p99)),
            "skipped": stats.skipped,
            "dropped": stats.dropped_before + stats.dropped_after,
            "aged": stats.aged,
            "backend": stats.backend,
            "memory": self.engine.memory_bytes,
            "steps": stats.steps,
            "width": stats.width,
            "height": stats.height,
            "traded": list(stats.traded),
            "stalled": stats.stalled,
            "building": stats.building,
        }


def _named(ages: tuple[float | None, float | None, float | None]) -> dict[str, float | None]:
    return dict(zip(("p50", "p95", "p99"), ages, strict=True))
