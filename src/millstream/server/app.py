"""The server, composed: the guard outside, then the live connection, the REST interface and the page."""

import os
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.datastructures import State
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from millstream.errors import MillstreamError
from millstream.params import Settings
from millstream.server import metrics
from millstream.server.catalogue import Catalogue
from millstream.server.house import House
from millstream.server.limits import Limits
from millstream.server.presets import Presets
from millstream.server.protocol import PATH
from millstream.server.recordings import Kind, Shelf
from millstream.server.refused import status_of
from millstream.server.rest import Own, router
from millstream.server.security import Guard, inline_scripts
from millstream.server.services import Services
from millstream.server.socket import live

if TYPE_CHECKING:  # torch
    from millstream.server.engines import Make

PAGE = Path(__file__).parent / "page"
THREADS = 4  # that decode and encode; more would only take turns at the processor
KINDS: tuple[Kind, ...] = ("recording", "snapshot")


class Health(BaseModel):
    """How the server is."""

    status: Literal["ok", "failed"]
    engine: str
    sessions: int
    version: str


class App:
    """The server as ASGI knows it."""

    def __init__(self, outermost: ASGIApp, state: State) -> None:
        self._outermost, self._state = outermost, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        await self._outermost(scope, receive, send)

    def end(self) -> None:
        """End all sessions, and with them the streams of their clients."""
        found: Services = self._state.services
        found.house.clear()


def create_app(  # noqa: PLR0913
    settings: Settings,
    data: Path,
    limits: Limits,
    token: str | None = None,
    names: Iterable[str] = (),
    *,
    make: "Make | None" = None,
) -> App:
    """The whole server as one ASGI app; its engine runs from the app's start to its end.

    `settings` are those of a new session, `data` the folder for presets, recordings and models. With `token` nobody is
    served without it; `names` are hosts to answer to beside localhost and plain addresses. `make` makes an engine of a
    model in the engine's process; by default it loads and runs it (see Engines).
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        shelves: dict[Kind, Shelf] = {kind: Shelf(kind, data, limits.disk // len(KINDS)) for kind in KINDS}
        with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1), "millstream-pictures") as pool:
            catalogue = Catalogue(data / "models", settings.model)
            house = House(settings, catalogue, shelves["recording"], pool, limits, make=make)
            app.state.services = Services(house, Presets(data / "presets", limits.presets), shelves, data, token)
            house.start()
            try:
                yield
            finally:
                await house.stop()

    app = FastAPI(
        title="millstream",
        version=version("millstream"),
        lifespan=lifespan,
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        max_body_size=limits.message,
    )
    app.include_router(router)
    _add_errors(app)
    _add_watch(app)
    _add_live(app)
    _add_page(app)
    return App(Guard(app, names, token, inline_scripts(PAGE)), app.state)


def _add_errors(app: FastAPI) -> None:
    """Answer what a user can mend in one line that names the cure."""

    async def refused(request: HTTPConnection, error: Exception) -> Response:
        assert isinstance(error, MillstreamError)
        return JSONResponse({"message": str(error)}, status_of(error))

    async def invalid(request: HTTPConnection, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:] if not isinstance(part, int))[:80]
        message = first["msg"].removeprefix("Value error, ")
        return JSONResponse({"message": f"{field}: {message}" if field else message, "field": field}, 422)

    app.add_exception_handler(MillstreamError, refused)
    app.add_exception_handler(RequestValidationError, invalid)


def _add_watch(app: FastAPI) -> None:
    @app.get("/healthz")
    async def health(own: Own, response: Response) -> Health:
        """Whether it serves; 503 where the engine has failed for good."""
        failed = own.house.engine.state == "failed"
        response.status_code = 503 if failed else 200
        engine, sessions = own.house.engine.state, len(own.house.sessions)
        status: Literal["ok", "failed"] = "failed" if failed else "ok"
        return Health(status=status, engine=engine, sessions=sessions, version=version("millstream"))

    @app.get("/metrics")
    async def figures(own: Own) -> Response:
        """Figures for Prometheus."""
        return Response(metrics.text(own.house), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _add_live(app: FastAPI) -> None:
    @app.websocket(PATH)
    async def connection(websocket: WebSocket) -> None:
        own: Services = websocket.app.state.services
        await live(websocket, own)


def _add_page(app: FastAPI) -> None:
    @app.get("/view", include_in_schema=False)
    async def view() -> Response:
        return FileResponse(PAGE / "view.html", headers={"Cache-Control": "no-cache"})

    app.mount("/", _Page(directory=PAGE, html=True))


class _Page(StaticFiles):
    """The page's files; a browser asks each time whether they have changed."""

    def file_response(self, *args: object, **options: object) -> Response:
        response = super().file_response(*args, **options)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response
