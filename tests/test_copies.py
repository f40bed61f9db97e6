"""Pictures in and out: what enters lies where it lay, and what leaves is the host's own."""

import numpy as np
import pytest
import torch

from millstream.copies import BUFFERS, PinnedEntrance, entrance, fetch

CPU = torch.device("cpu")
needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")


def pictures(count: int, seed: int) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 8, 12, 3), np.uint8))


@pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda:0"), marks=needs_card)])
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
def test_a_buffer_is_filled_again_only_when_the_card_has_read_it():
    place, waited = PinnedEntrance((1, 512, 512, 3), torch.device("cuda:0")), torch.cuda.Stream()
    levels = [np.full((512, 512, 3), level, np.uint8) for level in range(1, 9)]
    seen = []
    with torch.cuda.stream(waited):
        for level in levels:
            torch.cuda._sleep(10_000_000)  # the card is behind
            place.take([level])
            seen.append(place.pixels.clone())
    assert [int(each.min()) for each in seen] == [int(each.max()) for each in seen] == list(range(1, 9))


def test_on_a_processor_nothing_is_copied():
    tensors = [torch.ones(3), torch.zeros(2, dtype=torch.uint8)]
    assert [each.data_ptr() for each in fetch(tensors)()] == [each.data_ptr() for each in tensors]


@needs_card
def test_what_leaves_a_card_is_pageable_and_complete():
    made = [torch.arange(5, device="cuda"), torch.tensor(True, device="cuda")]
    wait = fetch(made)
    made[0].zero_()  # the card does one after the other
    got = wait()
    assert got[0].tolist() == [0, 1, 2, 3, 4] and bool(got[1])
    assert not any(each.is_pinned() for each in got)
