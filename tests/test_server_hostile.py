"""Five thousand messages that no honest client sends: the server refuses them, serves on, and keeps nothing."""

import asyncio
import http.client
import json
import logging
import os
import random
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import cycle
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed

from millstream.server.codecs import Encoded, encoder
from millstream.server.protocol import BAD, CODECS, FLOOD, GONE, HEADER, REPLACED, CodecName
from tests.serving import BRIEF, SMALL, Line, Running, picture, serve, wait_for

REFUSED = 5000  # by the server's own count: what is sent behind a close is not read
TOO_LONG, RESET = 1009, 1006  # a reset overtakes the close where the client is still sending what was too long
CLOSES = {
    GONE,
    TOO_LONG,
    BAD,
    FLOOD,
    REPLACED,
}  # of docs/protocol.md, but 1011 and idle: the engine and the hours are well
DAMAGED = 20  # pictures of each codec at the least, of those that had credit
MESSAGES = 200  # of one attack at most
REQUESTS = 20  # by REST, behind each attack
CREDIT = 0.5  # seconds to wait for one
FAULTS = ("uvicorn.error", "asyncio")  # the loggers of what nobody caught
SEED = int(os.environ.get("MILLSTREAM_HOSTILE_SEED", random.SystemRandom().randrange(2**32)))

pytestmark = pytest.mark.timeout(1800)

Make = Callable[[random.Random], str | bytes]
STRANGE: list[Any] = [
    None, True, -1, 0, 2**31, 2**64, 1e308, -0.0, "", "\0", "\ud800".encode("utf-8", "replace").decode(), "x" * 3000,
    [], {}, [[]], {"": {}}, "../../etc/passwd", "::", "a::nan", "a::-1", "<script>", ["a"] * 20, {"text": 1},
]  # fmt: skip
TYPES = ["hello", "set", "change", "ack", "key", "take", "record", "snapshot", "bye", "reset", "credit", "x", "", None]
FIELDS = [
    "prompt",
    "seed",
    "strength",
    "t_index",
    "max_age",
    "steps",
    "width",
    "height",
    "frame_buffer",
    "name",
    "lora",
]


def strange(rng: random.Random) -> Any:
    return rng.choice(STRANGE) if rng.random() < 0.7 else [rng.choice(STRANGE) for _ in range(rng.randrange(4))]


def noise(rng: random.Random) -> str:
    return "".join(
        chr(rng.choice([rng.randrange(32, 127), rng.randrange(160, 0xD7FF)])) for _ in range(rng.randrange(60))
    )


def any_json(rng: random.Random) -> str:
    return json.dumps({rng.choice(["v", "type", "id", noise(rng)]): strange(rng) for _ in range(rng.randrange(6))})


def nearly(rng: random.Random) -> str:
    """A message with the right fields, and wrong values in some."""
    values = {rng.choice(FIELDS): strange(rng) for _ in range(rng.randrange(3))}
    message = {"v": 1, "type": rng.choice(TYPES), "id": rng.randrange(100), "params": values, "config": values}
    message |= {"seq": strange(rng), "age_ms": strange(rng), "on": strange(rng), "model": values}
    keep = [key for key in message if key in ("v", "type") or rng.random() < 0.4]
    return json.dumps({key: message[key] for key in keep if key != "type" or message["type"] != "bye"})


def deep(rng: random.Random) -> str:
    depth = rng.randrange(1, 3000)
    return '{"v":1,"type":"set","id":1,"params":' + "[" * depth


def long(rng: random.Random) -> str:
    return " " * rng.randrange(SMALL.message, 4 * SMALL.message)


def bytes_of_nothing(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(200))


def headed(rng: random.Random) -> bytes:
    """A header that is nearly right before bytes that are no picture."""
    numbers = [rng.choice([1, 1, 1, rng.randrange(256)]), rng.choice([1, 1, 0]), rng.randrange(4), rng.randrange(3)]
    capture = rng.choice([0.0, float("nan"), float("inf"), -1e300, rng.random()])
    head = HEADER.pack(*numbers, rng.choice([0, 1, rng.randrange(50), 2**32 - 1]), capture, rng.randrange(2**32))
    return head + rng.randbytes(rng.randrange(300))


def damaged(rng: random.Random, codec: CodecName, data: bytes) -> bytes:
    """A true picture with some bytes changed, its size among them, or cut off."""
    found = bytearray(data)
    for _ in range(rng.randrange(1, 12)):
        found[rng.randrange(len(found))] = rng.randrange(256)
    size = {"jpeg": data.find(b"\xff\xc0") + 5, "vp8": 6}.get(codec)
    if size and rng.random() < 0.3:
        found[size : size + 4] = struct.pack(">HH", rng.randrange(2**16), rng.randrange(2**16))
    return bytes(found[: rng.randrange(1, len(found))] if rng.random() < 0.2 else found)


@cache
def clip(codec: CodecName) -> list[Encoded]:
    """A key picture and some that need the one before."""
    coder = encoder(codec)
    return [coder.encode(picture(k), k == 0) for k in range(8)]


MAKERS: list[Make] = [noise, any_json, nearly, nearly, nearly, deep, long, bytes_of_nothing, headed, headed]


