"""A lock that is fair: whoever asked first goes first."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from types import TracebackType


class Turns:
    """Held by one thread at a time, in the order in which they asked; for `with`. Not to be entered twice by one.

    A plain lock goes to whoever comes first when it is let go of, and that is the thread that just held it: beside one
    that ticks without a pause, others would starve.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._waiting: deque[Lock] = deque()  # the first is its holder's

    def __enter__(self) -> None:
        mine = Lock()
        mine.acquire()
        with self._guard:
            self._waiting.append(mine)
            free = len(self._waiting) == 1
        if not free:
            mine.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            self._waiting.popleft()
            if self._waiting:
                self._waiting[0].release()


_held: ContextVar[frozenset[Turns]] = ContextVar("millstream-turns", default=frozenset())


@contextmanager
def held(turns: Turns) -> Iterator[None]:
    """Hold the lock, unless this context does: also a thread that runs in a copy of its holder's works within it."""
    if turns in _held.get():
        yield
        return
    with turns:
        token = _held.set(_held.get() | {turns})
        try:
            yield
        finally:
            _held.reset(token)
