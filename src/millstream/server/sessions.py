"""One live session: its settings, who steers it, who watches it, and what it showed last."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from millstream.frame import Frame
from millstream.params import ModelConfig, Params, Settings, StreamConfig
from millstream.server import messages
from millstream.server.catalogue import Catalogue, without_folders
from millstream.server.downlinks import Downlinks
from millstream.server.fan import Outbox, Shown
from millstream.server.figures import Figures
from millstream.server.limits import Limits
from millstream.server.protocol import (
    BROKEN,
    MAX_SEQUENCE,
    REPLACED,
    Ack,
    Change,
    CodecName,
    Packet,
    ProtocolError,
    Set,
    say,
)
from millstream.server.recordings import Kept, Recording
from millstream.server.requests import Asker, Requests, check_fields, refuse
from millstream.server.supervisor import Supervisor
from millstream.server.uplink import Uplink


@dataclass(frozen=True)
class Shared:
    """What all sessions of a server have in common; pictures are decoded and encoded in the pool."""

    engine: Supervisor
    catalogue: Catalogue
    pool: Executor
    limits: Limits


class Session:
    """What the server knows of one stream. All of it runs on the event loop; nothing in it waits for the engine."""

    def __init__(self, sid: str, settings: Settings, shared: Shared) -> None:
        self.id, self.settings, self.limits = sid, settings, shared.limits
        self.version, self.device = 1, ""
        self.opened = asyncio.Event()
        self.refusal: str | None = None
        self.controller: Outbox | None = None
        self.figures = Figures()
        self.watchers = Downlinks(shared.pool, self.figures.encoded)
        self._cut_off = False  # whether a controller has left without a word and may come back
        self._expected = 0  # connections that were admitted and have not joined
        self._grace = self.limits.grace
        self.last: Shown | None = None
        self.recording: Recording | None = None
        self.recorded: asyncio.Future[Kept] | None = None  # what the recording becomes
        self._shared, self._engine = shared, shared.engine
        self._uplink: Uplink | None = None
        self._requests = Requests(shared.limits.requests)
        self._frames = 0
        self._touched = self._left = monotonic()
        self._engine.open(sid, settings)

    # Clients

    @property
    def full(self) -> bool:
        """Whether no more may watch."""
        return len(self.watchers) + self._expected >= self.limits.viewers

    @property
    def ends(self) -> str | None:
        """Why it ends now, or None: nobody has been there, or nothing has happened, for too long."""
        now = monotonic()
        empty = not len(self.watchers) and not self._expected
        loading = self._grace > 0 and not self.opened.is_set()
        if empty and not loading and now - self._left > self._grace:
            return "its last client has left"
        return "nothing has come for long" if now - self._touched > self.limits.idle else None

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Keep a place for a client that has connected and has not joined."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1
            self._await_return()

    def touch(self) -> None:
        """Somebody is there and does something."""
        self._touched = self._left = monotonic()

    def join(self, outbox: Outbox, codec: CodecName) -> None:
        """Begin to send to a client."""
        self.touch()
        self.watchers.join(outbox, codec, self.last)

    def leave(self, outbox: Outbox, for_good: bool) -> None:
        """Send no more to a client; the session waits for a while, unless the last one leaves for good.

        A viewer's leave does not end the wait for a controller that was cut off.
        """
        if outbox is self.controller:
            self._cut_off = not for_good
        self._await_return(for_good and not self._cut_off)
        self.watchers.leave(outbox)
        if outbox is self.controller:
            self.controller = None
            self._end_uplink()
            self.tell("event", name="away", message="the controller has left")

    def take(self, outbox: Outbox, codec: CodecName | None) -> None:
        """Make a client the controller; the one before becomes a viewer and is told so.

        `codec` is what it sends, None where it sends no pictures.
        """
        before, self.controller, self._cut_off = self.controller, outbox, False
        self._end_uplink()
        if before is not None and before is not outbox:
            before.say(say("event", name="viewer", message="another client has taken over"))
            if len(self.watchers) > self.limits.viewers:
                before.close(REPLACED, "another client has taken over, and no more may watch")
        self.watchers.forget()
        if codec is not None:
            self._uplink = Uplink(outbox, codec, self.settings.config, self._shared.pool, self.limits)
            self._uplink.begin()

    def tell(self, type: str, **fields: Any) -> None:
        """Say the same to every client."""
        self.watchers.say(say(type, **fields))

    def acknowledged(self, outbox: Outbox, ack: Ack) -> None:
        """A client has shown a picture."""
        if outbox.acknowledged(ack.seq):
            self.touch()
        if self._uplink and outbox is self.controller:
            self._uplink.transit.shown(ack.seq, ack.age_ms / 1000)

    def reset(self) -> None:
        """Forget the ages measured so far."""
        if self._uplink:
            self._uplink.transit.reset()

    def stats(self) -> dict[str, Any]:
        """The fields of a `stats` message."""
        ages = self._uplink.transit.ages if self._uplink else []
        return self.figures.read(ages, self.device, len(self.watchers))

    def close(self, code: int, reason: str) -> None:
        """Part with all clients and with the engine."""
        self.refusal = self.refusal or reason
        self.opened.set()
        self._end_uplink()
        self.watchers.close(code, reason)
        if self.recording:
            self.recording.stop()
        self._engine.close(self.id)

    # Pictures

    async def submit(self, outbox: Outbox, packet: Packet) -> None:
        """Take a picture of the controller: decoded in the pool, then left for the engine. Raises ProtocolError."""
        uplink = self._uplink
        if uplink is None or outbox is not self.controller:
            raise ProtocolError("a viewer sends no pictures; `take` control first", "role")
        self.touch()
        self.figures.arrived(len(packet.payload))
        received = await uplink.receive(packet)
        if received and uplink is self._uplink:  # else another has taken over meanwhile
            pixels, stamp = received
            self._engine.submit(self.id, Frame(self._frames, pixels, uplink.transit.enters(self._frames, stamp)))
            self._frames += 1

    def show(self, frame: Frame) -> None:
        """A result: to all who watch, and into the recording."""
        stamp = self._uplink.finished(frame) if self._uplink else None
        sequence, capture = (stamp.sequence, stamp.capture) if stamp else (frame.id & MAX_SEQUENCE, frame.time * 1000)
        self.last = Shown(frame, sequence, capture)
        self.figures.shown()
        self.watchers.put(self.last)
        if self.recording:
            self.recording.put(frame)

    # Changes

    def set(self, outbox: Outbox, wanted: Set) -> None:
        """Change parameters; answered when the engine has. Raises ProtocolError where the schema refuses them."""
        check_fields(Params, self.settings.params, wanted.params, wanted.id)
        number = self._requests.ask(outbox, wanted.id)
        self._engine.set(self.id, number, wanted.params, wanted.in_flight)

    async def change(self, outbox: Outbox, wanted: Change) -> None:
        """Change model or configuration; answered when the new one is shown. Raises ProtocolError."""
        check_fields(ModelConfig, self.settings.model, wanted.model or {}, wanted.id)
        check_fields(StreamConfig, self.settings.config, wanted.config, wanted.id)
        check_fields(Params, self.settings.params, wanted.params, wanted.id)
        model = await self._resolve(wanted) if wanted.model else None
        number = self._requests.ask(outbox, wanted.id)
        self._engine.change(self.id, number, model, wanted.config, wanted.params)

    async def _resolve(self, wanted: Change) -> dict[str, Any]:
        """Paths in place of the names; in the pool, for it looks into a folder."""
        loop, shared = asyncio.get_running_loop(), self._shared
        return await loop.run_in_executor(shared.pool, shared.catalogue.resolve, wanted.model or {}, wanted.id)

    # What the engine tells

    def told(self, event: messages.Event) -> None:
        """Carry out an event of this session, or of all."""
        match event:
            case messages.Picture():
                self.show(event.frame)
            case messages.Stats():
                self.figures.engine = event
                self._reshape(event.stats.steps)
            case messages.Opened():
                self._began(event)
            case messages.Answered():
                self._answered(event)
            case messages.Refused():
                self._refused(event)
            case messages.Building():
                self._building(event)
            case messages.Said():
                self.tell("event", name="said", message=event.message)
            case messages.Lost():
                self.tell("event", name="lost", reason=event.reason, message=messages.RESTARTED)
            case messages.Back():
                self.tell("event", name="back", seconds=event.seconds)
            case messages.Failed():
                self.tell("event", name="failed", message=event.message)

    def _began(self, event: messages.Opened) -> None:
        self.device = event.device
        again = self.opened.is_set()
        self._left = monotonic()
        self.opened.set()
        self._settle(event)
        self._reshape(event.config.steps)
        if again:
            self._tell_settings(None, traded=event.traded)

    def _answered(self, event: messages.Answered) -> None:
        self._settle(event)
        if event.rebuilt:
            self._reshape(event.config.steps)
        self.reset()
        self._tell_settings(self._requests.close(event.request), rebuilt=event.rebuilt)

    def _tell_settings(self, asked: Asker | None, **fields: Any) -> None:
        for outbox in self.watchers:
            own = {"id": asked.id} if asked and asked.outbox is outbox else {}
            outbox.say(say("ack", **own, rev=self.version, **self.settings_shown(outbox.watches), **fields))

    def _refused(self, event: messages.Refused) -> None:
        if event.request == messages.OPENING:
            self.refusal = event.message
            self.opened.set()
            self.tell("event", name="failed", message=event.message)
            self.watchers.close(BROKEN, "the session could not be opened")
        elif asked := self._requests.close(event.request):
            refuse(asked, event.message)

    def _building(self, event: messages.Building) -> None:
        asked = self._requests.asker(event.request)
        for outbox in self.watchers:
            own = {"id": asked.id} if asked and asked.outbox is outbox else {}
            outbox.say(say("building", **own, what=event.what))

    def _settle(self, event: messages.Opened | messages.Answered) -> None:
        self.version = event.version
        # What it came to: sizes and back end are filled in.
        self.settings = Settings(model=event.settings.model, config=event.config, params=event.params)

    def _reshape(self, steps: int) -> None:
        """Tell the pace how many steps are run: those asked for, and from the next figures on those not traded."""
        if self._uplink:
            self._uplink.reshape(steps, self.settings.config.frame_buffer)

    def settings_shown(self, watches: bool) -> dict[str, Any]:
        """Model, configuration and parameters, as JSON; `watches`: for who may only watch, without folders."""
        shown = self.settings.model_dump(mode="json")
        return shown | {"model": without_folders(shown["model"])} if watches else shown

    def _await_return(self, for_good: bool = False) -> None:
        """Wait for somebody from now on; where nothing was shown there is nothing to come back to."""
        self._left = monotonic()
        self._grace = 0.0 if for_good or self.last is None else self.limits.grace

    def _end_uplink(self) -> None:
        if self._uplink:
            self._uplink.close()
            self._uplink = None
