"""A server that speaks the page's protocol and sends every picture straight back: the transport without an engine."""

import asyncio
import base64
import hashlib
import io
import json
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import av
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

import millstream.server
from millstream.errors import BadInputError
from millstream.media.demo import draw
from millstream.params import ModelConfig, Params, StreamConfig, check

PAGE = Path(next(iter(millstream.server.__path__))) / "page"
HEADER = struct.Struct("<BBBBIdI")
FIELDS: dict[str, Any] = {"model": ModelConfig, "config": StreamConfig, "params": Params}


def policy() -> str:
    """The strictest content security policy under which the page has to work."""
    maps = re.findall(r'<script type="importmap">(.*?)</script>', (PAGE / "index.html").read_text(), re.DOTALL)
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in maps]
    scripts = " ".join(f"'sha256-{sum}'" for sum in sums)
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self'; img-src 'self'; media-src 'self' blob:; "
        "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@lru_cache
def demo_clip() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=15, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width = stream.height = 256
        for i in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw(0.2 + i / 20, 256, 256))))
        container.mux(stream.encode())
    return file.getvalue()


@dataclass
class Room:
    """One session: what it is set to, who watches, and what they were sent."""

    settings: dict[str, dict[str, Any]]
    revision: int = 1
    controller: WebSocket | None = None
    viewers: list[WebSocket] = field(default_factory=list)
    recording: bool = False
    stalled: bool = False  # what the engine says of the source; a change then shows on its last picture
    last: bytes = b""
    delay: float = 0.0  # seconds before a picture is sent back
    think: float = 0.0  # seconds before parameters are answered
    build: float = 0.0  # seconds that a change takes, unless `released` is set before
    released: asyncio.Event = field(default_factory=asyncio.Event)
    change: asyncio.Task[None] | None = None
    newer: asyncio.Event = field(default_factory=asyncio.Event)  # set once another takes the place of this change
    coming: dict[str, dict[str, Any]] = field(default_factory=dict)  # what the change under way brings

    @property
    def building(self) -> bool:
        return self.change is not None and not self.change.done()

    @property
    def sockets(self) -> list[WebSocket]:
        return [*([self.controller] if self.controller else []), *self.viewers]


