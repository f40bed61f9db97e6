"""Who may talk to the server: Host, Origin and token are checked before anything else; every answer is locked down.

Host guards against DNS rebinding: a page of another site that has its name point here still sends that name. Origin
guards WebSockets and changes, which browsers let any page begin. The token guards all where others can connect; a
viewer's token, made of it, opens one session to be watched, and nothing else.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from millstream.server.protocol import PATH

COOKIE = "millstream_token"
SAFE = {"GET", "HEAD", "OPTIONS"}
OPEN = re.compile(r"/(healthz|view|icon\.svg|(css|js|vendor)/.*)")  # without the token: they tell nothing
HOME = "/"
VIEWED = "/view"
WATCHED = re.compile(r"/api/v1/sessions/([^/]+)(/picture\.jpg|/stream\.mjpg)?")
WATCHES = "millstream.watches"  # in the scope of a connection that may watch and not control
INLINE_SCRIPT = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?", re.ASCII)

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), fullscreen=(self)",
}


class Guard:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp, names: Iterable[str], token: str | None, scripts: Iterable[str]) -> None:
        """`names` are hosts to answer to beside localhost and plain addresses; `scripts` hashes of inline scripts."""
        self._app, self._token = app, token
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}
        self._scripts = " ".join(f"'sha256-{digest}'" for digest in dict.fromkeys(scripts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        locked = self._locked(connection, send)
        refusal = self._refusal(connection)
        if refusal is None:
            await self._app(scope, receive, locked)
        elif scope["type"] == "websocket":
            await deny(WebSocket(scope, receive, locked), refusal)
        else:
            await refusal(scope, receive, locked)

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        host = connection.headers.get("host", "")
        if not self._known(host):
            return _refuse(403, "this server does not answer to that name; open it by its address or as localhost")
        if self._needs_origin(connection) and not _same_origin(connection.headers, host):
            return _refuse(403, "a page of another site may not do this")
        if self._token and not OPEN.fullmatch(connection.url.path) and not self._trusted(connection, self._token):
            if not self._watches(connection, self._token):
                return _refuse(401, "a token is needed; open the address that the server printed when it started")
            connection.scope[WATCHES] = True
        return None

    def _known(self, host: str) -> bool:
        if not HOST.fullmatch(host):
            return False
        name = (urlsplit(f"//{host}").hostname or "").lower()
        return name in self._names or _is_address(name)

    def _needs_origin(self, connection: HTTPConnection) -> bool:
        return connection.scope["type"] == "websocket" or connection.scope["method"] not in SAFE

    def _watches(self, connection: HTTPConnection, token: str) -> bool:
        """Whether the connection watches a session, and brings that one's viewer's token."""
        session = _watched(connection)
        return session is not None and self._trusted(connection, viewer_token(token, session))

    def _trusted(self, connection: HTTPConnection, token: str) -> bool:
        kind, _, bearer = connection.headers.get("authorization", "").partition(" ")
        offered = (
            bearer if kind.lower() == "bearer" else "",
            connection.query_params.get("token", ""),
            connection.cookies.get(COOKIE, ""),
        )
        # All three are compared, and in constant time.
        fitting = [secrets.compare_digest(text.encode(), token.encode()) for text in offered]
        return any(fitting)

    def _locked(self, connection: HTTPConnection, send: Send) -> Send:
        """A `send` that adds the security headers, and on a page that was opened with the token its cookie."""

        async def sending(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS | {"Content-Security-Policy": self._policy(connection)})
                headers.setdefault("Cache-Control", "no-store")
                if self._token and connection.url.path == HOME and message["status"] == 200:
                    headers.append("Set-Cookie", f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/")
            await send(message)

        return sending

    def _policy(self, connection: HTTPConnection) -> str:
        host = connection.headers.get("host", "")
        sockets = f" ws://{host} wss://{host}" if HOST.fullmatch(host) else ""  # older Safari: 'self' is http alone
        ancestors = "*" if connection.url.path == VIEWED else "'none'"
        return (
            f"default-src 'none'; script-src 'self' {self._scripts}; style-src 'self'; worker-src 'self'; "
            f"img-src 'self' blob: data:; media-src 'self' blob:; font-src 'self'; connect-src 'self'{sockets}; "
            f"manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
        )


async def deny(websocket: WebSocket, response: Response) -> None:
    """Answer a WebSocket's request with a plain response, before the connection stands."""
    await websocket.send_denial_response(response)
    await asyncio.sleep(0)  # uvicorn logs an error where the app returns before the connection is closed


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def viewer_token(token: str, session: str) -> str:
    """What opens one session to be watched; it is given away with a viewer's link."""
    return base64.urlsafe_b64encode(hmac.digest(token.encode(), session.encode(), "sha256")).decode()[:32]


def _watched(connection: HTTPConnection) -> str | None:
    """The session that a connection watches; None for all that does more, or something else."""
    if connection.scope["type"] == "websocket":
        query = connection.query_params
        return query.get("session") if connection.url.path == PATH and query.get("role") == "view" else None
    found = WATCHED.fullmatch(connection.url.path) if connection.scope["method"] in SAFE else None
    return found[1] if found else None


def inline_scripts(folder: Path) -> list[str]:
    """The SHA-256, in base64, of every script that stands in a page of `folder` itself."""
    texts = (page.read_text(encoding="utf-8") for page in sorted(folder.glob("*.html")))
    bodies = [body for text in texts for body in INLINE_SCRIPT.findall(text)]
    return [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies]


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to `host`."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(headers: Headers, host: str) -> bool:
    """Whether no browser asks, or a page that this server gave."""
    origin = headers.get("origin")
    return origin is None or (origin.partition("://")[0] in ("http", "https") and urlsplit(origin).netloc == host)


def _refuse(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)
