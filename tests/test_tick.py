"""The stream against the plain loop of `oracle`, frame by frame, in float64 to 1e-9."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from millstream.core.guidance import Mode
from millstream.core.rows import Leaving
from millstream.core.schedule import Prediction, Rule
from millstream.core.tick import tick
from millstream.errors import BadInputError
from tests.oracle import (
    MODES,
    PREDICTIONS,
    SHAPE,
    STEPPING,
    Form,
    Setting,
    alone,
    assert_close,
    changed,
    drain,
    embed,
    group_of,
    latents,
    noise_of,
    open_lane,
    prepare,
    scaled_linear,
    sequential,
    toy,
)

LEVELS = (700, 520, 330, 150)
OTHER_LEVELS = (610, 450, 210, 90)


def history(stages: int) -> list[Setting]:
    """Settings of a stream whose parameters change one after the other; each holds for one group or two."""
    first = Setting(LEVELS[:stages])
    prompt = changed(first, prompt=5)
    negative = changed(prompt, negative=6)
    noise = changed(negative, seed=11, levels=OTHER_LEVELS[:stages])
    guidance = changed(noise, gamma=0.4, delta=1.3)
    return [first, first, prompt, negative, negative, noise, guidance, first]


def flat(left: list[Leaving[Any] | None]) -> list[tuple[Any, Tensor, int]]:
    return [
        (tag, latent, each.version)
        for each in left
        if each
        for tag, latent in zip(each.tags, each.latents, strict=True)
    ]


@pytest.mark.parametrize("rule, renoise", STEPPING)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_every_frame_equals_the_plain_loop(
    stages: int, frames: int, mode: Mode, prediction: Prediction, rule: Rule, renoise: bool
) -> None:
    form, settings = Form(mode, prediction, rule, renoise), history(stages)
    count = frames * (len(settings) - 1) + 1  # the last group is incomplete where frames > 1
    z = latents(count)
    versions = {setting: prepare(form, setting, version) for version, setting in enumerate(dict.fromkeys(settings))}
    groups = [
        group_of(versions[setting], range(k * frames, min((k + 1) * frames, count)), z)
        for k, setting in enumerate(settings)
    ]
    left = drain(toy, open_lane(form, versions[settings[0]], frames), groups)

    assert [each is None for each in left] == [True] * (stages - 1) + [False] * len(groups)
    outputs = flat(left)
    assert [tag for tag, _, _ in outputs] == list(range(count))
    for frame, latent, version in outputs:
        entered = settings[frame // frames]
        assert version == versions[entered].version
        assert_close(latent, sequential(toy, form, entered, frame, z[frame]))


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_noise_of_each_frame_equals_the_plain_loop(mode: Mode, frames: int, correlation: float) -> None:
    form, first = Form(mode), Setting(LEVELS[:3], correlation=correlation)
    settings = [first, first, changed(first, correlation=0.6), changed(first, correlation=1.0), first, first]
    z = latents(frames * len(settings))
    groups = [
        group_of(prepare(form, setting), range(k * frames, (k + 1) * frames), z) for k, setting in enumerate(settings)
    ]
    for frame, latent, _ in flat(drain(toy, open_lane(form, groups[0].prepared, frames), groups)):
        assert_close(latent, sequential(toy, form, settings[frame // frames], frame, z[frame]))


@pytest.mark.parametrize("stages, frames", [(1, 1), (2, 2), (4, 1)])
@pytest.mark.parametrize("mode", ["none", "full", "one-time-negative"])
def test_text_to_image_begins_at_pure_noise(mode: Mode, stages: int, frames: int) -> None:
    form, setting = Form(mode), Setting(LEVELS[:stages], correlation=0.5)
    prepared = prepare(form, setting)
    groups = [group_of(prepared, range(k * frames, (k + 1) * frames), None) for k in range(4)]
    for frame, latent, _ in flat(drain(toy, open_lane(form, prepared, frames), groups)):
        assert_close(latent, sequential(toy, form, setting, frame, None))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stages, frames", [(1, 1), (2, 1), (3, 2), (4, 1), (4, 3)])
def test_steering_changes_prompt_and_guidance_at_the_right_stage(
    stages: int, frames: int, mode: Mode, prediction: Prediction
) -> None:
    """Two changes reach the frames in flight; seed and noise levels stay those that a frame entered with."""
    form, first = Form(mode, prediction), Setting(LEVELS[:stages], correlation=0.5)
    second = changed(first, prompt=7, negative=8, gamma=0.5, delta=1.2, seed=19, levels=OTHER_LEVELS[:stages])
    third = changed(first, prompt=9, gamma=2.1)
    in_force = [first, first, first, second, second, third, third]
    prepared = {setting: prepare(form, setting, version) for version, setting in enumerate((first, second, third))}
    z, lane = latents(frames * len(in_force)), open_lane(form, prepared[first], frames)
    left = []
    for now, setting in enumerate(in_force):
        if now and setting is not in_force[now - 1]:
            lane.steer(prepared[setting])
        ids = range(now * frames, (now + 1) * frames)
        left += tick(toy, [lane], [group_of(prepared[setting], ids, z)])
    left += drain(toy, lane, [])

    outputs = flat(left)
    assert [frame for frame, _, _ in outputs] == list(range(len(z)))
    for frame, latent, version in outputs:
        entry = frame // frames
        steered = dict(enumerate(in_force[entry : entry + stages]))
        assert_close(latent, sequential(toy, form, in_force[entry], frame, z[frame], steered))
        assert version == prepared[in_force[min(entry + stages, len(in_force)) - 1]].version


def test_steering_between_the_last_frame_and_the_end_reaches_what_is_left() -> None:
    form, first = Form("full"), Setting(LEVELS)
    other = changed(first, prompt=4, gamma=2.0)
    z, lane = latents(1), open_lane(form, prepare(form, first))
    assert tick(toy, [lane], [group_of(prepare(form, first), [0], z)]) == [None]
    assert tick(toy, [lane], [None]) == [None]
    lane.steer(prepare(form, other, 1))
    [(_, latent, version)] = flat(drain(toy, lane, []))
    assert version == 1
    assert_close(latent, sequential(toy, form, first, 0, z[0], {2: other}))


def test_steering_survives_zero_terminal_snr() -> None:
    """delta may change once no new frame begins at a = 0, whatever those in flight began at."""
    alphabar = scaled_linear()
    alphabar[-1] = 0
    form = Form("self-negative", "v_prediction", alphabar=alphabar)
    first = Setting((999, 499), gamma=1.5, delta=1.0)
    later = changed(first, levels=(499, 299), delta=0.5)
    z, lane = latents(1), open_lane(form, prepare(form, first))
    tick(toy, [lane], [group_of(prepare(form, first), [0], z)])
    lane.steer(prepare(form, later, 1))
    [leaving] = tick(toy, [lane], [None])
    assert leaving is not None and leaving.version == 1
    assert bool(torch.isfinite(leaving.latents).all())


def test_a_refused_change_is_refused_again() -> None:
    """A stage that could not take its parameters must not run with those of before under the new version."""
    alphabar = scaled_linear()
    alphabar[-1] = 0
    form = Form("self-negative", "v_prediction", alphabar=alphabar)
    lane = open_lane(form, prepare(form, Setting((999, 499), delta=1.0)))
    bad = group_of(prepare(form, Setting((999, 499), delta=0.5), 1), [0], latents(1))
    for _ in range(2):
        with pytest.raises(BadInputError, match="delta"):
            tick(toy, [lane], [bad])


@pytest.mark.parametrize("mode", MODES)
def test_rows_of_a_tick(mode: Mode) -> None:
    """What each mode costs: rows of the one denoiser call."""
    stages, frames = 3, 2
    expected = {"none": 6, "full": 12, "self-negative": 6, "one-time-negative": 8}
    calls: list[int] = []

    def counting(x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        assert len(x) == len(t) == len(cond["tokens"]) == len(cond["pooled"])
        calls.append(len(x))
        return toy(x, t, cond)

    form, setting = Form(mode), Setting(LEVELS[:stages])
    groups = [group_of(prepare(form, setting), [2 * k, 2 * k + 1], latents(8)) for k in range(4)]
    drain(counting, open_lane(form, groups[0].prepared, frames), groups)
    assert calls == [expected[mode]] * (4 + stages - 1)


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_bubbles_in_mid_stream_never_reach_the_caller(stages: int) -> None:
    form, setting = Form("one-time-negative"), Setting(LEVELS[:stages])
    prepared, z = prepare(form, setting), latents(6)
    entering = [None, 0, None, None, 1, 2, None, 3, None, None, None, None, None, 4, 5]
    groups = [None if frame is None else group_of(prepared, [frame], z) for frame in entering]
    left = drain(toy, open_lane(form, prepared), groups)
    came = {each.tags[0]: now for now, each in enumerate(left) if each}
    assert came == {frame: now + stages - 1 for now, frame in enumerate(entering) if frame is not None}
    for frame, latent, _ in flat(left):
        assert_close(latent, sequential(toy, form, setting, frame, z[frame]))


def test_an_incomplete_group_in_mid_stream_leaves_nothing_behind() -> None:
    form, setting = Form("self-negative"), Setting(LEVELS[:3], correlation=0.5)
    prepared, z = prepare(form, setting), latents(9)
    sizes = [3, 1, 2, 3]
    starts = [0, 3, 4, 6]
    groups = [group_of(prepared, range(s, s + n), z) for s, n in zip(starts, sizes, strict=True)]
    left = drain(toy, open_lane(form, prepared, 3), groups)
    assert [len(each.latents) for each in left if each] == sizes
    for frame, latent, _ in flat(left):
        assert_close(latent, sequential(toy, form, setting, frame, z[frame]))


@pytest.mark.parametrize("stages, frames", [(2, 2), (3, 2), (4, 3)])
def test_fault_frame_buffer_above_one_with_several_steps(stages: int, frames: int) -> None:
    form, setting = Form(), Setting(LEVELS[:stages])
    prepared, z = prepare(form, setting), latents(3 * frames)
    groups = [group_of(prepared, range(k * frames, (k + 1) * frames), z) for k in range(3)]
    outputs = flat(drain(toy, open_lane(form, prepared, frames), groups))
    expected = [sequential(toy, form, setting, frame, z[frame]) for frame in range(3 * frames)]
    assert_close(torch.stack([latent for _, latent, _ in outputs]), torch.stack(expected))


@pytest.mark.parametrize("mode", ["full", "one-time-negative"])
def test_fault_a_prompt_change_keeps_the_negative_rows(mode: Mode) -> None:
    form, first = Form(mode), Setting(LEVELS[:2])
    seen: list[Tensor] = []

    def listening(x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        seen.append(cond["tokens"][2:])
        return toy(x, t, cond)

    groups = [group_of(prepare(form, changed(first, prompt=k)), [k], latents(4)) for k in range(4)]
    drain(listening, open_lane(form, prepare(form, first)), groups)
    count = 2 if mode == "full" else 1
    for negative in seen:
        assert torch.equal(negative, embed(first.negative)["tokens"].expand(count, -1, -1))


@pytest.mark.parametrize("rule", ["lcm", "turbo"])
def test_fault_noise_between_stages_is_the_seeds_and_not_the_last_latent(rule: Rule) -> None:
    """What the denoiser sees at stage i + 1 is a*f + b*eps_{i+1}, with the same eps for every frame."""
    form, setting = Form(rule=rule), Setting(LEVELS[:2])
    seen: list[Tensor] = []

    def listening(x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        seen.append(x.clone())
        return toy(x, t, cond)

    prepared, z = prepare(form, setting), latents(5)
    drain(listening, open_lane(form, prepared), [group_of(prepared, [k], z) for k in range(5)])
    one_stage = changed(setting, levels=setting.levels[:1])
    a, b = form.alphabar[setting.levels[1]].sqrt(), (1 - form.alphabar[setting.levels[1]]).sqrt()
    for frame in range(5):
        f = sequential(toy, form, one_stage, frame, z[frame])
        assert_close((seen[frame + 1][1] - a * f) / b, noise_of(setting, frame, 1))


def test_a_stream_keeps_nothing_of_a_frame_that_left() -> None:
    """An infinite frame ruins itself alone: no state crosses from frame to frame."""
    form, setting = Form("one-time-negative"), Setting(LEVELS[:3])
    prepared, z = prepare(form, setting), latents(6)
    z[1] = torch.inf
    for frame, latent, _ in flat(drain(toy, open_lane(form, prepared), [group_of(prepared, [k], z) for k in range(6)])):
        if frame != 1:
            assert_close(latent, sequential(toy, form, setting, frame, z[frame]))


@pytest.mark.parametrize("correlation", [1.0, 0.4])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stages, frames", [(1, 2), (2, 1), (3, 2), (4, 1)])
def test_replaying_the_last_frames_from_cold_restores_the_stream(
    stages: int, frames: int, mode: Mode, correlation: float
) -> None:
    """Bit-equal: the last n-1 groups are all that the state depends on."""
    form, first = Form(mode), Setting(LEVELS[:stages], correlation=correlation)
    settings = [first] * 4 + [changed(first, prompt=5, gamma=0.7)] * 3 + [changed(first, seed=8)] * 5
    z = latents(frames * len(settings))
    groups = [
        group_of(prepare(form, setting), range(k * frames, (k + 1) * frames), z) for k, setting in enumerate(settings)
    ]
    whole = drain(toy, open_lane(form, groups[0].prepared, frames), groups)
    lost = 7  # the stream breaks before this tick
    restored = drain(toy, open_lane(form, groups[lost].prepared, frames), groups[lost - (stages - 1) :])

    for expected, actual in zip(whole[lost:], restored[stages - 1 :], strict=True):
        assert expected is not None and actual is not None
        assert expected.tags == actual.tags
        assert torch.equal(expected.latents, actual.latents)


def test_what_left_is_the_callers_own() -> None:
    form, setting = Form(), Setting(LEVELS[:1])
    prepared, z, lane = prepare(form, setting), latents(2), open_lane(form, prepare(form, setting))
    [first] = tick(toy, [lane], [group_of(prepared, [0], z)])
    assert first is not None
    before = first.latents.clone()
    tick(toy, [lane], [group_of(prepared, [1], z)])
    assert torch.equal(first.latents, before)


def test_what_entered_is_copied() -> None:
    """Pictures may be written over as soon as the tick is done."""
    form, setting = Form("self-negative"), Setting(LEVELS[:3])
    prepared, z, lane = prepare(form, setting), latents(1), open_lane(form, prepare(form, setting))
    kept = z.clone()
    group = replace(group_of(prepared, [0], z), z=z)
    tick(toy, [lane], [group])
    z.zero_()
    [(_, latent, _)] = flat(drain(toy, lane, []))
    assert_close(latent, sequential(toy, form, setting, 0, kept[0]))


def test_the_caller_gets_one_answer_per_lane() -> None:
    form, setting = Form(), Setting(LEVELS[:1])
    lane = open_lane(form, prepare(form, setting))
    with pytest.raises(ValueError, match="shorter"):
        tick(toy, [lane, lane], [None])


@pytest.mark.parametrize("mode", MODES)
def test_float32_stays_near_the_float64_loop(mode: Mode) -> None:
    """As streams really run: to 1e-4 of the largest value."""
    form, setting = Form(mode), Setting(LEVELS)
    prepared, z = prepare(form, setting, dtype=torch.float32), latents(6)
    outputs = flat(drain(toy, open_lane(form, prepared), [group_of(prepared, [k], z) for k in range(6)]))
    for frame, latent, _ in outputs:
        assert latent.dtype == torch.float32
        assert_close(latent.double(), sequential(toy, form, setting, frame, z[frame]), tolerance=1e-4)


def test_the_toy_network_keeps_rows_apart_and_hears_all_its_inputs() -> None:
    """Else the comparisons above would prove little."""
    x, t = latents(2), torch.tensor([300.0, 600.0], dtype=torch.float64)
    cond = {name: torch.cat([embed(1)[name], embed(2)[name]]) for name in embed(1)}
    together = toy(x, t, cond)
    assert_close(together[1], alone(toy, x[1], 600.0, 2), tolerance=1e-15)
    for other in (alone(toy, x[1], 601.0, 2), alone(toy, x[1], 600.0, 1), alone(toy, x[0], 600.0, 2)):
        assert float((together[1] - other).abs().max()) > 1e-4
    assert together.shape == (2, *SHAPE)
