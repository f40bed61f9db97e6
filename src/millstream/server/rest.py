"""The REST interface: what scripts, OBS and the page ask for outside a live connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from millstream.params import ModelConfig, Settings
from millstream.server import demo
from millstream.server.codecs import JpegEncoder
from millstream.server.fan import Closing, Outbox
from millstream.server.greeting import schemas
from millstream.server.protocol import GONE, MESSAGES, VERSION
from millstream.server.recordings import Kept, Kind, snapshot
from millstream.server.refused import RefusedError
from millstream.server.replies import REPLIES
from millstream.server.security import WATCHES
from millstream.server.services import Services
from millstream.server.sessions import Session

T = TypeVar("T")
BOUNDARY = "millstream"
PATIENCE = 10.0  # seconds that a recording may take to be completed
LATE = 504


class SessionInfo(BaseModel):
    """A session, as others see it."""

    id: str
    opened: bool
    settings: Settings
    version: int
    device: str
    clients: int
    controlled: bool
    recording: bool


class FileInfo(BaseModel):
    """A finished file."""

    kind: Kind
    name: str
    url: str
    bytes: int
    seconds: float | None = None


class Names(BaseModel):
    """What there is."""

    names: list[str]


class Saved(BaseModel):
    """The name that the server gave."""

    name: str


class Schemas(BaseModel):
    """JSON schemas: of the settings, and of the live connection's messages; `replies` are the server's."""

    version: int

    model: dict[str, Any]
    config: dict[str, Any]
    params: dict[str, Any]
    messages: dict[str, Any]
    replies: dict[str, Any]


class Done(BaseModel):
    """It was carried out."""

    ok: Literal[True] = True


class Problem(BaseModel):
    """Why it was not carried out, and the cure."""

    message: str


def services(request: Request) -> Services:
    """What the app was made with."""
    found: Services = request.app.state.services
    return found


def the_session(session: str, own: Annotated[Services, Depends(services)]) -> Session:
    """The session in the path."""
    return own.house.get(session)


Own = Annotated[Services, Depends(services)]
TheSession = Annotated[Session, Depends(the_session)]

router = APIRouter(prefix="/api/v1", responses={status: {"model": Problem} for status in (400, 404, 507)})


@router.get("/schema")
async def schema() -> Schemas:
    """The one schema, and those of the messages of both directions, of this version."""
    return Schemas(version=VERSION, **schemas(), messages=MESSAGES.json_schema(), replies=REPLIES.json_schema())


@router.get("/models")
async def models(own: Own) -> Names:
    """What `change` may name as model, the server's own first."""
    return Names(names=await _beside(own, own.house.shared.catalogue.names))


@router.get("/demo.webm")
async def demo_clip(own: Own) -> FileResponse:
    """The animated demo clip."""
    return FileResponse(await _beside(own, demo.clip, own.data / "clips"), media_type="video/webm")


@router.get("/presets")
async def presets(own: Own) -> Names:
    """The names of all presets."""
    return Names(names=await _beside(own, own.presets.names))


@router.get("/presets/{name}")
async def preset(name: str, own: Own) -> Settings:
    """One preset."""
    return await _beside(own, own.presets.load, name)


@router.put("/presets/{name}")
async def save_preset(name: Annotated[str, Field(max_length=200)], settings: Settings, own: Own) -> Saved:
    """Save settings; the server makes a name from the one given."""
    return Saved(name=await _beside(own, own.presets.save, name, settings))


@router.delete("/presets/{name}")
async def delete_preset(name: str, own: Own) -> Done:
    """Remove a preset."""
    await _beside(own, own.presets.delete, name)
    return Done()


@router.get("/sessions")
async def sessions(own: Own) -> list[SessionInfo]:
    """All sessions."""
    return [_info(session) for session in own.house.sessions.values()]


@router.post("/sessions", status_code=201, responses={503: {"model": Problem}})
async def open_session(own: Own, settings: Settings | None = None) -> SessionInfo:
    """Open a session; it waits for a client for a while. Its model is one of `models`."""
    wanted = settings or own.house.defaults
    if "model" not in wanted.model_fields_set:
        wanted = wanted.model_copy(update={"model": own.house.defaults.model})
    elif settings is not None:
        found = await _beside(own, own.house.shared.catalogue.resolve, wanted.model.model_dump(exclude_unset=True))
        wanted = wanted.model_copy(update={"model": ModelConfig.model_validate(found)})
    return _info(own.house.create(wanted))


@router.get("/sessions/{session}")
async def session_info(session: TheSession, request: Request) -> SessionInfo:
    """One session."""
    return _info(session, watches=WATCHES in request.scope)


