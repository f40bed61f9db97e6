"""Pictures in and out: what enters lies where it lay, and what leaves is the host's own."""

import numpy as np
import pytest
import torch

from millstream.copies import BUFFERS, PinnedEntrance, aside, entrance, fetch

CPU = torch.device("cpu")
CARD = torch.device("cuda:0")
SLOW = 10_000_000  # clock cycles, about 5 ms
needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")


def pictures(count: int, seed: int) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 8, 12, 3), np.uint8))


@pytest.mark.parametrize("device", [CPU, pytest.param(CARD, marks=needs_card)])
def test_what_enters_lies_where_it_lay_and_beside_it_nothing_changes(device):
    place = entrance((3, 8, 12, 3), device)
    address = place.pixels.data_ptr()
    for seed in range(2 * BUFFERS + 1):
        whole, part = pictures(3, seed), pictures(2, seed + 100)
        place.take(whole)
        place.take(part)
        assert np.array_equal(place.pixels.cpu().numpy(), [*part, whole[2]])
    assert place.pixels.data_ptr() == address


@needs_card
@pytest.mark.parametrize("behind", ["upload", "tick"])
def test_a_picture_is_written_over_only_when_it_has_been_read(behind):
    """The host's buffer by the upload, and what the upload brought by the tick, whichever is slow."""
    place, ticks, seen = PinnedEntrance((1, 512, 512, 3), CARD), torch.cuda.Stream(), []
    with torch.cuda.stream(ticks):
        for level in range(1, 9):
            with torch.cuda.stream(aside(CARD, "up") if behind == "upload" else ticks):
                torch.cuda._sleep(SLOW)
            place.take([np.full((512, 512, 3), level, np.uint8)])
            seen.append(place.pixels.clone())
    ticks.synchronize()
    assert [int(each.min()) for each in seen] == [int(each.max()) for each in seen] == list(range(1, 9))


@needs_card
def test_an_upload_waits_for_no_tick_and_for_no_download():
    place, ticks = PinnedEntrance((1, 512, 512, 3), CARD), torch.cuda.Stream()
    with torch.cuda.stream(ticks):
        for clocks in (1, 1, 100 * SLOW):  # what takes memory for the first time may wait
            torch.cuda.synchronize()
            torch.cuda._sleep(clocks)
            fetch([torch.ones(5, device=CARD)])
            place.take([np.ones((512, 512, 3), np.uint8)])
            aside(CARD, "up").synchronize()
        assert not ticks.query()


def test_on_a_processor_nothing_is_copied():
    tensors = [torch.ones(3), torch.zeros(2, dtype=torch.uint8)]
    assert [each.data_ptr() for each in fetch(tensors)()] == [each.data_ptr() for each in tensors]


@needs_card
def test_what_leaves_a_card_is_pageable_and_complete():
    made = [torch.arange(5, device=CARD), torch.tensor(True, device=CARD)]
    with torch.cuda.stream(aside(CARD, "down")):
        torch.cuda._sleep(SLOW)
    wait = fetch(made)
    made[0].zero_()  # the next tick, before anything has come down
    more = [torch.full((5,), -1, device=CARD) for _ in range(100)]  # and what it takes memory for
    got = wait()
    assert got[0].tolist() == [0, 1, 2, 3, 4] and bool(got[1])
    assert not any(each.is_pinned() for each in got) and len(more) == 100
