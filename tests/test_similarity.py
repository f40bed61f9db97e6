"""The similarity filter: its rates against equation 9, and the points that the paper leaves open."""

from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
import torch

from millstream.core.similarity import SMALL, SimilarityFilter, shrink, similarity
from millstream.frame import Pixels

BASE, BRIGHT = 90, 255
FRAMES = 4000
ALWAYS = 10_000  # a max_skip that is never reached here


def patch(place: int, bright: int = BRIGHT) -> Pixels:
    """A grey picture with one of 64 places lit: any two of them have the same norm and the same similarity."""
    pixels = np.full((64, 64, 3), BASE, np.uint8)
    row, column = divmod(place % 64, 8)
    pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = bright
    return pixels


def cosine(u: Pixels, v: Pixels) -> float:
    p, q = u.astype(np.float64).ravel(), v.astype(np.float64).ravel()
    return float(p @ q / sqrt((p @ p) * (q @ q)))


def grey(value: int, height: int = 32, width: int = 32) -> Pixels:
    return np.full((height, width, 3), value, np.uint8)


def decisions(frames: list[Pixels], eta: float, max_skip: int = ALWAYS, seed: int = 0) -> list[bool]:
    each = SimilarityFilter(seed)
    return [each.skip(frame, eta, max_skip) for frame in frames]


@pytest.mark.parametrize("eta, bright", [(0.8, 255), (0.9, 200), (0.9, 255), (0.94, 255)])
def test_skip_rate_is_equation_9(eta: float, bright: int) -> None:
    """Within four standard errors of 4,000 draws: a right filter fails once in 16,000 seeds."""
    expected = max(0.0, (cosine(patch(0, bright), patch(1, bright)) - eta) / (1 - eta))
    assert 0 < expected < 0.9
    skipped = decisions([patch(k, bright) for k in range(FRAMES)], eta)
    assert not skipped[0]
    rate = sum(skipped) / FRAMES
    assert abs(rate - expected) < 4 * sqrt(expected * (1 - expected) / FRAMES)


@pytest.mark.parametrize("eta", [0.96, 0.98, 0.999])
def test_below_the_threshold_nothing_is_skipped(eta: float) -> None:
    assert cosine(patch(0), patch(1)) < eta
    assert not any(decisions([patch(k) for k in range(500)], eta))


def test_draws_are_independent_of_one_another() -> None:
    """How often one skip follows another is the rate itself, within four standard errors."""
    skipped = decisions([patch(k) for k in range(FRAMES)], 0.9)
    rate = sum(skipped) / FRAMES
    after = [second for first, second in pairwise(skipped) if first]
    assert abs(sum(after) / len(after) - rate) < 4 * sqrt(rate * (1 - rate) / len(after))


@pytest.mark.parametrize("max_skip", [0, 1, 2, 7])
def test_fault_consecutive_skips_are_counted_and_not_all(max_skip: int) -> None:
    """On a still scene every (max_skip + 1)-th frame is processed, for ever."""
    skipped = decisions([patch(0)] * 60, 0.5, max_skip)
    assert skipped == [bool(k % (max_skip + 1)) for k in range(60)]


def test_a_frame_processed_by_chance_begins_the_count_anew() -> None:
    skipped = decisions([patch(k) for k in range(FRAMES)], 0.8, max_skip=3)
    runs = "".join("s" if skip else "." for skip in skipped).split(".")
    assert max(map(len, runs)) == 3
    assert {1, 2} <= {len(run) for run in runs}
    expected = (cosine(patch(0), patch(1)) - 0.8) / 0.2
    rate = len([run for run in runs[1:] if len(run) == 3]) / len(runs[1:])
    assert abs(rate - expected**3) < 4 * sqrt(expected**3 * (1 - expected**3) / len(runs))


def test_fault_a_fade_to_black_is_seen() -> None:
    """Its cosine is 1 throughout. What is skipped is never more than 1 - eta darker than what was processed."""
    eta, values = 0.9, [*range(255, -1, -1), 0, 0, 0]
    skipped = decisions([grey(value) for value in values], eta)
    shown = values[0]
    for value, skip in zip(values, skipped, strict=True):
        if skip:
            assert value >= eta * shown
        else:
            shown = value
    assert shown == 0  # black itself was processed
    assert skipped[-3:] == [True, True, True]
    assert sum(skipped) > 20


