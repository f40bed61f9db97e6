"""Cross-frame attention: who attends to whom, and that it is the attention of each stream alone."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from millstream.core.crossframe import NEIGHBOUR_BIAS, NEIGHBOURS, gather, neighbours, token_bias
from millstream.core.guidance import Mode
from millstream.core.rows import Lane, Prepared
from millstream.core.tick import tick
from tests.oracle import MODES, Form, Setting, assert_close, drain, group_of, latents, open_lane, prepare

LEVELS = (700, 520, 330, 150)
Spec = tuple[Mode, int, int, bool, list[int]]  # guidance, stages, frames, cross-frame, sizes of the groups so far

MIXED: list[list[Spec]] = [
    [("none", 3, 2, True, [2, 2, 2])],
    [("none", 3, 2, True, [2, 1])],
    [("none", 4, 1, True, [1, 0, 1])],
    [("one-time-negative", 3, 2, True, [2, 1, 2])],
    [("full", 2, 2, True, [1, 2])],
    [("full", 2, 3, True, [2])],
    [("none", 2, 1, False, [1, 1]), ("none", 3, 2, True, [2, 2, 1])],
    [
        ("full", 2, 2, True, [2, 1]),
        ("none", 1, 3, False, [3]),
        ("one-time-negative", 3, 1, True, [1, 0, 1]),
        ("full", 2, 1, False, [1]),
        ("self-negative", 4, 2, True, [0, 0, 0, 0]),
    ],
]


def fill(spec: Spec) -> Lane[Any]:
    """A lane that has taken in groups of these sizes, the last of them just now; 0 is a bubble."""
    mode, stages, frames, cross_frame, sizes = spec
    prepared = prepared_for(mode, stages)
    lane = open_lane(Form(mode), prepared, frames, cross_frame)
    for now, size in enumerate(sizes):
        lane.admit(group_of(prepared, range(size), latents(frames, seed=now)) if size else None)
        if now + 1 < len(sizes):
            lane.advance(lane.rows.x, lane.rows.x.clone(), lane.rows.reference)
    return lane


def prepared_for(mode: Mode, stages: int) -> Prepared:
    return prepare(Form(mode), Setting(LEVELS[:stages]))


def expected_circles(specs: Sequence[Spec]) -> list[set[int]]:
    """For each row of the call, whom it attends to: read from the sizes of the groups, not from the lane."""
    circles: list[set[int]] = []
    for negative in (False, True):
        for mode, stages, frames, cross_frame, sizes in specs:
            depth = {"full": stages, "one-time-negative": 1}.get(mode, 0) if negative else stages
            newest_first = [*reversed(sizes), *[0] * stages][:depth]
            start = len(circles)
            present = {start + i * frames + j for i, size in enumerate(newest_first) for j in range(size)}
            rows = range(start, start + depth * frames)
            circles += [present if cross_frame and row in present else {row} for row in rows]
    return circles


def open_circles(conditioning: dict[str, Tensor]) -> list[list[int]]:
    index, bias = conditioning[NEIGHBOURS], conditioning[NEIGHBOUR_BIAS]
    assert index.shape == bias.shape
    assert set(bias.flatten().tolist()) <= {0.0, float("-inf")}
    return [index[row][bias[row] == 0].tolist() for row in range(len(index))]


@pytest.mark.parametrize("specs", MIXED)
def test_rows_attend_to_the_frames_of_their_own_stream(specs: list[Spec]) -> None:
    found = open_circles(neighbours([fill(spec) for spec in specs]))
    expected = expected_circles(specs)
    assert [set(circle) for circle in found] == expected
    assert [len(circle) for circle in found] == [len(circle) for circle in expected]  # none twice


@pytest.mark.parametrize("specs", MIXED)
def test_the_index_has_one_shape_however_full_a_stream_is_and_stays_in_range(specs: list[Spec]) -> None:
    conditioning, expected = neighbours([fill(spec) for spec in specs]), expected_circles(specs)
    index = conditioning[NEIGHBOURS]
    widest = max(stages * frames for _, stages, frames, cross_frame, _ in specs if cross_frame)
    assert index.shape == (len(expected), widest)
    assert int(index.min()) >= 0 and int(index.max()) < len(expected)
    padding = conditioning[NEIGHBOUR_BIAS] != 0
    assert torch.equal(index[padding], torch.arange(len(index))[:, None].expand_as(index)[padding])


def test_plain_streams_keep_the_networks_plain_form() -> None:
    assert neighbours([fill(("full", 2, 2, False, [2, 2])), fill(("none", 1, 1, False, [1]))]) == {}


def attention(x: Tensor, cond: dict[str, Tensor]) -> Tensor:
    """Self-attention over pixels, or over those of a row's neighbours. (rows, c, h, w) in and out."""
    query = x.flatten(2).transpose(1, 2)
    key, value, bias = query * 1.3, query.cos(), None
    if NEIGHBOURS in cond:
        key, value = (gather(each, cond[NEIGHBOURS]) for each in (key, value))
        bias = token_bias(cond[NEIGHBOUR_BIAS], query.shape[1]).to(query)
    mixed = scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], attn_mask=bias)
    return mixed[:, 0].transpose(1, 2).reshape(x.shape)


