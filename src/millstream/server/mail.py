"""What waits for one reader: messages that matter, in their order, and pictures, of which the newest wins."""

from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from threading import Condition

from millstream.server.messages import send


class Mail:
    """Messages of two kinds from any thread to one. Never waits to take one in."""

    def __init__(self) -> None:
        self._messages: deque[object] = deque()
        self._newest: dict[object, deque[object]] = {}  # in the order of their turns
        self._changed = Condition()
        self._closed = False

    def put(self, message: object) -> None:
        """Leave a message that must arrive. Those who leave them keep their number bounded."""
        with self._changed:
            self._messages.append(message)
            self._changed.notify()

    def show(self, key: object, message: object, places: int = 1) -> None:
        """Leave a message that gives way to newer ones of its key once they are more than `places`."""
        with self._changed:
            if key not in self._newest:
                self._newest[key] = deque(maxlen=places)
            self._newest[key].append(message)
            self._changed.notify()

    def take(self, timeout: float | None = None) -> object | None:
        """The next message, those that must arrive first; None when it is closed, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._messages or self._newest, timeout)
            if self._closed:
                return None
            if self._messages:
                return self._messages.popleft()
            return self._pop() if self._newest else None

    def withdraw(self, unwanted: Callable[[object], bool]) -> list[object]:
        """Take back what must arrive and has not been taken yet, and give it."""
        with self._changed:
            found = [message for message in self._messages if unwanted(message)]
            self._messages = deque(message for message in self._messages if not unwanted(message))
            return found

    def close(self) -> None:
        """Let the reader go; what was not taken is let go of too."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _pop(self) -> object:
        key = next(iter(self._newest))
        items = self._newest.pop(key)
        found = items.popleft()
        if items:
            self._newest[key] = items  # behind the others
        return found


def pump(mail: Mail, connection: Connection) -> None:
    """Send what comes, until the mail is closed or nobody is at the other end."""
    try:
        while (message := mail.take()) is not None:
            send(connection, message)
    except OSError:  # the reader at the other end has gone, and who reads from it sees that too
        mail.close()
