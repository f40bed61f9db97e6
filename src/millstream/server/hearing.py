"""What a client says, in its order, and whether it is still there while the server waits for something else."""

import asyncio
from collections import deque
from typing import Any, NoReturn

from starlette.websockets import WebSocket, WebSocketDisconnect

from millstream.server.protocol import ProtocolError

KEPT = 4  # messages that may come before the server heeds them


class Hearing:
    """The messages of one WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._kept: deque[Any] = deque()

    async def next(self) -> Any:
        """The next message. Raises WebSocketDisconnect when the client has left."""
        return self._kept.popleft() if self._kept else await self._receive()

    async def until(self, event: asyncio.Event) -> None:
        """Wait for an event, and keep what is said meanwhile.

        Raises WebSocketDisconnect where the client leaves before, ProtocolError where it says too much.
        """
        tasks = waiting, keeping = asyncio.create_task(event.wait()), asyncio.create_task(self._keep())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                keeping.result()
        finally:
            waiting.cancel()
            keeping.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self) -> NoReturn:
        while True:
            message = await self._receive()
            if len(self._kept) == KEPT:
                raise ProtocolError("wait for `welcome` before you say more", "type")
            self._kept.append(message)

    async def _receive(self) -> Any:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        return message