def test_a_fade_up_from_black_and_a_cut_are_seen() -> None:
    assert decisions([grey(0), grey(1), grey(2), grey(4)], 0.9) == [False] * 4
    assert decisions([grey(200), grey(200), grey(10), grey(200)], 0.9) == [False, True, False, False]


def test_the_reference_moves_only_to_processed_frames() -> None:
    """A slow drift never slips through: each frame is compared with the last one processed, not the one before."""
    values = list(range(250, 120, -1))
    frames = [grey(value) for value in values]
    assert all(later / earlier > 0.99 for earlier, later in pairwise(values))
    reference = frames[0]
    for frame, skip in zip(frames, decisions(frames, 0.98), strict=True):
        if skip:
            assert frame.max() / reference.max() > 0.98
        else:
            reference = frame


def test_a_reset_lets_the_next_frame_through() -> None:
    each = SimilarityFilter(0)
    assert [each.skip(patch(0), 0.5, 3) for _ in range(3)] == [False, True, True]
    each.reset()
    assert [each.skip(patch(0), 0.5, 3) for _ in range(5)] == [False, True, True, True, False]


def test_the_seed_decides_and_no_other_generator_is_touched() -> None:
    frames = [patch(k) for k in range(200)]
    before = torch.get_rng_state()
    first = decisions(frames, 0.9, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert decisions(frames, 0.9, seed=4) == first
    assert decisions(frames, 0.9, seed=5) != first


def test_two_filters_do_not_share_their_draws() -> None:
    frames = [patch(k) for k in range(200)]
    one, other = SimilarityFilter(4), SimilarityFilter(4)
    both = [(one.skip(frame, 0.9, ALWAYS), other.skip(frame, 0.9, ALWAYS)) for frame in frames]
    assert all(first == second for first, second in both)


@pytest.mark.parametrize("height, width", [(1, 1), (7, 300), (64, 64), (65, 64), (480, 640)])
def test_frames_are_compared_on_a_small_float32_copy(height: int, width: int) -> None:
    small = shrink(grey(51, height, width))
    assert small.dtype == torch.float32
    assert small.numel() == 3 * min(height, SMALL) * min(width, SMALL)
    assert torch.allclose(small, torch.tensor(0.2))


def test_a_large_picture_is_compared_as_its_small_copy_is() -> None:
    large = [np.repeat(np.repeat(patch(k), 4, axis=0), 3, axis=1) for k in range(2)]
    assert large[0].shape == (256, 192, 3)
    assert similarity(shrink(large[0]), shrink(large[1])) == pytest.approx(cosine(patch(0), patch(1)), abs=1e-4)


def test_views_with_odd_strides_are_read_as_they_are() -> None:
    wide = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    for view in (wide[:, ::-1], wide[::2], wide.transpose(1, 0, 2)):
        assert torch.equal(shrink(view), shrink(view.copy()))


@pytest.mark.parametrize("first, second", [((32, 64), (64, 32)), ((32, 32), (48, 32)), ((64, 64), (32, 32))])
def test_pictures_of_two_sizes_are_not_alike(first: tuple[int, int], second: tuple[int, int]) -> None:
    assert decisions([grey(9, *first), grey(9, *second), grey(9, *second)], 0.5) == [False, False, True]


def test_similarity_is_cosine_times_the_ratio_of_norms() -> None:
    u, v = torch.tensor([3.0, 4.0]), torch.tensor([8.0, 6.0])
    assert similarity(u, v) == pytest.approx(0.96 * 0.5)
    assert similarity(v, u) == pytest.approx(0.96 * 0.5)
    assert similarity(u, u) == pytest.approx(1.0)
    assert similarity(u, 0 * u) == similarity(0 * u, u) == 0.0
    assert similarity(0 * u, 0 * u) == 1.0


def test_a_picture_is_like_itself_to_float32() -> None:
    """To 1e-6, far below 1 - eta: at eta = 0.9999 an error of 2e-5 would process one still frame in five."""
    generator = np.random.default_rng(0)
    busy = [generator.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(20)]
    for pixels in [*busy, *[grey(value, 64, 64) for value in range(1, 256, 13)]]:
        u = shrink(pixels)
        assert similarity(u, u) == pytest.approx(1.0, abs=1e-6)
