"""One result to many clients: encoded once for each codec, the newest wins, and no delta without its key."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from millstream.frame import Frame
from millstream.server import fan as module
from millstream.server.codecs import decoder
from millstream.server.downlinks import Downlinks
from millstream.server.fan import MESSAGES, Closing, Fan, Outbox, Shown
from millstream.server.limits import Limits
from millstream.server.protocol import FLOOD, Packet
from tests.serving import picture


def packet(sequence: int, key: bool) -> Packet:
    return Packet("h264", key, sequence, 0.0, 0, b"x")


def shown(k: int) -> Shown:
    return Shown(Frame(k, picture(k), 0.0, 1), k, 1000.0 * k)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))


def test_the_newest_picture_wins_and_a_broken_chain_waits_for_a_key() -> None:
    async def work() -> None:
        outbox = Outbox()
        outbox.show(packet(0, True))
        assert await outbox.take() == packet(0, True)
        outbox.show(packet(1, False))
        outbox.show(packet(2, False))  # it hangs on the first, which gives way
        assert outbox.needs_key
        outbox.show(packet(3, True))
        assert not outbox.needs_key
        assert await outbox.take() == packet(3, True)
        outbox.show(packet(4, True))
        outbox.show(packet(5, True))
        assert await outbox.take() == packet(5, True)
        assert outbox.dropped == 2

    run(work)


def test_messages_go_first_and_the_end_last() -> None:
    async def work() -> None:
        outbox = Outbox()
        outbox.show(packet(0, True))
        outbox.close(4001, "idle")
        outbox.close(4002, "later")
        outbox.say("a")
        assert [await outbox.take() for _ in range(3)] == ["a", packet(0, True), Closing(4001, "idle")]

    run(work)


def test_a_client_that_reads_no_messages_is_closed() -> None:
    async def work() -> None:
        outbox = Outbox()
        for _ in range(MESSAGES + 1):
            outbox.say("x")
        for _ in range(MESSAGES + 1):
            await outbox.take()
        assert await outbox.take() == Closing(FLOOD, "too many messages wait to be read")

    run(work)


def test_a_client_that_is_behind_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)

    async def work() -> None:
        outbox, careless = Outbox(), Outbox(acknowledges=False)
        for each in (outbox, careless):
            for k in range(3):
                each.show(packet(k, True))
                await each.take()
        assert outbox.ready(100.4)
        assert not outbox.ready(100.6)
        assert careless.ready(100.6)
        assert outbox.acknowledged(1)
        assert not outbox.acknowledged(1)
        assert not outbox.ready(100.6)
        assert outbox.ready(102.1)  # it may have lost them: one picture, and again a wait
        outbox.acknowledged(2)
        assert outbox.ready(100.6)

    run(work)


def test_a_slow_client_beside_a_fast_one_gets_only_what_it_can_decode() -> None:
    async def work() -> None:
        encoded: list[int] = []
        fast, slow = Outbox(acknowledges=False), Outbox(acknowledges=False)
        received: dict[Outbox, list[Packet]] = {fast: [], slow: []}
        with ThreadPoolExecutor(1) as pool:
            fan = Fan("h264", pool, encoded.append)
            for outbox in received:
                fan.join(outbox, None)
            for k in range(40):
                fan.put(shown(k))
                received[fast].append(await fast.take())
                if k % 7 == 6:
                    received[slow].append(await slow.take())
                await asyncio.sleep(0.02)
            await fan.close()
        assert [each.sequence for each in received[fast]] == sorted(each.sequence for each in received[fast])
        assert received[fast][-1].sequence >= 38
        assert len(received[slow]) == 5
        assert any(each.key for each in received[slow][1:])  # it missed what lay between
        for packets in received.values():
            out = decoder("h264", Limits())
            for each in packets:
                assert np.abs(out.decode(each.payload).astype(int) - picture(each.sequence)).mean() < 12

    run(work)


def test_a_client_that_comes_late_gets_the_last_picture() -> None:
    async def work() -> None:
        late = Outbox()
        with ThreadPoolExecutor(1) as pool:
            fan = Fan("vp8", pool, lambda size: None)
            fan.join(late, shown(5))
            first = await late.take()
            assert first.key
            assert (first.sequence, first.capture, first.revision) == (5, 5000.0, 1)
            await fan.close()

    run(work)


def test_nothing_is_encoded_for_nobody() -> None:
    async def work() -> None:
        encoded: list[int] = []
        outbox = Outbox(acknowledges=False)
        with ThreadPoolExecutor(1) as pool:
            fan = Fan("jpeg", pool, encoded.append)
            fan.join(outbox, None)
            for k in range(5):
                fan.put(shown(k))
                await asyncio.sleep(0.05)
            assert len(encoded) == 1  # then its place was taken
            await fan.close()

    run(work)


def test_each_result_is_encoded_once_for_all_who_read_the_codec() -> None:
    async def work() -> None:
        encoded: list[int] = []
        outboxes = [Outbox(acknowledges=False) for _ in range(5)]
        with ThreadPoolExecutor(1) as pool:
            links = Downlinks(pool, encoded.append)
            for outbox in outboxes:
                links.join(outbox, "vp8", None)
            for k in range(4):
                links.put(shown(k))
                packets = [await outbox.take() for outbox in outboxes]
                assert all(packet is packets[0] for packet in packets)
            assert len(encoded) == 4
            for outbox in outboxes:
                links.leave(outbox)

    run(work)


def test_who_joins_after_an_encoder_has_failed_gets_pictures() -> None:
    async def work() -> None:
        first, second = Outbox(), Outbox()
        with ThreadPoolExecutor(1) as pool:
            links = Downlinks(pool, lambda size: None)
            links.join(first, "jpeg", None)
            links.put(Shown(Frame(0, np.zeros(3), 0.0, 1), 0, 0.0))  # no picture
            assert isinstance(await first.take(), Closing)
            links.join(second, "jpeg", shown(1))
            assert (await second.take()).sequence == 1
            links.leave(first)
            links.put(shown(2))
            assert (await second.take()).sequence == 2
            links.want_key(second)
            links.leave(second)
            assert len(links) == 0

    run(work)


@pytest.mark.parametrize("turns", range(6))
def test_it_ends_however_near_a_new_picture_the_end_comes(turns: int) -> None:
    async def work() -> None:
        with ThreadPoolExecutor(1) as pool:
            fan = Fan("jpeg", pool, lambda size: None)
            fan.join(Outbox(), None)  # one that has missed a picture: it waits with a limit
            await asyncio.sleep(0.01)
            fan.put(shown(0))
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(fan.close(), 5)
            assert fan.failed

    run(work)
