"""What a controller sends: its pictures are given credit, decoded and stamped, and their ages measured."""

import asyncio
from concurrent.futures import Executor
from time import monotonic

from millstream.errors import BadInputError
from millstream.frame import Frame, Pixels
from millstream.params import StreamConfig
from millstream.server.codecs import decoder
from millstream.server.fan import Outbox
from millstream.server.limits import Limits
from millstream.server.pace import Pace
from millstream.server.protocol import FLOOD, CodecName, Packet, ProtocolError, say
from millstream.server.transit import Stamp, Transit


class Uplink:
    """The pictures of one controller, from its first credit to the day it leaves."""

    def __init__(self, outbox: Outbox, codec: CodecName, config: StreamConfig, pool: Executor, limits: Limits) -> None:
        self.outbox, self.codec = outbox, codec
        self.transit = Transit()
        self._pace = Pace(config.steps, config.frame_buffer, 1 / limits.rate)
        self._pool, self._limits = pool, limits
        self._decoder = decoder(codec, limits)
        self._whole = False  # whether a picture that needs the one before can be decoded
        self._newest = -1
        self._overrun = 0
        self._closed = False

    def begin(self) -> None:
        """Grant the first picture."""
        self._credit(self._pace.begin(monotonic()))

    def close(self) -> None:
        """Grant no more."""
        self._closed = True

    async def receive(self, packet: Packet) -> tuple[Pixels, Stamp] | None:
        """Decode a picture in the pool; None where it came without credit, or hangs on one that is missing.

        Raises ProtocolError where it cannot be used.
        """
        if not self._admits(packet):
            return None
        now, follows = monotonic(), self._whole and packet.sequence == self._newest + 1
        self._newest = packet.sequence
        self._grant_at(packet.sequence, self._pace.arrived(packet.sequence, now))
        if not packet.key and not follows:
            self._whole = False
            self.outbox.say(say("key"))
            return None
        self._whole = True
        return await self._decode(packet), Stamp(packet.sequence, packet.capture, now)

    def finished(self, frame: Frame) -> Stamp | None:
        """The stamp of a result's source picture, and what its time in the engine teaches; None for another's."""
        now = monotonic()
        stamp, fresh = self.transit.leaves(frame.id, now)
        if stamp is not None and fresh:
            self._pace.finished(stamp.sequence, now - stamp.arrived, now)
        return stamp

    def reshape(self, steps: int, frames: int) -> None:
        """The stream runs other steps, or has another frame buffer."""
        self._pace.reshape(steps, frames)

    def _admits(self, packet: Packet) -> bool:
        if packet.codec != self.codec:
            raise ProtocolError(f"codec: this connection sends {self.codec}", "codec")
        if packet.sequence <= self._newest:
            raise ProtocolError(f"sequence: numbers rise (got {packet.sequence} behind {self._newest})", "sequence")
        if packet.sequence <= self._pace.upto:
            self._overrun = 0
            return True
        self._overrun += 1
        if self._overrun > self._limits.slowed_messages:
            self.outbox.close(FLOOD, "pictures without credit; wait for `credit`")
        return False

    async def _decode(self, packet: Packet) -> Pixels:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self._decoder.decode, packet.payload)
        except BadInputError as error:
            self._whole = False
            self._decoder = decoder(self.codec, self._limits)
            self.outbox.say(say("key"))
            raise ProtocolError(str(error), "payload") from None

    def _grant_at(self, sequence: int, when: float) -> None:
        asyncio.get_running_loop().call_later(max(0.0, when - monotonic()), self._grant, sequence)

    def _grant(self, sequence: int) -> None:
        if not self._closed:
            self._credit(self._pace.grant(sequence, monotonic()))

    def _credit(self, upto: int) -> None:
        self.outbox.say(say("credit", upto=upto))
