"""From one result to many clients: each codec is encoded once, each client has one place, the newest wins."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from millstream.frame import Frame
from millstream.server.codecs import encoder
from millstream.server.protocol import BROKEN, FLOOD, CodecName, Packet

MESSAGES = 256  # that wait for a client; one that reads so little is closed
BEHIND = 0.5  # seconds from sending a picture to its acknowledgement after which a client counts as behind
LOST = 2.0  # seconds after which a client that acknowledges nothing gets a picture all the same
KEYS = 2.0  # seconds between two key pictures
KEYS_ASKED = 0.25  # seconds between two key pictures that are asked for
PATIENCE = 0.25  # seconds after which a client that missed the newest picture gets it, where no newer has come


@dataclass(frozen=True, slots=True)
class Shown:
    """A result, with the number and the capture time of its source picture."""

    frame: Frame
    sequence: int
    capture: float


@dataclass(frozen=True, slots=True)
class Closing:
    """The last thing that a client gets."""

    code: int
    reason: str


class Outbox:
    """What waits to be sent to one client: its messages, and one picture."""

    def __init__(self, acknowledges: bool = True, watches: bool = False) -> None:
        """`watches`: the client came by a viewer's link, and may do nothing else."""
        self.acknowledges, self.watches = acknowledges, watches
        self.needs_key = True
        self.missed = False
        self.dropped = 0
        self._messages: deque[str] = deque()
        self._packet: Packet | None = None
        self._closing: Closing | None = None
        self._changed = asyncio.Event()
        self._sent: deque[tuple[int, float]] = deque(maxlen=MESSAGES)

    def say(self, message: str) -> None:
        """Leave a message."""
        self._messages.append(message)
        if len(self._messages) > MESSAGES:
            self.close(FLOOD, "too many messages wait to be read")
        self._changed.set()

    def show(self, packet: Packet) -> None:
        """Leave a picture: one that has not gone yet gives way, and with it all up to the next key picture."""
        self.missed = False
        if self._packet is not None:
            self.dropped += 1
            self.needs_key = not packet.key
        elif packet.key:
            self.needs_key = False
        self._packet = None if self.needs_key else packet
        self._changed.set()

    def close(self, code: int, reason: str) -> None:
        """Leave the end behind what waits."""
        self._closing = self._closing or Closing(code, reason)
        self._changed.set()

    def ready(self, now: float) -> bool:
        """Whether the client keeps up, so that a picture for it is worth encoding."""
        if self._packet is not None or self._closing is not None:
            return False
        if not self.acknowledges or not self._sent or now - self._sent[0][1] < BEHIND:
            return True
        return now - self._sent[-1][1] >= LOST

    def acknowledged(self, sequence: int) -> bool:
        """Note that the client has shown a picture; whether it is a new one."""
        before = len(self._sent)
        while self._sent and self._sent[0][0] <= sequence:
            self._sent.popleft()
        return len(self._sent) < before

    def forget(self) -> None:
        """Expect no more acknowledgements of what was sent: the sequence begins again."""
        self._sent.clear()

    async def take(self) -> str | Packet | Closing:
        """Wait for the next thing to send, messages first."""
        while True:
            if self._messages:
                return self._messages.popleft()
            if self._packet is not None:
                packet, self._packet = self._packet, None
                self._sent.append((packet.sequence, monotonic()))
                return packet
            if self._closing is not None:
                return self._closing
            self._changed.clear()
            await self._changed.wait()


class Fan:
    """One codec of one session: encodes the newest result for all its clients, in a thread of the pool."""

    def __init__(self, codec: CodecName, pool: Executor, done: Callable[[int], None]) -> None:
        """`done` is told the bytes of each encoded picture."""
        self.codec = codec
        self.outboxes: list[Outbox] = []
        self._pool, self._done = pool, done
        self._encoder = encoder(codec)
        self._newest: Shown | None = None
        self._changed = asyncio.Event()
        self._key_at = -KEYS
        self._task = asyncio.create_task(self._run(), name=f"millstream-fan-{codec}")
        self._task.add_done_callback(self._ended)

    @property
    def failed(self) -> bool:
        """Whether it encodes no more; its clients are parted with."""
        return self._task.done()

    def put(self, shown: Shown) -> None:
        """Leave a result; one that is not encoded yet gives way."""
        self._newest = shown
        for outbox in self.outboxes:
            outbox.missed = True
        self._changed.set()

    def join(self, outbox: Outbox, last: Shown | None) -> None:
        """Add a client; it gets the newest result at once, if there is one."""
        self.outboxes.append(outbox)
        self._newest = last
        self.want_key(outbox)

    def want_key(self, outbox: Outbox) -> None:
        """Send this client a key picture."""
        outbox.needs_key = outbox.missed = True
        self._changed.set()

    def leave(self, outbox: Outbox) -> bool:
        """Take a client out; whether any is left."""
        self.outboxes.remove(outbox)
        return bool(self.outboxes)

    async def close(self) -> None:
        """Stop, after the picture in hand."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wait()
            self._changed.clear()
            if self._newest is not None:
                await self._send(self._newest)

    async def _wait(self) -> None:
        """Wait for a new result, or for the time to send the last one again to who missed it."""
        patience = PATIENCE if any(outbox.missed for outbox in self.outboxes) else None
        with suppress(TimeoutError):  # wait_for can lose a cancellation, before Python 3.12
            async with asyncio.timeout(patience):
                await self._changed.wait()

    async def _send(self, shown: Shown) -> None:
        now = monotonic()
        ready = [outbox for outbox in self.outboxes if outbox.ready(now)]
        key = self._key_due(ready, now)
        takers = [outbox for outbox in ready if key or not outbox.needs_key]
        if any(outbox.missed for outbox in takers):
            await self._encode(shown, key, takers)

    def _key_due(self, ready: list[Outbox], now: float) -> bool:
        since, asked = now - self._key_at, any(outbox.needs_key for outbox in ready)
        return self.codec == "jpeg" or since >= KEYS or (asked and since >= KEYS_ASKED)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            logging.getLogger(__name__).error("a picture could not be encoded as %s", self.codec, exc_info=error)
            for outbox in self.outboxes:
                outbox.close(BROKEN, "a picture could not be encoded; try another codec")

    async def _encode(self, shown: Shown, key: bool, takers: list[Outbox]) -> None:
        loop = asyncio.get_running_loop()
        encoded = await loop.run_in_executor(self._pool, self._encoder.encode, shown.frame.pixels, key)
        if encoded.key:
            self._key_at = monotonic()
        self._done(len(encoded.payload))
        packet = Packet(self.codec, encoded.key, shown.sequence, shown.capture, shown.frame.version, encoded.payload)
        for outbox in self.outboxes:
            if outbox in takers:
                outbox.show(packet)
            else:
                outbox.needs_key = True
