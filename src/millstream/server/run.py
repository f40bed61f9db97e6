"""The app under uvicorn."""

import socket

import uvicorn

from millstream.server.app import App
from millstream.server.limits import Limits
from millstream.server.protocol import HEADER

SECONDS_TO_END = 2  # that answers under way have after Ctrl-C


class Server(uvicorn.Server):
    """WebSockets without compression and with a bound; nothing of a request in a log, for it may carry the token."""

    def __init__(self, app: App, limits: Limits) -> None:
        self._streams = app
        super().__init__(
            uvicorn.Config(
                app,
                ws="websockets-sansio",
                ws_max_size=limits.picture + HEADER.size,
                ws_per_message_deflate=False,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=SECONDS_TO_END,
                lifespan="on",
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, which have no end of their own, before the answers under way are waited for."""
        self._streams.end()
        await super().shutdown(sockets)
