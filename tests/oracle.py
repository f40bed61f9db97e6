"""A plain sequential loop, written from the method's equations in their eps form: one frame alone, stage by stage.

Nothing of the method is taken from the package: its noise draws are inputs here, and all else is stated again.
Below the loop stand the toy network and the same settings in the form in which the core takes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from millstream.core.guidance import Mode
from millstream.core.noise import frame_noise, stage_noise
from millstream.core.rows import Denoiser, Group, Lane, Layout, Leaving, Prepared
from millstream.core.schedule import NoiseSchedule, Prediction, Rule, make_stages
from millstream.core.tick import tick

SHAPE = (2, 3, 4)
TOLERANCE = 1e-9  # float64, relative to the largest expected value
MODES: tuple[Mode, ...] = ("none", "full", "self-negative", "one-time-negative")
PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v_prediction", "sample", "flow")
STEPPING: tuple[tuple[Rule, bool], ...] = (
    ("lcm", True),
    ("lcm", False),
    ("turbo", True),
    ("turbo", False),
    ("ode", True),
)


def scaled_linear() -> Tensor:
    """alphabar of Stable Diffusion, float64."""
    beta = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphabar: Tensor = (1 - beta).cumprod(0)
    return alphabar


@dataclass(frozen=True)
class Form:
    """What never changes in a stream: the model's family and the stepping."""

    mode: Mode = "none"
    prediction: Prediction = "epsilon"
    rule: Rule = "lcm"
    renoise: bool = True
    alphabar: Tensor = field(default_factory=scaled_linear, repr=False)


@dataclass(frozen=True)
class Setting:
    """What a frame enters with, as plain values; `levels` count from 0, the least noisy, and begin at the noisiest."""

    levels: tuple[int, ...]
    prompt: int = 1
    negative: int = 2
    seed: int = 3
    gamma: float = 1.6
    delta: float = 0.7
    correlation: float = 1.0


def a_b_t(form: Form, level: int) -> tuple[float, float, float]:
    if form.prediction == "flow":
        sigma = (level + 1) / 1000
        return 1 - sigma, sigma, 1000 * sigma
    alphabar = float(form.alphabar[level])
    return alphabar**0.5, (1 - alphabar) ** 0.5, float(level)


def eps_of(form: Form, output: Tensor, x: Tensor, a: float, b: float) -> Tensor:
    match form.prediction:
        case "epsilon":
            return output
        case "v_prediction":
            return a * output + b * x
        case "sample":
            return (x - a * output) / b
        case "flow":  # v = eps - x0 and x = a*x0 + b*eps with a + b = 1
            return x + a * output


