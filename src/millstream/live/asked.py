"""What a stream was asked to be, while changes follow one another more quickly than they can be built."""

from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Asked(Generic[T]):
    """What stands, and what will once the change under way has taken over. `stands` is what is shown by now."""

    def __init__(self, stands: T) -> None:
        self.stands = stands
        self._latest: tuple[T, Future[Any]] | None = None

    @property
    def newest(self) -> T:
        """What a further change builds on: what was asked last, or, where that came to nothing, what stands."""
        latest = self._latest
        return latest[0] if latest else self.stands

    def ask(self, wanted: T, answer: Future[Any]) -> None:
        """Note a change, which stands once its future has a result."""
        self._latest = wanted, answer
        answer.add_done_callback(lambda done: self._settle(wanted, done))

    def _settle(self, wanted: T, done: Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.stands = wanted
        if self._latest is not None and self._latest[1] is done:  # a model that came to nothing is let go of
            self._latest = None
