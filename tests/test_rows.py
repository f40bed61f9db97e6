"""Rows of a stream: their layout, what moves with them, and who is in them."""

import pytest
import torch
from torch import Tensor

from millstream.core.guidance import Mode
from millstream.core.noise import frame_noise, stage_noise
from millstream.core.rows import Group, Lane, Layout, Rows
from millstream.core.schedule import Stages
from millstream.core.tick import tick
from tests.oracle import (
    MODES,
    SHAPE,
    Form,
    Setting,
    changed,
    drain,
    embed,
    group_of,
    latents,
    open_lane,
    prepare,
    toy,
)

SETTING = Setting((700, 520, 330))


def tensors(rows: Rows) -> dict[str, Tensor]:
    return {
        "x": rows.x,
        "reference": rows.reference,
        "noise": rows.noise,
        "entry_noise": rows.entry_noise,
        "t": rows.t,
        "coefficients": rows.coefficients,
        **{f"cond.{name}": value for name, value in rows.cond.items()},
        **{f"negative.{name}": value for name, value in rows.negative.items()},
    }


@pytest.mark.parametrize("stages", [1, 2, 5])
@pytest.mark.parametrize("frames", [1, 3])
def test_rows_are_stages_times_frames_and_companions_as_the_mode_has_them(stages: int, frames: int) -> None:
    expected = {"none": 0, "full": stages * frames, "self-negative": 0, "one-time-negative": frames}
    for mode in MODES:
        layout = Layout(stages, frames, SHAPE, mode)
        assert (layout.rows, layout.negative_rows) == (stages * frames, expected[mode])


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_lane_is_finite_bubbles(mode: Mode) -> None:
    lane = open_lane(Form(mode), prepare(Form(mode), SETTING), frames=2)
    assert not lane.busy
    assert lane.occupied() == [False] * 6
    for _ in range(5):
        assert tick(toy, [lane], [None]) == [None]
    for name, value in tensors(lane.rows).items():
        assert bool(torch.isfinite(value).all()), name


@pytest.mark.parametrize("mode", MODES)
def test_addresses_never_change(mode: Mode) -> None:
    """Compiled graphs are bound to them: whatever changes, it changes in place."""
    form = Form(mode)
    lane = open_lane(form, prepare(form, SETTING), frames=2)
    before = {name: value.data_ptr() for name, value in tensors(lane.rows).items()}
    z, other = latents(12), changed(SETTING, prompt=4, negative=5, seed=6, gamma=0.3, levels=(600, 400, 200))
    for k, setting in enumerate([SETTING, other, changed(other, correlation=0.2), SETTING]):
        tick(toy, [lane], [group_of(prepare(form, setting, k), [2 * k, 2 * k + 1], z)])
        lane.steer(prepare(form, other, 9))
    assert {name: value.data_ptr() for name, value in tensors(lane.rows).items()} == before


def test_a_lane_is_busy_from_the_first_frame_to_the_last() -> None:
    form = Form()
    prepared = prepare(form, SETTING)
    lane, z = open_lane(form, prepared, frames=2), latents(3)
    busy, occupied = [], []
    for group in [group_of(prepared, [0, 1], z), group_of(prepared, [2], z), None, None, None]:
        tick(toy, [lane], [group])
        busy.append(lane.busy)
        occupied.append(sum(lane.occupied()))
    assert busy == [True, True, True, False, False]
    assert occupied == [2, 3, 1, 0, 0]


def test_occupied_follows_the_frames_stage_by_stage() -> None:
    form = Form()
    prepared = prepare(form, SETTING)
    lane, z = open_lane(form, prepared, frames=2), latents(3)
    lane.admit(group_of(prepared, [0, 1], z))
    assert lane.occupied() == [True, True, False, False, False, False]
    lane.advance(lane.rows.x, lane.rows.x.clone(), lane.rows.reference)
    lane.admit(group_of(prepared, [2], z))
    assert lane.occupied() == [True, False, True, True, False, False]


def test_a_frame_takes_everything_with_it() -> None:
    """Time, conditioning, noise, coefficients and reference of stage 1 are those its frame entered with."""
    form = Form("self-negative")
    first, second = SETTING, changed(SETTING, prompt=7, seed=8, levels=(640, 470, 260), gamma=2.0)
    a, b = prepare(form, first, 1), prepare(form, second, 2)
    lane, z = open_lane(form, a), latents(2)
    tick(toy, [lane], [group_of(a, [0], z)])
    lane.admit(group_of(b, [1], z))
    assert lane.rows.t[:2].tolist() == [640.0, 520.0]
    assert torch.equal(lane.rows.cond["tokens"][:2], torch.cat([embed(7)["tokens"], embed(1)["tokens"]]))
    assert torch.equal(lane.rows.noise[:2], torch.stack([b.noise[1], a.noise[2]]))
    assert torch.equal(lane.rows.entry_noise[0], b.noise[0])
    assert torch.equal(lane.rows.reference[1], z[0])
    column = Stages._fields.index("a")
    assert lane.rows.coefficients[:2, column].tolist() == [float(b.stages.a[0]), float(a.stages.a[1])]
    tick(toy, [lane], [group_of(b, [1], z)])
    assert torch.equal(lane.rows.reference[1:], z[[1, 0]])


def test_more_frames_than_the_lane_takes_are_refused() -> None:
    """A third frame would lie on the rows of stage 1, on another frame's latent."""
    form = Form()
    prepared = prepare(form, SETTING)
    lane, z = open_lane(form, prepared, frames=2), latents(5)
    tick(toy, [lane], [group_of(prepared, [0, 1], z)])
    in_flight = lane.rows.x[2:4].clone()
    with pytest.raises(ValueError, match="3 frames in a lane for 2"):
        tick(toy, [lane], [group_of(prepared, [2, 3, 4], z)])
    assert torch.equal(lane.rows.x[2:4], in_flight)


def test_tags_are_the_callers_own_and_ids_number_the_noise() -> None:
    form = Form()
    prepared = prepare(form, changed(SETTING, correlation=0.0))
    lane: Lane[object] = open_lane(form, prepared)
    tag = object()
    [leaving] = [each for each in drain(toy, lane, [Group([tag], [41], latents(1), prepared)]) if each]
    assert torch.equal(lane.rows.noise[0], frame_noise(SETTING.seed, 41, 1, SHAPE).double())
    assert leaving.tags[0] is tag


def test_steering_leaves_noise_and_levels() -> None:
    form = Form("full")
    kept, other = prepare(form, SETTING, 1), prepare(form, Setting((500, 300, 100), 5, 6, 7, 1.1, 1.2, 0.5), 2)
    steered = kept.steered_by(other)
    assert steered.stages is kept.stages and steered.noise is kept.noise
    assert (steered.seed, steered.correlation) == (kept.seed, kept.correlation)
    assert steered.cond is other.cond and steered.negative is other.negative
    assert (steered.gamma, steered.delta, steered.version) == (other.gamma, other.delta, 2)


def test_noise_of_a_frame() -> None:
    form = Form()
    fixed, own = (prepare(form, changed(SETTING, correlation=c)) for c in (1.0, 0.0))
    assert torch.equal(fixed.noise_of(5, 2), stage_noise(SETTING.seed, 3, SHAPE)[2].double())
    assert torch.equal(fixed.noise_of(5, 2), fixed.noise_of(6, 2))
    assert torch.equal(own.noise_of(5, 2), frame_noise(SETTING.seed, 5, 2, SHAPE).double())
    assert not torch.equal(own.noise_of(5, 2), own.noise_of(6, 2))