def noise_of(setting: Setting, frame: int, stage: int, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    base = stage_noise(setting.seed, len(setting.levels), shape)[stage].double()
    if setting.correlation == 1:
        return base
    own = frame_noise(setting.seed, frame, stage, shape).double()
    mixed: Tensor = setting.correlation**0.5 * base + (1 - setting.correlation) ** 0.5 * own
    return mixed


def sequential(
    denoise: Denoiser,
    form: Form,
    entered: Setting,
    frame: int,
    z: Tensor | None,
    steered: Mapping[int, Setting] | None = None,
) -> Tensor:
    """The clean latent of one frame. `steered` maps a stage to the setting whose prompt and guidance hold from there.

    `z` None: text to image, which begins at pure noise.
    """
    noise = [noise_of(entered, frame, stage) for stage in range(len(entered.levels))]
    now, x, xneg, f = entered, torch.empty(0), torch.empty(0), torch.empty(0)

    for stage, level in enumerate(entered.levels):
        now = (steered or {}).get(stage, now)
        a, b, t = a_b_t(form, level)
        if stage == 0:
            x = noise[0] if z is None else a * z + b * noise[0]
        eps = predicted(denoise, form, x, level, now.prompt)
        if form.mode == "full":
            eps_neg = predicted(denoise, form, x, level, now.negative)
            eps = eps_neg + now.gamma * (eps - eps_neg)
        elif form.mode == "self-negative":
            assert z is not None
            e = (x - a * z) / b
            eps = now.delta * e + now.gamma * (eps - now.delta * e)
        elif form.mode == "one-time-negative":
            if stage == 0:
                xneg = (x - b * predicted(denoise, form, x, level, now.negative)) / a
            e = (x - a * xneg) / b
            eps = now.delta * e + now.gamma * (eps - now.delta * e)

        x0 = (x - b * eps) / a
        f = x0
        if form.rule == "lcm":
            spread = (10 * t) ** 2 + 0.5**2
            f = 10 * t / spread**0.5 * x0 + 0.5**2 / spread * x
        if stage + 1 == len(entered.levels):
            break
        a_next, b_next, _ = a_b_t(form, entered.levels[stage + 1])
        if form.rule == "ode" and form.prediction == "flow":
            x = x + (b_next - b) * (eps - x0)
        elif form.rule == "ode":
            x = a_next * x0 + b_next * eps
        else:
            x = a_next * f + (b_next * noise[stage + 1] if form.renoise else 0)
    return f


def predicted(denoise: Denoiser, form: Form, x: Tensor, level: int, prompt: int) -> Tensor:
    a, b, t = a_b_t(form, level)
    return eps_of(form, alone(denoise, x, t, prompt), x, a, b)


def alone(denoise: Denoiser, x: Tensor, t: float, prompt: int) -> Tensor:
    return denoise(x[None], torch.tensor([t], dtype=x.dtype), embed(prompt))[0]


def embed(prompt: int) -> dict[str, Tensor]:
    """A conditioning of two tensors, of different dimensions, from the number of a prompt."""
    generator = torch.Generator().manual_seed(1000 + prompt)
    tokens = torch.randn(1, 2, 3, generator=generator, dtype=torch.float64)
    return {"tokens": tokens, "pooled": torch.randn(1, 5, generator=generator, dtype=torch.float64)}


def toy(x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
    """A network: non-linear in latent, time and conditioning, mixes channels and pixels, never rows."""
    place = torch.arange(x[0].numel(), dtype=x.dtype).reshape(x.shape[1:])
    tokens, pooled = cond["tokens"].to(x), cond["pooled"].to(x)
    shift = tokens[:, 0, :1] + tokens[:, 1, 1:2] * pooled[:, 3:4] + t[:, None] / 700
    mixed = 0.6 * x + 0.3 * x.roll(1, 1) - 0.4 * x.roll(1, 3) * pooled[:, :1, None, None].sin()
    return torch.tanh(mixed + torch.sin(place + shift[:, :, None, None]))


def latents(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def schedule_of(form: Form) -> NoiseSchedule:
    if form.prediction == "flow":
        return NoiseSchedule.flow()
    return NoiseSchedule.from_alphas_cumprod(form.alphabar, form.prediction)


def prepare(form: Form, setting: Setting, version: int = 0, dtype: torch.dtype = torch.float64) -> Prepared:
    """The same setting as the core takes it."""
    return Prepared(
        version=version,
        stages=make_stages(schedule_of(form), setting.levels, form.rule, form.renoise),
        noise=stage_noise(setting.seed, len(setting.levels), SHAPE).to(dtype),
        cond=embed(setting.prompt),
        negative=embed(setting.negative) if form.mode in ("full", "one-time-negative") else {},
        gamma=setting.gamma,
        delta=setting.delta,
        seed=setting.seed,
        correlation=setting.correlation,
    )


def open_lane(form: Form, prepared: Prepared, frames: int = 1, cross_frame: bool = False) -> Lane[Any]:
    return Lane(Layout(len(prepared.noise), frames, SHAPE, form.mode, cross_frame), prepared)


def group_of(prepared: Prepared, ids: Sequence[int], z: Tensor | None) -> Group[int]:
    """Frames that are tagged with their own numbers; `z` holds the latents of all frames by number."""
    return Group(list(ids), list(ids), None if z is None else z[list(ids)], prepared)


def drain(denoise: Denoiser, lane: Lane[Any], groups: Sequence[Group[Any] | None]) -> list[Leaving[Any] | None]:
    """What leaves at each tick: the groups, then bubbles until the lane is empty."""
    left = [tick(denoise, [lane], [group])[0] for group in groups]
    while lane.busy:
        left += tick(denoise, [lane], [None])
    return left


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    assert actual.shape == expected.shape
    error, scale = float((actual - expected).abs().max()), max(1.0, float(expected.abs().max()))
    assert error <= tolerance * scale, f"off by {error:.3g} where values reach {scale:.3g}"


def changed(setting: Setting, **changes: Any) -> Setting:
    return replace(setting, **changes)
