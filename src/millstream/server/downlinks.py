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
        self._codecs: dict[Outbox, CodecName] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._codecs)

    def __iter__(self) -> Iterator[Outbox]:
        return iter(self._codecs)

    def join(self, outbox: Outbox, codec: CodecName, last: Shown | None) -> None:
        """Begin to send to a client."""
        if codec not in self._fans:
            self._fans[codec] = Fan(codec, self._pool, self._encoded)
        self._codecs[outbox] = codec
        self._fans[codec].join(outbox, last)

    def leave(self, outbox: Outbox) -> None:
        """Send no more to a client."""
        codec = self._codecs.pop(outbox)
        if not self._fans[codec].leave(outbox):
            self._end(self._fans.pop(codec))

    def put(self, shown: Shown) -> None:
        """Send a result to all."""
        for fan in self._fans.values():
            fan.put(shown)

    def say(self, message: str) -> None:
        """Say the same to all."""
        for outbox in self._codecs:
            outbox.say(message)

    def forget(self) -> None:
        """Expect no acknowledgements of what was sent."""
        for outbox in self._codecs:
            outbox.forget()

    def want_key(self, outbox: Outbox) -> None:
        """Send this client a key picture."""
        self._fans[self._codecs[outbox]].want_key(outbox)

    def close(self, code: int, reason: str) -> None:
        """Part with all; each leaves by itself."""
        for outbox in self._codecs:
            outbox.close(code, reason)

    def _end(self, fan: Fan) -> None:
        task = asyncio.create_task(fan.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
