"""One request to an ASGI app, without a socket."""

import asyncio
from typing import Any
from urllib.parse import urlsplit


def ask(
    app: Any, target: str = "/", method: str = "GET", kind: str = "http", **headers: str
) -> tuple[int, dict[str, str]]:
    """The status and the headers that the app answers; 101 where it accepts a WebSocket."""
    parts = urlsplit(target)
    names = {"host": "localhost:7860"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": kind,
        "method": method,
        "path": parts.path,
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in names.items()],
        "scheme": "http" if kind == "http" else "ws",
        "server": ("127.0.0.1", 7860),
        "extensions": {"websocket.http.response": {}},
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect" if kind == "websocket" else "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    first = sent[0]
    if first["type"] == "websocket.accept":
        return 101, {}
    return first["status"], {name.decode().lower(): value.decode() for name, value in first["headers"]}
