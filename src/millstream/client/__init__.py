"""A client of a millstream server: pictures from anywhere in, results out.

>>> with Client("http://127.0.0.1:7860").open(Settings(params=Params(prompt="frost"))) as stream:
...     for result in stream.run(camera):
...         show(result.pixels)
...         if result.id == 100:
...             stream.set(prompt="gold")
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from websockets.sync.client import connect

from millstream.client.faults import explained, refusal
from millstream.client.stream import LiveStream
from millstream.errors import MillstreamError
from millstream.params import Settings
from millstream.server.protocol import PATH, CodecName

__all__ = ["Client", "LiveStream"]

TIMEOUT = 30.0  # seconds to wait for an answer


class Client:
    """A server's address, and what opens it."""

    def __init__(self, url: str = "http://127.0.0.1:7860", token: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    @contextmanager
    def open(self, settings: Settings | None = None, codec: CodecName = "jpeg") -> Iterator["LiveStream"]:
        """Open a session and control it; it ends with the context. `settings` are the server's own by default.

        Raises BadInputError where the server refuses them, MillstreamError where it cannot be reached or is full.
        """
        body = None if settings is None else settings.model_dump(mode="json", exclude_unset=True)
        session = self.call("sessions", "POST", body)["id"]
        with self.join(session, "control", codec) as stream:
            yield stream

    @contextmanager
    def join(
        self, session: str, role: Literal["control", "view"] = "view", codec: CodecName = "jpeg"
    ) -> Iterator["LiveStream"]:
        """Watch a session, or take over its control. Raises MillstreamError."""
        address = f"{self._url.replace('http', 'ws', 1)}{PATH}?{urlencode({'session': session, 'role': role})}"
        with explained():
            line = connect(address, additional_headers=self._headers, compression=None, max_size=None)
        with line:
            stream = LiveStream(line, codec)
            try:
                yield stream
            finally:
                stream.close()

    def call(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Ask the REST interface below /api/v1; give the JSON that it answers. Raises MillstreamError."""
        return json.loads(self.fetch(path, method, body))

    def fetch(self, path: str, method: str = "GET", body: Any = None) -> bytes:
        """Ask the REST interface below /api/v1; give the bytes that it answers. Raises MillstreamError."""
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | {"Content-Type": "application/json"}
        request = Request(f"{self._url}/api/v1/{path}", data, headers, method=method)
        try:
            with urlopen(request, timeout=TIMEOUT) as answer:
                found: bytes = answer.read()
                return found
        except HTTPError as error:
            raise refusal(error.code, error.read()) from None
        except (URLError, TimeoutError) as error:
            raise MillstreamError(f"{self._url}: {getattr(error, 'reason', error)}; is the server running?") from None
