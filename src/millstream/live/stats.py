"""The figures of a live stream."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LiveStats:
    """Counts since the stream began; ages, in milliseconds, of the last pictures when they were finished.

    Ages are those since the last change of parameters or of the session. `dropped_before` and `dropped_after` gave way
    to newer ones before and after the engine, `aged` were older than `Params.max_age` and not shown. `backend`, size
    and steps are those of the session that is shown; the back end is `eager` while its own is built. `building`: it is,
    or a change is being prepared. `traded` says in words what is given up to keep `max_age`.
    """

    submitted: int
    finished: int
    skipped: int
    dropped_before: int
    dropped_after: int
    age_ms_p50: float | None
    age_ms_p95: float | None
    age_ms_p99: float | None
    aged: int
    backend: str
    width: int
    height: int
    steps: int
    version: int
    stalled: bool
    building: bool
    traded: tuple[str, ...]


def percentiles(ages: Iterable[float]) -> tuple[float | None, float | None, float | None]:
    """Median, 95th and 99th percentile of ages in seconds, in milliseconds; None each where there are none."""
    known = np.array(list(ages)) * 1000
    if not len(known):
        return None, None, None
    p50, p95, p99 = np.percentile(known, (50, 95, 99)).tolist()
    return p50, p95, p99
