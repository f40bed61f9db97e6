"""All who watch a session, by the codec that they read."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

from millstream.server.fan import Fan, Outbox, Shown
from millstream.server.protocol import CodecName


class Downlinks:
    """A fan for each codec that somebody reads; it ends with its last client."""

    def __init__(self, pool: Executor, encoded: Callable[[int], None]) -> None:
        """`encoded` is told the bytes of each encoded picture."""
        self._pool, self._encoded = pool, encoded
        self._fans: dict[CodecName, Fan] = {}
        self._readers: dict[Outbox, Fan] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._readers)

    def __iter__(self) -> Iterator[Outbox]:
        return iter(self._readers)

    def join(self, outbox: Outbox, codec: CodecName, last: Shown | None) -> None:
        """Begin to send to a client."""
        fan = self._fans.get(codec)
        if fan is None or fan.failed:
            fan = self._fans[codec] = Fan(codec, self._pool, self._encoded)
        self._readers[outbox] = fan
        fan.join(outbox, last)

    def leave(self, outbox: Outbox) -> None:
        """Send no more to a client."""
        fan = self._readers.pop(outbox)
        if fan.leave(outbox):
            return
        self._end(fan)
        if self._fans.get(fan.codec) is fan:  # none has taken its place
            del self._fans[fan.codec]

    def put(self, shown: Shown) -> None:
        """Send a result to all."""
        for fan in self._fans.values():
            fan.put(shown)

    def say(self, message: str) -> None:
        """Say the same to all."""
        for outbox in self._readers:
            outbox.say(message)

    def forget(self) -> None:
        """Expect no acknowledgements of what was sent."""
        for outbox in self._readers:
            outbox.forget()

    def want_key(self, outbox: Outbox) -> None:
        """Send this client a key picture."""
        self._readers[outbox].want_key(outbox)

    def close(self, code: int, reason: str) -> None:
        """Part with all; each leaves by itself."""
        for outbox in self._readers:
            outbox.close(code, reason)

    def _end(self, fan: Fan) -> None:
        task = asyncio.create_task(fan.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
