"""Guidance: the linear form against the paper's own, its edges, and that it stays bounded."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from millstream.core.guidance import Mode, guidance_weights, negative_rows
from millstream.core.tick import tick
from millstream.errors import BadInputError
from tests.oracle import (
    MODES,
    STEPPING,
    Form,
    Setting,
    alone,
    assert_close,
    changed,
    drain,
    eps_of,
    group_of,
    latents,
    noise_of,
    open_lane,
    prepare,
    sequential,
    toy,
)

LEVELS = (700, 520, 330, 150)
numbers = st.floats(-5, 5)


@settings(max_examples=300, derandomize=True, database=None)
@given(
    gamma=st.floats(0, 50),
    delta=st.floats(0, 10),
    a=st.floats(0.05, 0.999),
    values=st.tuples(numbers, numbers, numbers),
)
def test_weights_are_the_papers_form(gamma: float, delta: float, a: float, values: tuple[float, float, float]) -> None:
    """eps = delta*e + gamma*(eps_c - delta*e), put through x0 = (x - b*eps)/a."""
    x, eps_c, reference = values
    b = (1 - a * a) ** 0.5
    e = (x - a * reference) / b
    expected = (x - b * (delta * e + gamma * (eps_c - delta * e))) / a
    clean = (x - b * eps_c) / a
    for mode in ("self-negative", "one-time-negative"):
        g_c, g_r, g_x = guidance_weights(mode, gamma, delta, torch.tensor(a, dtype=torch.float64))
        assert float(g_c * clean + g_r * reference + g_x * x) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@settings(max_examples=200, derandomize=True, database=None)
@given(gamma=st.floats(0, 50), delta=st.floats(0, 10), a=st.floats(0.05, 0.999), x=numbers, c=numbers, n=numbers)
def test_full_guidance_is_classifier_free(gamma: float, delta: float, a: float, x: float, c: float, n: float) -> None:
    """eps_neg + gamma*(eps_c - eps_neg), whatever delta says."""
    b = (1 - a * a) ** 0.5
    expected = (x - b * (n + gamma * (c - n))) / a
    g_c, g_r, g_x = guidance_weights("full", gamma, delta, torch.tensor(a, dtype=torch.float64))
    actual = g_c * (x - b * c) / a + g_r * (x - b * n) / a + g_x * x
    assert float(actual) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 7.5])
def test_full_guidance_of_one_step_in_closed_form(gamma: float) -> None:
    form, setting = Form("full", rule="turbo"), Setting((600,), gamma=gamma, delta=3.0)
    z, alphabar = latents(1), form.alphabar[600]
    x = alphabar.sqrt() * z[0] + (1 - alphabar).sqrt() * noise_of(setting, 0, 0)
    positive, negative = (alone(toy, x, 600.0, prompt) for prompt in (setting.prompt, setting.negative))
    eps = negative + gamma * (positive - negative)
    [left] = drain(toy, open_lane(form, prepare(form, setting)), [group_of(prepare(form, setting), [0], z)])
    assert left is not None
    assert_close(left.latents[0], (x - (1 - alphabar).sqrt() * eps) / alphabar.sqrt())


@pytest.mark.parametrize("mode", MODES)
def test_gamma_one_ignores_the_reference(mode: Mode) -> None:
    """Weights of the reference and of x are zero, so that even a delta of 0 changes nothing."""
    a = torch.tensor([0.0, 0.3, 1.0])
    g_c, g_r, g_x = guidance_weights(mode, 1.0, 1.0 if mode == "full" else 0.0, a)
    assert (g_c.tolist(), g_r.tolist(), g_x.tolist()) == ([1.0] * 3, [0.0] * 3, [0.0] * 3)


@pytest.mark.parametrize("rule, renoise", STEPPING)
@pytest.mark.parametrize("mode", ["full", "self-negative", "one-time-negative"])
@pytest.mark.parametrize("stages", [1, 2, 4])
def test_gamma_and_delta_one_equal_no_guidance(stages: int, mode: Mode, rule: str, renoise: bool) -> None:
    setting, z = Setting(LEVELS[:stages], gamma=1.0, delta=1.0), latents(5)
    results = []
    for each in ("none", mode):
        form = Form(each, rule=rule, renoise=renoise)  # type: ignore[arg-type]
        prepared = prepare(form, setting)
        left = drain(toy, open_lane(form, prepared), [group_of(prepared, [k], z) for k in range(5)])
        results.append(torch.cat([leaving.latents for leaving in left if leaving]))
    assert_close(results[1], results[0], tolerance=1e-12)


def test_none_ignores_gamma_and_delta() -> None:
    a = torch.tensor([0.0, 0.5])
    assert [w.tolist() for w in guidance_weights("none", 9.0, 0.1, a)] == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("mode", ["self-negative", "one-time-negative"])
def test_delta_at_zero_terminal_snr_is_refused_in_one_line(mode: Mode) -> None:
    a = torch.tensor([0.0, 0.5])
    with pytest.raises(BadInputError, match="set delta to 1") as error:
        guidance_weights(mode, 2.0, 0.5, a)
    assert "\n" not in str(error.value)
    for gamma, delta in ((2.0, 1.0), (1.0, 0.5)):
        assert all(bool(torch.isfinite(w).all()) for w in guidance_weights(mode, gamma, delta, a))


def test_companions_of_each_mode() -> None:
    rows = [negative_rows(mode, stages=4, frames=3) for mode in MODES]
    assert dict(zip(MODES, rows, strict=True)) == {
        "none": 0,
        "full": 12,
        "self-negative": 0,
        "one-time-negative": 3,
    }


@pytest.mark.parametrize("stages", [1, 3])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.999, 1.0])
@pytest.mark.parametrize("mode", ["full", "one-time-negative"])
def test_fault_a_scale_of_one_or_less_runs_with_negative_rows(mode: Mode, gamma: float, stages: int) -> None:
    form, setting = Form(mode), Setting(LEVELS[:stages], gamma=gamma, delta=1.0)
    prepared, z = prepare(form, setting), latents(4)
    left = [
        each for each in drain(toy, open_lane(form, prepared), [group_of(prepared, [k], z) for k in range(4)]) if each
    ]
    for frame, leaving in enumerate(left):
        assert_close(leaving.latents[0], sequential(toy, form, setting, frame, z[frame]))


@pytest.mark.parametrize("mode", ["self-negative", "one-time-negative"])
def test_fault_guidance_without_renoising_leads_from_the_latent_as_it_is(mode: Mode) -> None:
    """e = (x_i - a_i*r)/b_i from the un-noised x_i. The stock-noise habit would take stage noise for e."""
    form, setting = Form(mode, rule="turbo", renoise=False), Setting((700, 400), gamma=1.8, delta=1.0)
    prepared, z = prepare(form, setting), latents(3)
    left = [
        each for each in drain(toy, open_lane(form, prepared), [group_of(prepared, [k], z) for k in range(3)]) if each
    ]
    a, b = form.alphabar[400].sqrt(), (1 - form.alphabar[400]).sqrt()
    for frame, leaving in enumerate(left):
        expected = sequential(toy, form, setting, frame, z[frame])
        assert_close(leaving.latents[0], expected)
        first = changed(setting, levels=(700,))
        x = a * sequential(toy, form, first, frame, z[frame])
        stock = noise_of(setting, frame, 1)
        eps = stock + setting.gamma * (eps_of(form, alone(toy, x, 400.0, setting.prompt), x, 0, 1) - stock)
        assert float((leaving.latents[0] - (x - b * eps) / a).abs().max()) > 0.1


def cheap(x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
    return torch.tanh(x + cond["pooled"][:, :1, None, None].to(x))


def test_fault_residual_guidance_stays_bounded_for_ever() -> None:
    """10,000 ticks of the cases that diverge where noise is fed back from frame to frame.

    The inputs come round every 8 frames, and so must the outputs, to the bit: what does not depend on how long the
    stream has run cannot grow.
    """
    cases = [
        (Form("self-negative"), (999,)),
        (Form("self-negative", rule="turbo"), (999,)),
        (Form("one-time-negative"), (999,)),
        (Form("one-time-negative", renoise=False), (999, 499)),
        (Form("self-negative", renoise=False), (999, 499)),
        (Form("self-negative", rule="ode"), (999, 499)),
    ]
    prepared = [prepare(form, Setting(levels, gamma=1.5, delta=0.8)) for form, levels in cases]
    lanes = [open_lane(form, each) for (form, _), each in zip(cases, prepared, strict=True)]
    z = latents(8)
    entering = [[group_of(each, [k], z) for each in prepared] for k in range(8)]
    period: list[Tensor] = []
    with torch.inference_mode():
        for now in range(10_000):
            left = tick(cheap, lanes, entering[now % 8])
            if now == 0:
                continue
            outputs = torch.cat([leaving.latents for leaving in left if leaving])
            if now <= 8:
                period.append(outputs)
            assert torch.equal(outputs, period[(now - 1) % 8]), f"tick {now}"
    expected = [sequential(cheap, form, Setting(levels, gamma=1.5, delta=0.8), 3, z[3]) for form, levels in cases]
    assert_close(torch.stack([period[2][0], period[3][3]]), torch.stack([expected[0], expected[3]]))
