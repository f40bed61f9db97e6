"""Five thousand messages that no honest client sends: the server refuses them, serves on, and keeps nothing."""

import asyncio
import json
import os
import random
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from millstream.server.protocol import HEADER
from tests.serving import SMALL, Line, closes_with, jpeg, picture, shared, wait_for

REFUSED = 5000  # by the server's own count: what is sent behind a close is not read
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


def damaged(rng: random.Random) -> bytes:
    """A true picture with some bytes changed, its size among them."""
    data = bytearray(HEADER.pack(1, 1, 0, 1, rng.randrange(40), 1.0, 0) + jpeg(rng.randrange(5)).payload)
    for _ in range(rng.randrange(1, 12)):
        data[rng.randrange(HEADER.size, len(data))] = rng.randrange(256)
    if rng.random() < 0.3:
        start = data.find(b"\xff\xc0")
        data[start + 5 : start + 9] = struct.pack(">HH", rng.randrange(2**16), rng.randrange(2**16))
    return bytes(data)


MAKERS: list[Make] = [noise, any_json, nearly, nearly, nearly, deep, long, bytes_of_nothing, headed, headed, damaged]


def test_five_thousand_hostile_messages_break_nothing(pytestconfig: pytest.Config) -> None:
    closes_with(pytestconfig)
    print(f"MILLSTREAM_HOSTILE_SEED={SEED}")
    house, rng = shared().house, random.Random(SEED)
    wait_for(lambda: not house.sessions, 60)
    with Line(shared()) as line:
        line.hear("welcome")
    wait_for(lambda: not house.sessions, 60)
    before, pid, begun = held(), house._supervisor.pid, house.tally.faults
    while house.tally.faults - begun < REFUSED:
        attack(rng)
        wait_for(lambda: len(house.sessions) < SMALL.sessions, 120)
    wait_for(lambda: not house.sessions, 120)
    assert house._supervisor.pid == pid
    with shared().client.open() as stream:
        assert list(stream.run([picture(1)]))[-1].id == 0
    wait_for(lambda: not house.sessions, 60)
    wait_for(lambda: all(now <= then + 2 for now, then in zip(held(), before, strict=True)), 60)


def attack(rng: random.Random) -> None:
    """Send until the server has had enough."""
    codec = rng.choice(["jpeg", "h264", "vp8"])
    with Line(shared(), greet=False) as line:
        reader = threading.Thread(target=drain, args=(line,))
        reader.start()
        with suppress(ConnectionClosed, OSError):
            if rng.random() < 0.9:
                line.say("hello", send=[codec], receive=[codec])
            for _ in range(1000):
                line.socket.send(rng.choice(MAKERS)(rng))
                if rng.random() < 0.3:
                    line.say("key")  # an honest one between: the count of faults in a row begins again
        line.socket.close()
        reader.join(60)
        assert not reader.is_alive()


def drain(line: Line) -> None:
    try:
        while True:
            line.socket.recv()
    except ConnectionClosed:
        return


def held() -> tuple[int, int, int]:
    """Tasks, threads and open files of the server."""

    async def count() -> int:
        return len(asyncio.all_tasks())

    tasks = asyncio.run_coroutine_threadsafe(count(), shared().house._loop).result(60)
    return tasks, threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
