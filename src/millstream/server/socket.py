"""One live connection: what its client says is heeded in order, what waits for it is sent by a second task."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from time import monotonic
from typing import Any, Literal

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from millstream.errors import MillstreamError
from millstream.server.fan import Closing, Outbox
from millstream.server.greeting import choose, welcome
from millstream.server.hearing import Hearing
from millstream.server.protocol import (
    BAD,
    BROKEN,
    FLOOD,
    Ack,
    AnyMessage,
    Bye,
    Change,
    CodecName,
    Hello,
    Id,
    KeyWanted,
    Packet,
    ProtocolError,
    Record,
    Reset,
    Set,
    Snapshot,
    Take,
    pack,
    parse,
    say,
    unpack,
)
from millstream.server.recordings import Kept, snapshot
from millstream.server.refused import RefusedError
from millstream.server.security import WATCHES, deny, viewer_token
from millstream.server.services import Services
from millstream.server.sessions import Session
from millstream.server.throttle import Throttle

STUCK = 20.0  # seconds that a client may take to read one message
ROLES = ("control", "view")


async def live(websocket: WebSocket, own: Services) -> None:
    """Admit a client, or refuse it before the connection stands; then serve it to its end."""
    role, sid = websocket.query_params.get("role", "control"), websocket.query_params.get("session", "new")
    try:
        if role not in ROLES or (role == "view" and sid == "new"):
            raise RefusedError(400, "role: give control, or view and the session's id")
        session = own.house.admit(sid, role)
    except RefusedError as refusal:
        await deny(websocket, JSONResponse({"message": str(refusal)}, refusal.status))
        return
    conversation = Conversation(websocket, session, own)
    with suppress(WebSocketDisconnect):
        with session.expecting():
            await websocket.accept()
            welcomed = await conversation.begin(role)
        if welcomed:
            await conversation.run()


class Conversation:
    """One client and its session."""

    def __init__(self, websocket: WebSocket, session: Session, own: Services) -> None:
        self._websocket, self._session, self._own = websocket, session, own
        self._hearing = Hearing(websocket)
        self._house, self._shelves, self._limits = own.house, own.shelves, own.house.limits
        self._outbox = Outbox(watches=WATCHES in websocket.scope)
        self._throttle = Throttle(self._limits.messages, monotonic())
        self._faults = 0
        self._gone = False
        self._sends: CodecName | None = None
        self._aside: set[asyncio.Task[None]] = set()

    @property
    def _controls(self) -> bool:
        return self._session.controller is self._outbox

    async def begin(self, role: str) -> bool:
        """Hear hello, wait for the engine, say welcome; whether the client is there and welcome."""
        try:
            async with asyncio.timeout(self._limits.hello):
                hello = await self._hear_hello()
            receives = choose(hello.receive, "receive")
            self._sends = choose(hello.send, "send") if hello.send else None
            await self._wait_for_engine()
        except (ProtocolError, TimeoutError) as error:
            return await self._refuse(BAD, str(error) or "say hello first")
        if self._session.refusal:
            return await self._refuse(BROKEN, self._session.refusal)
        self._enter(role, receives)
        return True

    async def run(self) -> None:
        """Serve until the client or the server ends it."""
        tasks = [asyncio.create_task(work, name="millstream-live") for work in (self._write(), self._listen())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._session.leave(self._outbox, self._gone)
            for task in (*tasks, *self._aside):
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception) and not isinstance(error, WebSocketDisconnect | TimeoutError):
                raise error

    def _enter(self, role: str, receives: CodecName) -> None:
        greeting = welcome(self._session, self._viewers(), self._outbox.watches)
        self._outbox.say(say("welcome", role=role, send=self._sends, receive=receives, **greeting))
        self._session.join(self._outbox, receives)
        if role == "control":
            self._session.take(self._outbox, self._sends)
        if self._house.engine.state != "running":
            self._outbox.say(say("event", name=self._house.engine.state, **self._house.engine.told))

    def _viewers(self) -> str | None:
        """The token for a viewer's link: for all but those who came by one."""
        token = self._own.token
        return viewer_token(token, self._session.id) if token and not self._outbox.watches else None

    async def _hear_hello(self) -> Hello:
        message = await self._hearing.next()
        hello = parse(message.get("text") or "", self._limits.message)
        if not isinstance(hello, Hello):
            raise ProtocolError("type: say hello first", "type")
        return hello

    async def _wait_for_engine(self) -> None:
        if not self._session.opened.is_set():
            await self._websocket.send_text(say("building", what="the model is loaded"))
            await self._hearing.until(self._session.opened)

    async def _refuse(self, code: int, reason: str) -> Literal[False]:
        await self._websocket.send_text(say("error", message=reason))
        await self._websocket.close(code, reason[:100])
        return False

    # To the client

    async def _write(self) -> None:
        while True:
            item = await self._outbox.take()
            async with asyncio.timeout(STUCK):
                if isinstance(item, Closing):
                    await self._websocket.close(item.code, item.reason)
                    return
                try:
                    await self._send(item)
                except RuntimeError:  # uvicorn has closed by itself, as for a message that is too long
                    await asyncio.sleep(STUCK)  # `_listen` hears of it

    async def _send(self, item: str | Packet) -> None:
        if isinstance(item, str):
            await self._websocket.send_text(item)
        else:
            await self._websocket.send_bytes(pack(item))

    # From the client

    async def _listen(self) -> None:
        while True:
            message = await self._hearing.next()
            await self._slow_down()
            try:
                if await self._hear(message):
                    return
                self._faults = 0
            except ProtocolError as fault:
                self._complain(fault)

    async def _hear(self, message: Any) -> bool:
        """Heed one message; whether it was the last."""
        if message.get("bytes") is not None:
            await self._session.submit(self._outbox, unpack(message["bytes"]))
            return False
        return await self._heed(parse(message["text"], self._limits.message))

    async def _slow_down(self) -> None:
        delay = self._throttle.delay(monotonic())
        if self._throttle.slowed > self._limits.slowed_messages:
            self._outbox.close(FLOOD, "too many messages; send fewer")
        if delay:
            await asyncio.sleep(delay)

    def _complain(self, fault: ProtocolError) -> None:
        self._house.tally.faults += 1
        self._faults += 1
        fields = {name: value for name, value in (("id", fault.id), ("field", fault.field)) if value is not None}
        self._outbox.say(say("error", **fields, message=str(fault)))
        if self._faults >= self._limits.bad_messages:
            self._outbox.close(BAD, "too many faults in a row")

    async def _heed(self, message: AnyMessage) -> bool:
        match message:
            case Ack():
                self._session.acknowledged(self._outbox, message)
            case KeyWanted():
                self._session.watchers.want_key(self._outbox)
            case Bye():
                self._gone = True
            case Take():
                self._take()
            case Hello():
                raise ProtocolError("type: hello has been said", "type")
            case _:
                await self._steer(message)
        return self._gone

    def _take(self) -> None:
        if self._outbox.watches:
            message = "this link shows the stream; open the address that the server printed to control it"
            raise ProtocolError(message, "role")
        self._outbox.say(say("event", name="control"))
        self._session.take(self._outbox, self._sends)

    async def _steer(self, message: Set | Change | Record | Snapshot | Reset) -> None:
        if not self._controls:
            id = None if isinstance(message, Reset) else message.id
            raise ProtocolError("only the controller does that; `take` control first", "role", id)
        self._session.touch()
        match message:
            case Set():
                self._session.set(self._outbox, message)
            case Change():
                await self._session.change(self._outbox, message)
            case Record():
                await self._record(message)
            case Snapshot():
                self._beside(self._snapshot(message.id))
            case Reset():
                self._session.reset()

    # Files

    async def _record(self, message: Record) -> None:
        recording, recorded = self._session.recording, self._session.recorded
        if message.on:
            await self._begin_recording(message.id)
        elif recording is None or recorded is None:
            raise ProtocolError("on: it is not recording", "on", message.id)
        else:
            recorded.remove_done_callback(self._recorded)  # which tells of an end that nobody here has asked for
            recorded.add_done_callback(partial(self._recorded, id=message.id))
            recording.stop()

    async def _begin_recording(self, id: Id) -> None:
        try:
            kept = await self._house.record(self._session)
        except MillstreamError as error:
            raise ProtocolError(str(error), "on", id) from None
        kept.add_done_callback(self._recorded)
        self._outbox.say(say("ack", id=id, rev=self._session.version))

    def _recorded(self, kept: asyncio.Future[Kept], id: Id | None = None) -> None:
        error = kept.exception()
        if error is None:
            self._hand_over(kept.result(), id)
        else:
            self._fail(str(error), id)

    async def _snapshot(self, id: Id) -> None:
        loop, shown = asyncio.get_running_loop(), self._session.last
        try:
            if shown is None:
                raise ProtocolError("no picture yet; wait for the first one")
            kept = await loop.run_in_executor(self._house.shared.pool, snapshot, self._shelves["snapshot"], shown.frame)
        except MillstreamError as error:
            self._fail(str(error), id)
        else:
            self._hand_over(kept, id)

    def _hand_over(self, kept: Kept, id: Id | None) -> None:
        fields = {name: value for name, value in asdict(kept).items() if value is not None}
        own = {} if id is None else {"id": id}
        self._outbox.say(say("file", **own, **fields, url=f"/api/v1/{kept.kind}s/{kept.name}"))

    def _fail(self, message: str, id: Id | None) -> None:
        self._outbox.say(say("error", **({} if id is None else {"id": id}), message=message))

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
