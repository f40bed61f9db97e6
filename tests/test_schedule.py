"""Levels and coefficients against diffusers' own schedulers."""

from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, LCMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from millstream.core.schedule import (
    NoiseSchedule,
    Prediction,
    Rule,
    levels_from_strength,
    levels_from_t_index,
    make_stages,
    spread,
)
from tests.oracle import (
    MODES,
    PREDICTIONS,
    SHAPE,
    STEPPING,
    Form,
    Setting,
    alone,
    assert_close,
    drain,
    group_of,
    latents,
    open_lane,
    prepare,
    scaled_linear,
    toy,
)

RULES: tuple[Rule, ...] = ("lcm", "turbo", "ode")
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS = range(1, 51)


def accepted(steps: int, strength: float) -> list[int] | None:
    """Diffusers' LCM timesteps, or None where it refuses."""
    scheduler = LCMScheduler(**SD)
    try:
        scheduler.set_timesteps(steps, original_inference_steps=50, strength=strength)
    except ValueError:
        return None
    timesteps: list[int] = scheduler.timesteps.tolist()
    return timesteps


@pytest.mark.parametrize("steps", STEPS)
def test_lcm_levels_are_diffusers_timesteps(steps: int) -> None:
    strengths = [hundredth / 100 for hundredth in range(0, 101)]
    expected = {strength: accepted(steps, strength) for strength in strengths}
    actual = {strength: levels_from_strength(steps, strength, "lcm") for strength in strengths}
    assert {s: actual[s] for s in strengths if expected[s]} == {s: e for s, e in expected.items() if e}
    assert expected[1.0] is not None


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("rule", ["turbo", "ode"])
def test_trailing_levels_are_diffusers_timesteps_at_full_strength(rule: Rule, steps: int) -> None:
    scheduler = EulerDiscreteScheduler(**SD, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert levels_from_strength(steps, 1.0, rule) == scheduler.timesteps.tolist()


@settings(max_examples=1000, derandomize=True, database=None)
@given(
    steps=st.integers(1, 50),
    strength=st.floats(0, 1),
    rule=st.sampled_from(RULES),
    levels=st.sampled_from([50, 200, 1000, 1024]),
)
def test_levels_are_as_many_as_steps_in_range_and_fall(steps: int, strength: float, rule: Rule, levels: int) -> None:
    chosen = levels_from_strength(steps, strength, rule, levels)
    assert len(chosen) == steps
    assert all(0 <= level < levels for level in chosen)
    assert all(later < earlier for earlier, later in pairwise(chosen))


@settings(max_examples=300, derandomize=True, database=None)
@given(steps=st.integers(1, 50), low=st.floats(0, 1), high=st.floats(0, 1), rule=st.sampled_from(RULES))
def test_more_strength_never_begins_at_less_noise(steps: int, low: float, high: float, rule: Rule) -> None:
    low, high = sorted((low, high))
    assert levels_from_strength(steps, low, rule)[0] <= levels_from_strength(steps, high, rule)[0]


def test_t_index_counts_the_fifty_step_schedule() -> None:
    expected = accepted(50, 1.0)
    assert expected is not None
    assert levels_from_t_index(range(50)) == expected
    assert levels_from_t_index([0, 16, 32, 45]) == [999, 679, 359, 99]
    assert levels_from_t_index([0, 49], levels=200) == [199, 3]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_fewer_steps_use_indices_spread_over_those_given(count):
    given = [0, 3, 10, 11, 20, 30, 40, 45]
    used = spread(given, count)
    assert used[0] == given[0] and used == sorted(set(used)) and len(used) == count
    gaps = {given.index(b) - given.index(a) for a, b in pairwise(used)}
    assert max(gaps, default=0) - min(gaps, default=0) <= 1


def chain(form: Form, levels: list[int], z: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
    """One frame through all stages of the core: what left, and what the network was given at each stage."""
    seen: list[Tensor] = []

    def listening(x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        seen.append(x[len(seen)].clone())
        return toy(x, t, cond)

    prepared = prepare(form, Setting(tuple(levels)))
    left = drain(listening, open_lane(form, prepared), [group_of(prepared, [0], latents(1) if z is None else z)])
    [leaving] = [each for each in left if each]
    return leaving.latents[0], seen


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("steps, strength", [(1, 1.0), (2, 0.5), (4, 0.8), (4, 1.0), (8, 0.6)])
def test_lcm_chain_is_diffusers(prediction: Prediction, steps: int, strength: float) -> None:
    """Every latent and the denoised output, with the same noise, to 1e-4: diffusers keeps its alphas in float32."""
    scheduler = LCMScheduler(**SD, prediction_type=prediction)
    scheduler.set_timesteps(steps, original_inference_steps=50, strength=strength)
    form = Form("none", prediction, alphabar=scheduler.alphas_cumprod.double())
    output, seen = chain(form, levels_from_strength(steps, strength, "lcm"))

    generator = torch.Generator().manual_seed(3)  # the stream's seed: draws in the order of the stages
    noise = torch.randn(SHAPE, generator=generator)
    x = scheduler.add_noise(latents(1).float(), noise[None], scheduler.timesteps[:1])
    for stage, t in enumerate(scheduler.timesteps):
        assert_close(seen[stage], x[0].double(), tolerance=1e-4)
        predicted = alone(toy, x[0], float(t), 1)[None].float()
        x, denoised = scheduler.step(predicted, t, x, generator=generator, return_dict=False)
        assert_close(output if stage + 1 == steps else denoised[0].double(), denoised[0].double(), tolerance=1e-4)
    assert_close(output, x[0].double(), tolerance=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("steps", [1, 2, 4, 5, 10])
def test_ode_chain_is_ddim(prediction: Prediction, steps: int) -> None:
    scheduler = DDIMScheduler(**SD, prediction_type=prediction, timestep_spacing="trailing", clip_sample=False)
    scheduler.set_timesteps(steps)
    form = Form("none", prediction, "ode", alphabar=scheduler.alphas_cumprod.double())
    output, seen = chain(form, levels_from_strength(steps, 1.0, "ode"))
    x = seen[0].clone()
    for stage, t in enumerate(scheduler.timesteps):
        assert_close(seen[stage], x, tolerance=1e-5)
        x = scheduler.step(alone(toy, x, float(t), 1), int(t), x, eta=0.0).prev_sample
    assert_close(output, x, tolerance=1e-5)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps, strength", [(1, 0.7), (2, 0.5), (4, 1.0), (8, 0.9)])
def test_flow_chain_is_diffusers_euler(steps: int, strength: float, shift: float) -> None:
    """To 1e-5: diffusers steps in float32."""
    schedule = NoiseSchedule.flow(shift=shift)
    levels = levels_from_strength(steps, strength, "ode")
    stages = make_stages(schedule, levels, "ode")
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=[(level + 1) / 1000 for level in levels])
    assert_close(stages.t, scheduler.timesteps.double(), tolerance=1e-6)

    x = mine = latents(1)
    for stage, t in enumerate(scheduler.timesteps):
        velocity = alone(toy, mine[0], float(stages.t[stage]), 1)[None]
        clean = stages.p_x[stage] * mine + stages.p_o[stage] * velocity
        eps = (mine - stages.a[stage] * clean) / stages.b[stage]
        moved = stages.k_f[stage] * clean + stages.k_eps[stage] * eps
        x = scheduler.step(velocity.float(), t, x.float()).prev_sample
        mine = clean if stage + 1 == steps else moved
        assert_close(mine, x.double(), tolerance=1e-5)


def test_flow_levels_are_diffusers_own() -> None:
    for shift in (1.0, 3.0):
        schedule, scheduler = NoiseSchedule.flow(shift=shift), FlowMatchEulerDiscreteScheduler(shift=shift)
        assert_close(schedule.b.flip(0), scheduler.sigmas.double(), tolerance=1e-6)
        assert_close(schedule.time.flip(0), scheduler.timesteps.double(), tolerance=1e-6)
        assert_close(schedule.a + schedule.b, torch.ones(1000, dtype=torch.float64))


def test_levels_of_a_diffusion_model() -> None:
    schedule = NoiseSchedule.from_alphas_cumprod(scaled_linear().float(), "epsilon")
    assert schedule.a.dtype == torch.float64
    assert_close(schedule.a**2 + schedule.b**2, torch.ones(1000, dtype=torch.float64))
    assert schedule.time.tolist() == list(range(1000))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("rule, renoise", STEPPING)
def test_the_last_stage_moves_nowhere(prediction: Prediction, rule: Rule, renoise: bool) -> None:
    stages = prepare(Form("none", prediction, rule, renoise), Setting((700, 300))).stages
    assert [float(k[-1]) for k in (stages.k_f, stages.k_noise, stages.k_eps)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("rule, renoise", STEPPING)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("prediction", ["v_prediction", "sample", "flow"])
def test_zero_terminal_snr_stays_finite(prediction: Prediction, mode: str, rule: Rule, renoise: bool) -> None:
    """At the noisiest level a = 0: eps says nothing of x0 there, the clean estimate does."""
    alphabar = scaled_linear()
    alphabar[-1] = 0
    form = Form(mode, prediction, rule, renoise, alphabar)  # type: ignore[arg-type]
    prepared = prepare(form, Setting((999, 500, 200), gamma=2.0, delta=1.0))
    assert float(prepared.stages.a[0]) == 0.0
    left = drain(toy, open_lane(form, prepared), [group_of(prepared, [k], latents(4)) for k in range(4)])
    outputs = torch.cat([each.latents for each in left if each])
    assert len(outputs) == 4 and bool(torch.isfinite(outputs).all())


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_self_negative_at_zero_terminal_snr_is_the_limit(gamma: float) -> None:
    """With delta = 1 the clean estimate is gamma*x0_c + (1 - gamma)*z, whatever a is; x itself is pure noise."""
    alphabar = scaled_linear()
    alphabar[-1] = 0
    form = Form("self-negative", "v_prediction", "turbo", alphabar=alphabar)
    prepared, z = prepare(form, Setting((999,), gamma=gamma, delta=1.0)), latents(1)
    [left] = drain(toy, open_lane(form, prepared), [group_of(prepared, [0], z)])
    assert left is not None
    clean = -alone(toy, prepared.noise[0], 999.0, 1)  # x0 = a*x - b*v
    assert_close(left.latents[0], gamma * clean + (1 - gamma) * z[0])


def test_boundary_is_diffusers_at_every_level() -> None:
    """At the least noisy levels it matters: there c_skip grows to 1."""
    scheduler = LCMScheduler(**SD)
    stages = make_stages(NoiseSchedule.from_alphas_cumprod(scaled_linear(), "epsilon"), range(999, -1, -1), "lcm")
    expected = [scheduler.get_scalings_for_boundary_condition_discrete(t) for t in range(999, -1, -1)]
    assert_close(torch.stack([stages.c_skip, stages.c_out], 1), torch.tensor(expected, dtype=torch.float64))