class Attack:
    """One connection from its hello to its close; `code` is what the server closed it with."""

    def __init__(self, server: Running, rng: random.Random, codec: CodecName) -> None:
        self.server, self.codec = server, codec
        self.code = 0
        self.too_long = False  # whether the last message, which is too long, was begun
        self.credits = 0  # beyond the first: one for each picture that was admitted
        self._rng, self._sent, self._pictures = rng, -1, 0
        self._greets = rng.random() < 0.9

    def run(self) -> None:
        """Send until the server has had enough."""
        with Line(self.server, greet=False) as line:
            reader = threading.Thread(target=self._hear, args=(line,))
            reader.start()
            with suppress(ConnectionClosed):
                self._send(line)
            reader.join(60)
            assert not reader.is_alive()

    def _send(self, line: Line) -> None:
        if self._greets:
            line.say("hello", send=[self.codec], receive=[self.codec])
        for _ in range(MESSAGES):
            if self._greets and self._rng.random() < 0.1:
                self._show(line)
            line.socket.send(self._rng.choice(MAKERS)(self._rng))
            if self._rng.random() < 0.3:
                line.say("key")  # an honest one between: the count of faults in a row begins again
        self.too_long = True
        line.socket.send(bytes(SMALL.picture + HEADER.size + 1))  # which no count of faults forgives

    def _show(self, line: Line) -> None:
        """Send a picture of a clip, most often damaged, with a number that has credit."""
        end = monotonic() + CREDIT
        while line.upto <= self._sent:
            if monotonic() > end:  # what else was sent has used it up, or has ended the conversation
                return
            sleep(0.005)
        self._sent = line.upto
        true = clip(self.codec)[self._pictures % len(clip(self.codec))]
        self._pictures += 1
        payload = damaged(self._rng, self.codec, true.payload) if self._rng.random() < 0.8 else true.payload
        line.socket.send(HEADER.pack(1, 1, CODECS.index(self.codec), true.key, self._sent, 1.0, 0) + payload)

    def _hear(self, line: Line) -> None:
        try:
            while True:
                heard = line.hear("credit", "event")
                if heard["type"] == "credit":
                    self.credits += line.upto > 0
                elif heard["name"] == "control":  # by a `take`: pictures count from 0 again
                    self._sent = line.upto = -1
        except ConnectionClosed as closed:
            self.code = closed.rcvd.code if closed.rcvd else TOO_LONG if self.too_long else RESET


def ask(server: Running, rng: random.Random) -> int:
    """Ask the REST interface for something strange; the status of its answer."""
    place = rng.choice(["sessions", "presets", "snapshots", "recordings", "schema", "models", "", noise(rng)])
    parts = [place, *(str(strange(rng)) for _ in range(rng.randrange(3)))]
    body = rng.choice([any_json, nearly, deep, long, noise])(rng).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        kind = rng.choice(["application/json", "text/plain", noise(rng).encode("ascii", "ignore").decode()])
        path = "/api/v1/" + "/".join(quote(part, safe="./") for part in parts)
        with suppress(BrokenPipeError, ConnectionResetError):  # it may refuse a long body before that has come
            connection.request(rng.choice(["GET", "PUT", "POST", "DELETE"]), path[:4000], body, {"Content-Type": kind})
        return connection.getresponse().status
    finally:
        connection.close()


@contextmanager
def faults_logged() -> Iterator[list[logging.LogRecord]]:
    """What is logged meanwhile as an error: an exception that ended a conversation is seen nowhere else."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append  # type: ignore[method-assign]
    for name in FAULTS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield records
    finally:
        for name in FAULTS:
            logging.getLogger(name).removeHandler(handler)


def test_five_thousand_hostile_messages_break_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(tmp_path, BRIEF) as server:
        attack(server, capsys)


def attack(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f" MILLSTREAM_HOSTILE_SEED={SEED} ", end="", flush=True)
    house, rng = server.house, random.Random(SEED)
    wait_for(lambda: not house.sessions, 60)
    Attack(server, random.Random(0), "jpeg").run()  # threads of pools start when they are first needed
    ask(server, random.Random(0))
    wait_for(lambda: not house.sessions and house._supervisor.pid is not None, 60)
    before, pid, begun = held(server), house._supervisor.pid, house.tally.faults
    codes: Counter[int] = Counter()
    statuses: Counter[int] = Counter()
    credits: Counter[str] = Counter()
    with faults_logged() as records:
        turns = cycle(CODECS)
        while house.tally.faults - begun < REFUSED:
            wait_for(lambda: len(house.sessions) < BRIEF.sessions, 120)
            one = Attack(server, rng, next(turns))
            one.run()
            codes[one.code] += 1
            credits[one.codec] += one.credits
            statuses.update(ask(server, rng) for _ in range(REQUESTS))
        wait_for(lambda: not house.sessions, 120)
    assert [record.getMessage() for record in records] == []
    assert set(codes) <= CLOSES, codes
    assert all(status < 500 or status == 503 for status in statuses), statuses
    assert all(credits[codec] >= DAMAGED for codec in CODECS), credits
    assert house._supervisor.pid == pid
    with server.client.open() as stream:
        assert list(stream.run([picture(1)]))[-1].id == 0
    wait_for(lambda: not house.sessions, 60)
    wait_for(lambda: all(now <= then + 2 for now, then in zip(held(server), before, strict=True)), 60)


def held(server: Running) -> tuple[int, int, int]:
    """Tasks, threads and open files of the server."""

    async def count() -> int:
        return len(asyncio.all_tasks())

    tasks = asyncio.run_coroutine_threadsafe(count(), server.house._loop).result(60)
    return tasks, threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