def brute_force(x: Tensor, circles: Sequence[set[int]]) -> Tensor:
    """Each row alone, with the tokens of its circle, by the definition of attention."""
    rows = []
    for row, circle in enumerate(circles):
        query = x[row].flatten(1).T
        others = torch.cat([x[other].flatten(1).T for other in sorted(circle)])
        weights = torch.softmax(query @ (1.3 * others).T / query.shape[1] ** 0.5, dim=1)
        rows.append((weights @ others.cos()).T.reshape(x[row].shape))
    return torch.stack(rows)


@pytest.mark.parametrize("specs", MIXED)
def test_attention_equals_that_of_each_stream_alone(specs: list[Spec]) -> None:
    circles = expected_circles(specs)
    x = latents(len(circles), seed=5)
    result = attention(x, neighbours([fill(spec) for spec in specs]))
    assert_close(result, brute_force(x, circles), tolerance=1e-12)


@pytest.mark.parametrize("specs", MIXED)
def test_what_lies_in_bubbles_reaches_no_frame(specs: list[Spec]) -> None:
    """Not even if it is no number."""
    circles = expected_circles(specs)
    conditioning = neighbours([fill(spec) for spec in specs])
    frames = sorted({row for spec_row, circle in enumerate(circles) for row in circle if len(circle) > 1})
    if not frames:
        return
    x = torch.full_like(latents(len(circles)), torch.nan)
    x[frames] = latents(len(frames), seed=5)
    assert bool(torch.isfinite(attention(x, conditioning)[frames]).all())


def test_one_row_is_plain_self_attention() -> None:
    x = latents(1)
    assert_close(attention(x, neighbours([fill(("none", 1, 1, True, [1]))])), attention(x, {}), tolerance=1e-12)


def test_equal_rows_are_plain_self_attention() -> None:
    x = latents(1).expand(6, -1, -1, -1)
    with_others = attention(x, neighbours([fill(("none", 3, 2, True, [2, 2, 2]))]))
    assert_close(with_others, attention(x, {}), tolerance=1e-12)


def denoise(x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
    return attention(x, cond) + 0.1 * torch.tanh(x) + cond["tokens"].mean((1, 2))[:, None, None, None].to(x)


@pytest.mark.parametrize("mode", MODES)
def test_other_sessions_never_contribute(mode: Mode) -> None:
    """Bit-equal outputs, whatever runs beside a stream in the same tick."""

    def beside(seed: int) -> list[Tensor]:
        mine, other = prepared_for(mode, 3), prepared_for(mode, 2)
        lanes = [open_lane(Form(mode), other, 2, True), open_lane(Form(mode), mine, 1, True)]
        z, theirs = latents(6), latents(12, seed)
        outputs = []
        for k in range(6):
            _, leaving = tick(denoise, lanes, [group_of(other, [2 * k, 2 * k + 1], theirs), group_of(mine, [k], z)])
            outputs += [leaving.latents] if leaving else []
        return outputs

    one, another = beside(seed=1), beside(seed=2)
    assert len(one) == 4
    assert all(map(torch.equal, one, another))


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_beside_others_gives_what_it_gives_alone(mode: Mode) -> None:
    mine, plain = prepared_for(mode, 3), prepared_for("full", 2)
    z = latents(5)
    lanes = [open_lane(Form("full"), plain, 3), open_lane(Form(mode), mine, 1, True)]
    together = [tick(denoise, lanes, [group_of(plain, [0, 1, 2], z), group_of(mine, [k], z)])[1] for k in range(5)]
    groups = [group_of(mine, [k], z) for k in range(5)]
    left = drain(denoise, open_lane(Form(mode), mine, 1, True), groups)
    for actual, expected in zip(together, left, strict=False):
        assert (actual is None) == (expected is None)
        if actual and expected:
            assert_close(actual.latents, expected.latents)


def test_frames_in_flight_see_one_another() -> None:
    prepared, z = prepared_for("none", 3), latents(5)
    groups = [group_of(prepared, [k], z) for k in range(5)]
    plain, crossed = (
        [each.latents for each in drain(denoise, open_lane(Form(), prepared, 1, cross), groups) if each]
        for cross in (False, True)
    )
    assert all(float((u - v).abs().max()) > 1e-3 for u, v in zip(plain, crossed, strict=True))


def test_gather_puts_tokens_one_behind_the_other() -> None:
    value = torch.arange(3 * 2 * 1).reshape(3, 2, 1)
    gathered = gather(value, torch.tensor([[0, 2], [1, 1], [2, 0]]))
    assert gathered[..., 0].tolist() == [[0, 1, 4, 5], [2, 3, 2, 3], [4, 5, 0, 1]]


def test_token_bias_repeats_each_neighbour_over_its_tokens() -> None:
    bias = token_bias(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), tokens=3)
    assert bias.shape == (2, 1, 1, 6)
    assert bias[:, 0, 0].tolist() == [[0, 0, 0, 1, 1, 1], [2, 2, 2, 3, 3, 3]]