@router.delete("/sessions/{session}")
async def end_session(session: TheSession, own: Own) -> Done:
    """End a session."""
    own.house.end(session, GONE, "the session was ended")
    return Done()


@router.get("/sessions/{session}/picture.jpg", responses={200: {"content": {"image/jpeg": {}}}})
async def picture(session: TheSession, own: Own) -> Response:
    """The newest result."""
    if session.last is None:
        raise RefusedError(404, "no picture yet; wait for the first one")
    encoded = await _beside(own, JpegEncoder().encode, session.last.frame.pixels, True)
    return Response(encoded.payload, media_type="image/jpeg")


@router.get("/sessions/{session}/stream.mjpg")
async def stream(session: TheSession) -> StreamingResponse:
    """All results, as a browser or OBS shows them in place of a picture."""
    if session.full:
        raise RefusedError(503, "this session has as many viewers as it may have; try again later")
    return _Stream(session)


@router.post("/sessions/{session}/snapshots", status_code=201)
async def take_snapshot(session: TheSession, own: Own) -> FileInfo:
    """Keep the newest result as a file."""
    if session.last is None:
        raise RefusedError(404, "no picture yet; wait for the first one")
    return _file(await _beside(own, snapshot, own.shelves["snapshot"], session.last.frame))


@router.post("/sessions/{session}/recordings", status_code=201)
async def record(session: TheSession, own: Own) -> Done:
    """Begin a recording."""
    recorded = await own.house.record(session)
    recorded.add_done_callback(asyncio.Future.exception)  # DELETE tells it, if anyone asks
    return Done()


@router.delete("/sessions/{session}/recordings", responses={status: {"model": Problem} for status in (409, 500, LATE)})
async def stop_recording(session: TheSession, own: Own) -> FileInfo:
    """End the recording; the answer comes when the file is complete."""
    if session.recording is None or session.recorded is None:
        raise RefusedError(404, "it is not recording")
    session.recording.stop()
    try:
        return _file(await asyncio.wait_for(asyncio.shield(session.recorded), PATIENCE))
    except TimeoutError:
        message = "the file is not complete yet; when it is, it stands in the list of recordings"
        raise RefusedError(LATE, message) from None


@router.get("/recordings")
async def recordings(own: Own) -> list[FileInfo]:
    """All recordings, newest first."""
    return [_file(kept) for kept in await _beside(own, own.shelves["recording"].files)]


@router.get("/recordings/{name}")
async def recording(name: str, own: Own) -> FileResponse:
    """One recording."""
    return await _download(own, "recording", name, "video/mp4")


@router.get("/snapshots")
async def snapshots(own: Own) -> list[FileInfo]:
    """All snapshots, newest first."""
    return [_file(kept) for kept in await _beside(own, own.shelves["snapshot"].files)]


@router.get("/snapshots/{name}")
async def snapshot_file(name: str, own: Own) -> FileResponse:
    """One snapshot."""
    return await _download(own, "snapshot", name, "image/png")


class _Stream(StreamingResponse):
    """JPEG pictures one after the other, for a client that has its place from here on."""

    def __init__(self, session: Session) -> None:
        self._session, self._outbox = session, Outbox(acknowledges=False)
        session.join(self._outbox, "jpeg")
        super().__init__(_parts(self._outbox), media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until one of both ends it, which may be before the first picture."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._session.leave(self._outbox, for_good=False)


async def _parts(outbox: Outbox) -> AsyncIterator[bytes]:
    while not isinstance(item := await outbox.take(), Closing):
        if not isinstance(item, str):
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(item.payload)}\r\n\r\n"
            yield head.encode() + item.payload + b"\r\n"


def _info(session: Session, watches: bool = False) -> SessionInfo:
    return SessionInfo(
        id=session.id,
        opened=session.opened.is_set(),
        settings=Settings.model_validate(session.settings_shown(watches)),
        version=session.version,
        device=session.device,
        clients=len(session.watchers),
        controlled=session.controller is not None,
        recording=session.recording is not None,
    )


def _file(kept: Kept) -> FileInfo:
    url = f"/api/v1/{kept.kind}s/{kept.name}"
    return FileInfo(kind=kept.kind, name=kept.name, url=url, bytes=kept.bytes, seconds=kept.seconds)


async def _download(own: Services, kind: Kind, name: str, media_type: str) -> FileResponse:
    return FileResponse(await _beside(own, own.shelves[kind].find, name), media_type=media_type, filename=name)


async def _beside(own: Services, work: Callable[..., T], *args: Any) -> T:
    """Run in the pool what reads files or encodes."""
    return await asyncio.get_running_loop().run_in_executor(own.house.shared.pool, work, *args)