class Echo:
    """Sessions by id; `full` refuses all before they are accepted, `locked` those without a token, which are all."""

    def __init__(self) -> None:
        self.rooms: dict[str, Room] = {}
        self.presets: dict[str, Any] = {}
        self.full = self.locked = False
        self.pause = False  # hears and says nothing, as behind a network that is gone
        self.blank = False  # takes pictures in and gives none
        self.remarks: dict[str, str] = {}  # what is said of a prompt
        self.refusals: dict[str, str] = {}  # said of no field, where this one is to be changed
        self.codecs = ("h264", "vp8", "jpeg")
        self.size = [256, 256]
        self.heard: list[dict[str, Any]] = []
        self.received: list[int] = []  # codec numbers of the pictures that came

    def app(self) -> Starlette:
        api = "/api/v1"
        return Starlette(
            routes=[
                Route("/", self.index),
                Route("/view", self.view),
                Route(f"{api}/demo.webm", self.demo),
                Route(f"{api}/sessions", self.sessions),
                Route(f"{api}/sessions/{{id}}", self.session),
                Route(f"{api}/models", self.models),
                Route(f"{api}/presets", self.list_presets),
                Route(f"{api}/presets/{{name}}", self.preset, methods=["GET", "PUT", "DELETE"]),
                Route(f"{api}/snapshots/a.jpg", self.demo),
                WebSocketRoute(f"{api}/live", self.live),
                Mount("/", StaticFiles(directory=PAGE)),
            ]
        )

    async def index(self, request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"content-security-policy": policy()})

    async def view(self, request: Request) -> Response:
        return FileResponse(PAGE / "view.html", headers={"content-security-policy": policy()})

    async def demo(self, request: Request) -> Response:
        return Response(await asyncio.to_thread(demo_clip), media_type="video/webm")

    async def sessions(self, request: Request) -> Response:
        return JSONResponse({"sessions": list(self.rooms)}, 401 if self.locked else 200)

    async def session(self, request: Request) -> Response:
        return JSONResponse({}, 200 if request.path_params["id"] in self.rooms else 404)

    async def models(self, request: Request) -> Response:
        return JSONResponse({"names": ["embedded"]})

    async def list_presets(self, request: Request) -> Response:
        return JSONResponse({"names": sorted(self.presets)})

    async def preset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if request.method == "PUT":
            self.presets[name] = await request.json()
        elif request.method == "DELETE":
            del self.presets[name]
        return JSONResponse(self.presets.get(name, {}))

    async def live(self, socket: WebSocket) -> None:
        id, role = socket.query_params["session"], socket.query_params["role"]
        self.loop = asyncio.get_running_loop()
        known = id in self.rooms or id == "new"
        if self.full or self.locked or not known:
            status = 503 if self.full else 401 if self.locked else 404
            return await socket.send_denial_response(Response(status_code=status))
        if id == "new":
            id = uuid4().hex
            self.rooms[id] = Room(self.defaults())
        await socket.accept()
        room = self.rooms[id]
        beat = asyncio.create_task(self.beat(socket, room))
        try:
            await self.welcome(socket, id, role, room)
            await self.serve(socket, room)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            beat.cancel()
            room.controller = None if room.controller is socket else room.controller
            room.viewers = [viewer for viewer in room.viewers if viewer is not socket]

    async def beat(self, socket: WebSocket, room: Room) -> None:
        while True:
            await asyncio.sleep(1)
            if not self.pause:
                await say(socket, "stats", **STATS | {"stalled": room.stalled, "building": room.building})

    def release(self, room: Room) -> None:
        """Let what is being built be done. From another thread."""
        self.loop.call_soon_threadsafe(room.released.set)

    def end(self, code: int) -> None:
        """Close every connection. From another thread."""
        for socket in [socket for room in self.rooms.values() for socket in room.sockets]:
            asyncio.run_coroutine_threadsafe(socket.close(code), self.loop).result(10)

    def tell(self, type: str, **fields: Any) -> None:
        """Say the same to all. From another thread."""
        for socket in [socket for room in self.rooms.values() for socket in room.sockets]:
            asyncio.run_coroutine_threadsafe(say(socket, type, **fields), self.loop).result(10)

    def defaults(self) -> dict[str, dict[str, Any]]:
        settings = {name: kind().model_dump(mode="json") for name, kind in FIELDS.items()}
        settings["config"] |= {"width": self.size[0], "height": self.size[1]}
        return settings

    async def welcome(self, socket: WebSocket, id: str, role: str, room: Room) -> None:
        hello = json.loads(await socket.receive_text())
        self.heard.append(hello)
        while self.pause:
            await asyncio.sleep(0.05)
        send = next(codec for codec in hello["send"] if codec in self.codecs)
        schema = {name: kind.model_json_schema() for name, kind in FIELDS.items()}
        await say(socket, "welcome", session=id, role=role, send=send, receive=send, size=self.size, device="cpu",
                  backend="echo", settings=room.settings, schema=schema, limits={}, version=room.revision,
                  recording=room.recording)  # fmt: skip
        if role == "control":
            await self.take(socket, room)
        else:
            room.viewers.append(socket)

    async def take(self, socket: WebSocket, room: Room) -> None:
        before, room.controller = room.controller, socket
        room.viewers = [viewer for viewer in room.viewers if viewer is not socket]
        if before is not None:
            room.viewers.append(before)
            await say(before, "event", name="viewer", message="another client has taken over")
        await say(socket, "credit", upto=1)

    async def serve(self, socket: WebSocket, room: Room) -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes"):
                await self.picture(socket, message["bytes"], room)
            else:
                await self.hear(socket, json.loads(message["text"]), room)

    async def picture(self, socket: WebSocket, data: bytes, room: Room) -> None:
        _, _, codec, _, sequence, _, _ = HEADER.unpack_from(data)
        if self.pause or socket is not room.controller:
            return
        self.received.append(codec)
        await asyncio.sleep(room.delay)
        await say(socket, "credit", upto=sequence + 2)
        if self.blank:
            return
        room.last = data
        await self.show(room)

    async def show(self, room: Room) -> None:
        version, kind, codec, flags, sequence, capture, _ = HEADER.unpack_from(room.last)
        head = HEADER.pack(version, kind, codec, flags, sequence, capture, room.revision)
        for viewer in room.sockets:
            with suppress(WebSocketDisconnect, RuntimeError):  # one that has just left
                await viewer.send_bytes(head + room.last[HEADER.size :])

    async def hear(self, socket: WebSocket, message: dict[str, Any], room: Room) -> None:
        self.heard.append(message)
        match message["type"]:
            case "set":
                await self.set(socket, message, room)
            case "change":
                await self.change(socket, message, room)
            case "snapshot":
                await say(socket, "file", id=message["id"], kind="snapshot", name="a.jpg", bytes=51234,
                          url="/api/v1/snapshots/a.jpg")  # fmt: skip
            case "record":
                await self.record(socket, message, room)
            case "take":
                await say(socket, "event", name="control")
                await self.take(socket, room)

    async def record(self, socket: WebSocket, message: dict[str, Any], room: Room) -> None:
        room.recording = message["on"]
        await say(socket, "event", name="recording" if message["on"] else "recorded")
        if message["on"]:
            await say(socket, "ack", id=message["id"], rev=room.revision)
        else:
            await say(socket, "file", id=message["id"], kind="recording", name="a.mp4", bytes=912345, seconds=4.0,
                      url="/api/v1/snapshots/a.jpg")  # fmt: skip

    async def set(self, socket: WebSocket, message: dict[str, Any], room: Room) -> None:
        await asyncio.sleep(room.think)
        if not await self.accepts(socket, message, room, {"params": message["params"]}):
            return
        for prompt in message["params"].get("prompt", []):
            if remark := self.remarks.get(prompt["text"]):
                await say(socket, "event", name="said", message=remark)
        await self.put(socket, message, room, {"params": message["params"]})

    async def change(self, socket: WebSocket, message: dict[str, Any], room: Room) -> None:
        """Carried out after a while; a newer one takes its place, and brings what it was to bring."""
        before = room.coming if room.building else {}
        changes = {part: before.get(part, {}) | message.get(part, {}) for part in FIELDS}
        if not await self.accepts(socket, message, room, changes):
            return
        if room.change is not None:
            room.newer.set()
            await asyncio.wait([room.change])  # it is answered, also where it was just built
        room.coming, room.newer = changes, asyncio.Event()
        room.change = asyncio.create_task(self.build(socket, message, room, changes))

    async def build(
        self, socket: WebSocket, message: dict[str, Any], room: Room, changes: dict[str, dict[str, Any]]
    ) -> None:
        for other in room.sockets:
            own = {"id": message["id"]} if other is socket else {}
            await say(other, "building", **own, what=", ".join(name for part in changes.values() for name in part))
        ends = [asyncio.create_task(event.wait()) for event in (room.released, room.newer)]
        await asyncio.wait(ends, timeout=room.build, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        if room.newer.is_set():
            with suppress(WebSocketDisconnect, RuntimeError):
                await say(socket, "error", id=message["id"], message="a newer change has taken the place of this one")
            return
        await self.put(socket, message, room, changes)

    async def accepts(
        self, socket: WebSocket, message: dict[str, Any], room: Room, changes: dict[str, dict[str, Any]]
    ) -> bool:
        try:
            for part, values in changes.items():
                for name in self.refusals.keys() & values.keys():
                    raise BadInputError(self.refusals[name])
                check(FIELDS[part], room.settings[part] | values)
        except BadInputError as error:
            name = str(error).split(":")[0]
            known = {"field": name} if name in {key for values in changes.values() for key in values} else {}
            await say(socket, "error", id=message["id"], **known, message=str(error))
            return False
        return True

    async def put(
        self, socket: WebSocket, message: dict[str, Any], room: Room, changes: dict[str, dict[str, Any]]
    ) -> None:
        for part, values in changes.items():
            room.settings[part] = check(FIELDS[part], room.settings[part] | values).model_dump(mode="json")
        room.revision += 1
        self.size = [room.settings["config"]["width"], room.settings["config"]["height"]]
        rebuilt = message["type"] == "change"
        for other in room.sockets:
            own = {"id": message["id"]} if other is socket else {}
            await say(other, "ack", **own, rev=room.revision, rebuilt=rebuilt, **room.settings)
        if room.stalled:
            await self.show(room)


STATS = {
    "fps_in": 29.8, "fps_out": 29.6, "age_ms": {"p50": 18.0, "p95": 27.0, "p99": 31.0}, "skipped": 0, "dropped": 3,
    "aged": 0, "backend": "openvino", "device": "cpu", "memory": 1_840_000_000, "steps": 2, "width": 256,
    "height": 256, "traded": ["steps 2 -> 1"], "viewers": 1, "building": False,
}  # fmt: skip


async def say(socket: WebSocket, type: str, **fields: Any) -> None:
    await socket.send_text(json.dumps({"v": 1, "type": type, **fields}))


@contextmanager
def serving(echo: Echo, port: int = 0) -> Iterator[int]:
    """Run it in a thread; give its port."""
    config = uvicorn.Config(echo.app(), host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)
    instance = uvicorn.Server(config)
    thread = threading.Thread(target=instance.run, daemon=True)
    thread.start()
    while not instance.started and thread.is_alive():
        threading.Event().wait(0.02)
    try:
        yield instance.servers[0].sockets[0].getsockname()[1]
    finally:
        instance.should_exit = True
        thread.join(timeout=10)
