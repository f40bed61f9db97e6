"""Noise: honest to its seed, the same in any order of asking, and correlated as asked."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from millstream.core.noise import frame_noise, mix_noise, stage_noise
from millstream.errors import BadInputError
from millstream.params import Params, check

SMALL = (2, 3, 4)
LARGE = (4, 64, 64)
COUNT = 4 * 64 * 64
seeds = st.integers(0, 2**32 - 1)  # all that the schema lets through


def correlation(u: Tensor, v: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([u.flatten().double(), v.flatten().double()]))[0, 1])


@settings(max_examples=100, derandomize=True, database=None)
@given(seed=seeds, stages=st.integers(1, 6), more=st.integers(1, 4))
def test_noise_of_a_stage_does_not_depend_on_how_many_follow(seed: int, stages: int, more: int) -> None:
    few, many = stage_noise(seed, stages, SMALL), stage_noise(seed, stages + more, SMALL)
    assert few.shape == (stages, *SMALL) and few.dtype == torch.float32
    assert torch.equal(many[:stages], few)


@pytest.mark.parametrize("other", [3, 2 + 2**16, 2 + 2**31, 2**32 - 1])
def test_fault_every_seed_is_honoured(other: int) -> None:
    """In every bit that the schema lets through, for noise that is kept and for a frame's own."""
    assert not torch.equal(stage_noise(2, 1, SMALL), stage_noise(other, 1, SMALL))
    assert not torch.equal(frame_noise(2, 0, 0, SMALL), frame_noise(other, 0, 0, SMALL))
    assert torch.equal(stage_noise(other, 1, SMALL), stage_noise(other, 1, SMALL))


def test_fault_the_schema_lets_no_seed_through_that_would_be_cut() -> None:
    """Seeds that agree in their low 32 bits are one seed to torch's CPU generator."""
    assert torch.equal(stage_noise(2, 1, SMALL), stage_noise(2 + 2**32, 1, SMALL))
    assert check(Params, {"seed": 2**32 - 1}).seed == 2**32 - 1
    with pytest.raises(BadInputError, match="seed: Input should be less than 4294967296"):
        check(Params, {"seed": 2**32})


def test_the_global_generator_is_neither_used_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = stage_noise(7, 2, SMALL), frame_noise(7, 1, 1, SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert all(map(torch.equal, first, (stage_noise(7, 2, SMALL), frame_noise(7, 1, 1, SMALL))))


@settings(max_examples=50, derandomize=True, database=None)
@given(seed=seeds, order=st.permutations([(frame, stage) for frame in range(4) for stage in range(3)]))
def test_own_noise_is_the_same_in_any_order_of_asking(seed: int, order: list[tuple[int, int]]) -> None:
    asked = {place: frame_noise(seed, *place, SMALL) for place in order}
    for place in sorted(asked):
        assert torch.equal(asked[place], frame_noise(seed, *place, SMALL))


def test_own_noise_differs_between_frames_stages_and_seeds() -> None:
    drawn = [frame_noise(seed, frame, stage, SMALL) for seed in (1, 11) for frame in (0, 1, 11) for stage in (0, 1)]
    assert all(not torch.equal(u, v) for i, u in enumerate(drawn) for v in drawn[:i])


def test_ends_of_the_mixture_are_its_parts_to_the_bit() -> None:
    base, own = stage_noise(1, 1, SMALL)[0], frame_noise(1, 0, 0, SMALL)
    assert torch.equal(mix_noise(base, own, 1.0), base)
    assert torch.equal(mix_noise(base, own, 0.0), own)


@pytest.mark.parametrize("wanted", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_variance_is_one_and_correlation_between_frames_is_lambda(wanted: float) -> None:
    """Within four standard errors of 16,384 values: 4/sqrt(N), for the variance 4*sqrt(2/N)."""
    base = stage_noise(5, 2, LARGE)
    one, two = (mix_noise(base[1], frame_noise(5, frame, 1, LARGE), wanted) for frame in (10, 11))
    bound = 4 / COUNT**0.5
    for each in (one, two):
        assert abs(float(each.mean())) < bound
        assert abs(float(each.var()) - 1) < bound * 2**0.5
    assert abs(correlation(one, two) - wanted) < bound


def test_stages_and_own_noise_are_uncorrelated() -> None:
    base = stage_noise(5, 3, LARGE)
    own = [frame_noise(5, 0, stage, LARGE) for stage in range(3)]
    drawn = [*base, *own]
    for i, u in enumerate(drawn):
        for v in drawn[:i]:
            assert abs(correlation(u, v)) < 4 / COUNT**0.5


@pytest.mark.parametrize("drawn", ["kept", "own"])
def test_noise_is_gaussian(drawn: str) -> None:
    """Kolmogorov's distance over 16,384 values stays under its 0.9999 quantile, 2.23/sqrt(N)."""
    noise = stage_noise(3, 1, LARGE) if drawn == "kept" else frame_noise(3, 4, 5, LARGE)
    ordered = noise.flatten().double().sort().values
    steps = torch.arange(1, COUNT + 1, dtype=torch.float64) / COUNT
    distance = (torch.special.ndtr(ordered) - steps).abs().max()
    assert float(distance) < 2.23 / COUNT**0.5
