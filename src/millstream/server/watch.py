"""Whether a worker hangs, and what it died of."""

import signal
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from millstream.server.messages import OUT_OF_MEMORY, Beat

SLOW = 10.0  # times as long as the tick before: only then a tick counts as hung
KILLS = Path("/proc/vmstat")  # counts, on Linux, the processes that were killed for lack of memory


@dataclass(frozen=True)
class Limits:
    """Bounds of a supervisor and its worker. Times are in seconds."""

    hang: float = 5.0
    """A tick that takes longer, and much longer than the one before, has hung; so has a worker silent for so long."""
    load: float = 300.0
    """The same for a session's first tick; and for silence while there is one, a model is loaded or a graph built."""
    stop: float = 3.0
    """After which a worker that is to end is ended by force."""
    restarts: int = 5
    """Fresh workers in a row, each lost before it was `steady`, after which the supervisor gives up."""
    steady: float = 30.0
    sessions: int = 8
    commands: int = 64
    """Changes of one session that have not been answered."""
    models: int = 2
    """Models that are loaded at a time."""


class Watch:
    """The signs of life of one worker, from its start."""

    def __init__(self, limits: Limits) -> None:
        self.up = False
        """Whether it has given any."""
        self._limits = limits
        self._heard = monotonic()
        self._beat = Beat()
        self._kills = _kills()

    def hear(self, message: object) -> None:
        """Note whatever it sent."""
        self._heard = monotonic()
        if isinstance(message, Beat):
            self._beat, self.up = message, True

    def hangs(self) -> bool:
        """Whether it is silent, or an engine in one tick, for longer than it should be."""
        slowest = max((ticks.last for ticks in self._beat.engines), default=0.0)
        silent = monotonic() - self._heard > self._patience(slowest, self._beat.patient)
        return silent or any(
            ticks.under_way > self._patience(ticks.last, ticks.patient) for ticks in self._beat.engines
        )

    def _patience(self, last: float, patient: bool) -> float:
        return self._limits.load if patient else max(self._limits.hang, SLOW * last)

    def out_of_memory(self, code: int | None) -> bool:
        """Whether an exit code tells of lack of memory: its own, or that the system killed it for that."""
        killed = hasattr(signal, "SIGKILL") and code == -signal.SIGKILL
        return code == OUT_OF_MEMORY or (killed and _kills() > self._kills)


def _kills() -> int:
    """Processes that this machine has killed for lack of memory; 0 where it does not count them."""
    try:
        counts = dict(line.split() for line in KILLS.read_text(encoding="ascii").splitlines())
    except OSError:
        return 0
    return int(counts.get("oom_kill", 0))
