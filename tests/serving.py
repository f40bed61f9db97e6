"""A real server on a loopback port, for tests: uvicorn in a thread, the engine in its worker process."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any, Self
from urllib.parse import urlencode

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from millstream.client import Client
from millstream.frame import Pixels
from millstream.params import ModelConfig, Params, Settings, StreamConfig
from millstream.server.app import App, create_app
from millstream.server.codecs import encoder
from millstream.server.engines import Make
from millstream.server.house import House
from millstream.server.limits import Limits
from millstream.server.listen import listen
from millstream.server.protocol import PATH, Packet, pack, say, unpack
from millstream.server.replies import REPLIES
from millstream.server.run import Server
from tests import tiny

SIDE = 32


def settings(**config: Any) -> Settings:
    """The tiny model at 32x32 in eager, whose pictures come in milliseconds."""
    form = {"width": SIDE, "height": SIDE, "steps": 1, "backend": "eager"} | config
    model = ModelConfig(name=str(tiny.small()), device="cpu")
    return Settings(model=model, config=StreamConfig(**form), params=Params(prompt="a"))


SMALL = Limits(sessions=3, viewers=3, message=4096, picture=2**18, side=1024, pixels=2**20, grace=5.0, hello=5.0)
BRIEF = replace(SMALL, sessions=24, grace=0.5)  # where many come and go, none waits for those that went


@dataclass
class Running:
    """A running server."""

    port: int
    data: Path
    app: App
    token: str | None = None

    @property
    def house(self) -> House:
        return self.app._state.services.house

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> Client:
        return Client(self.url, self.token)


@contextmanager
def serve(
    data: Path,
    limits: Limits | None = None,
    token: str | None = None,
    with_settings: Settings | None = None,
    make: Make | None = None,
) -> Iterator[Running]:
    limits = limits or Limits()
    app = create_app(with_settings or settings(), data, limits, token, make=make)
    listener = listen("127.0.0.1", 0)
    server = Server(app, limits)
    thread = threading.Thread(target=server.run, args=([listener],), name="test-server")
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive())
        yield Running(listener.getsockname()[1], data, app, token)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


_open = ExitStack()


@cache
def closes_with(config: pytest.Config) -> None:
    """Stop the shared server at the end of the tests; at the interpreter's end its thread would be waited for."""
    config.add_cleanup(_open.close)


@cache
def shared() -> Running:
    """One server for all tests that need no other: its worker takes seconds to start."""
    folder = Path(_open.enter_context(TemporaryDirectory(prefix="millstream-serving-")))
    return _open.enter_context(serve(folder, SMALL))


class Line:
    """One live connection, message by message."""

    def __init__(self, server: Running, session: str = "new", role: str = "control", **hello: Any) -> None:
        token = hello.pop("token", server.token)
        query = urlencode({"session": session, "role": role} | ({"token": token} if token else {}))
        self.socket = connect(f"ws://127.0.0.1:{server.port}{PATH}?{query}", compression=None, max_size=None)
        self.upto = -1
        self.heard: set[str] = set()  # types of the messages
        if hello.pop("greet", True):
            self.say("hello", **({"send": ["jpeg"], "receive": ["jpeg"]} | hello))

    def say(self, type: str, **fields: Any) -> None:
        self.socket.send(say(type, **fields))

    def show(self, packet: Packet) -> None:
        self.socket.send(pack(packet))

    def hear(self, *types: str, seconds: float = 120.0) -> Any:
        """The next message of these types, or the next `picture`; others are passed over."""
        end = monotonic() + seconds
        while True:
            message = self.socket.recv(timeout=max(0.0, end - monotonic()))
            found = unpack(message) if isinstance(message, bytes) else self._read(message)
            if isinstance(found, dict) and found["type"] == "credit":
                self.upto = found["upto"]
            if (found["type"] if isinstance(found, dict) else "picture") in types:
                return found

    def _read(self, message: str) -> Any:
        """A message, which has to be one of the schema."""
        self.heard.add(REPLIES.validate_json(message).type)
        return json.loads(message)

    def result(self, sequence: int) -> Packet:
        """The result of this picture; where it is long in coming, that of an earlier one may come again before it."""
        while (found := self.hear("picture")).sequence < sequence:
            pass
        return found

    def credit(self, sequence: int = 0) -> None:
        """Wait until the picture of this number may be sent."""
        while self.upto < sequence:
            self.hear("credit")

    def event(self, name: str) -> Any:
        while (found := self.hear("event"))["name"] != name:
            pass
        return found

    def closed(self) -> int:
        """Read to the end; the close code."""
        try:
            while True:
                self.socket.recv(timeout=120)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()


def jpeg(k: int, sequence: int | None = None) -> Packet:
    payload = encoder("jpeg").encode(picture(k), True).payload
    return Packet("jpeg", True, k if sequence is None else sequence, 1000.0 * k, 0, payload)


def wait_for(condition: Any, seconds: float = 30.0) -> None:
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end, "it did not come to that in time"
        sleep(0.01)


def picture(k: int, side: int = SIDE) -> Pixels:
    """A smooth picture, another for each number."""
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(3 * x + k), np.cos(4 * y - k), np.sin(2 * (x + y) + 0.5 * k)]
    return np.rint(127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)
