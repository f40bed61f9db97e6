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
        if self._latest is None:
            return self.stands
        wanted, answer = self._latest
        failed = answer.done() and (answer.cancelled() or answer.exception() is not None)
        return self.stands if failed else wanted

    def ask(self, wanted: T, answer: Future[Any]) -> None:
        """Note a change, which stands once its future has a result."""
        self._latest = wanted, answer
        answer.add_done_callback(lambda done: self._settle(wanted, done))

    def _settle(self, wanted: T, done: Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.stands = wanted
