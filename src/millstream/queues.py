"""Queues between the threads of a stream: bounded, and nothing in them polls."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread
from typing import Generic, TypeVar

T = TypeVar("T")

DEPTH = 8


class Channel(Generic[T]):
    """A blocking queue of at most `depth` items that either side can end. Order is kept, nothing is lost."""

    def __init__(self, depth: int = DEPTH) -> None:
        self._items: deque[T] = deque()
        self._depth = depth
        self._changed = Condition()
        self._ended = False
        self._error: BaseException | None = None
        self._abandoned = False

    def put(self, item: T) -> bool:
        """Wait for a place and take it. False when the consumer has gone."""
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or len(self._items) < self._depth)
            self._items.append(item)
            self._changed.notify_all()
            return not self._abandoned

    def end(self, error: BaseException | None = None) -> None:
        """Say that no more comes; an error is raised at the consumer, behind the items that came before it."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def abandon(self) -> None:
        """Say that nobody takes any more, so that a waiting producer goes on and stops."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ended)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error


@contextmanager
def ahead(items: Iterable[T], depth: int = DEPTH) -> Iterator[Iterator[T]]:
    """Run `items` in a thread of its own, at most `depth` ahead. Leaving the context stops that thread."""
    channel: Channel[T] = Channel(depth)
    thread = Thread(target=_produce, args=(items, channel), daemon=True, name="millstream-ahead")
    thread.start()
    try:
        yield iter(channel)
    finally:
        channel.abandon()
        thread.join()


def _produce(items: Iterable[T], channel: Channel[T]) -> None:
    try:
        for item in items:
            if not channel.put(item):
                break
    except BaseException as error:  # raised again at the consumer
        channel.end(error)
    else:
        channel.end()


class Mailbox(Generic[T]):
    """A few places; the newest wins. `dropped` counts what was overwritten before it was taken."""

    def __init__(self, places: int = 1) -> None:
        self._items: deque[T] = deque(maxlen=places)
        self._changed = Condition()
        self._woken = False
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Items that are there."""
        return len(self._items)

    def put(self, item: T) -> None:
        """Leave an item; the oldest gives way when there is no place. Never waits."""
        with self._changed:
            self.dropped += len(self._items) == self._items.maxlen
            self._items.append(item)
            self._changed.notify_all()

    def resize(self, places: int) -> None:
        """Change the number of places; the oldest items give way where there are too many."""
        with self._changed:
            self.dropped += max(0, len(self._items) - places)
            self._items = deque(self._items, maxlen=places)

    def wake(self) -> None:
        """Let the next or the present `take` return at once with what is there."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def take(self, count: int = 1, timeout: float | None = 0.0) -> list[T]:
        """Take up to `count` items, oldest first, waiting up to `timeout` seconds (None: for ever) for so many."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken or len(self._items) >= count, timeout)
            if len(self._items) < count:  # else it is for the next one who takes: the end must not be lost to an item
                self._woken = False
            return [self._items.popleft() for _ in range(min(count, len(self._items)))]
