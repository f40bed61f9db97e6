"""Noise levels: which timesteps a frame passes, and every coefficient of a step that depends on them alone.

All model families are brought to x = a*x0 + b*eps (StreamDiffusion, arXiv 2312.12491, section 3.1). What differs
between them - the meaning of the network's output, the boundary condition, the stepping rule - is linear, so it is
data: one row of coefficients per stage. Nothing after this module knows which family a row came from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]
Rule = Literal["lcm", "turbo", "ode"]

GRID = 50  # the schedule that t_index counts in and that LCM models were distilled on (arXiv 2310.04378)
SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0


@dataclass(frozen=True)
class NoiseSchedule:
    """What a model was trained on: level j of `a`, `b` belongs to the network's time `time[j]`.

    `a` and `b` are float64, x = a*x0 + b*eps, from the least noisy level to the noisiest.
    """

    a: Float[Tensor, "levels"]
    b: Float[Tensor, "levels"]
    time: Float[Tensor, "levels"]
    prediction: Prediction

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Tensor, prediction: Prediction) -> "NoiseSchedule":
        """Variance-preserving schedule of a diffusion model: a = sqrt(alphabar), b = sqrt(1 - alphabar)."""
        alphabar = alphas_cumprod.double()
        time = torch.arange(len(alphabar), dtype=torch.float64)
        return cls(alphabar.sqrt(), (1 - alphabar).sqrt(), time, prediction)

    @classmethod
    def flow(cls, levels: int = 1000, shift: float = 1.0) -> "NoiseSchedule":
        """Rectified flow: a = 1 - sigma, b = sigma, with the resolution shift of arXiv 2403.03206, equation 23."""
        sigma = torch.arange(1, levels + 1, dtype=torch.float64) / levels
        sigma = shift * sigma / (1 + (shift - 1) * sigma)
        return cls(1 - sigma, sigma, sigma * levels, "flow")


class Stages(NamedTuple):
    """The network's time, and the linear maps of a step that follow from the noise level alone.

    x0 = p_x*x + p_o*output;  f = c_out*guided + c_skip*x;  next x = k_f*f + k_noise*noise + k_eps*(x - a*guided)/b.
    One entry a stage, (n,) in float64; in a tick one entry a row, (rows, 1, 1, 1).
    """

    t: Tensor
    a: Tensor
    b: Tensor
    p_x: Tensor
    p_o: Tensor
    c_skip: Tensor
    c_out: Tensor
    k_f: Tensor
    k_noise: Tensor
    k_eps: Tensor


def levels_from_strength(steps: int, strength: float, rule: Rule, levels: int = 1000) -> list[int]:
    """Choose `steps` levels, noisiest first, that begin at `strength` of the schedule.

    `lcm` gives the timesteps of diffusers' LCMScheduler, `turbo` and `ode` those of trailing spacing
    (arXiv 2305.08891, table 2). Strength is raised where needed to leave room for `steps` distinct levels.
    """
    if rule == "lcm":
        usable = max(int(GRID * strength), steps)
        grid = [(j + 1) * (levels // GRID) - 1 for j in range(usable)][::-1]
        return [grid[int(i)] for i in np.linspace(0, usable, steps, endpoint=False)]
    top = max(strength * levels, steps)
    return [int(level) - 1 for level in np.arange(top, 0, -top / steps)[:steps].round()]


def levels_from_t_index(t_index: Sequence[int], levels: int = 1000) -> list[int]:
    """Levels of a 50-step schedule by index, 0 the noisiest, as StreamDiffusion counts them."""
    return [levels - 1 - i * (levels // GRID) for i in t_index]


def spread(t_index: Sequence[int], steps: int) -> list[int]:
    """So many of the indices, evenly spread from the first one, where fewer steps are run than were asked for."""
    return [t_index[i * len(t_index) // steps] for i in range(steps)]


def make_stages(schedule: NoiseSchedule, levels: Sequence[int], rule: Rule, renoise: bool = True) -> Stages:
    """Compute every coefficient of the stages at `levels`, noisiest first."""
    index = torch.tensor(list(levels))
    a, b, t = schedule.a[index], schedule.b[index], schedule.time[index]
    p_x, p_o = _to_clean(schedule.prediction, a, b)
    c_skip, c_out = _boundary(t, rule)
    k_f, k_noise, k_eps = _move(a, b, rule, renoise)
    return Stages(t, a, b, p_x, p_o, c_skip, c_out, k_f, k_noise, k_eps)


def _to_clean(prediction: Prediction, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """x0 = p_x*x + p_o*output. Kept in x0, not eps: it stays finite where a = 0 (zero terminal SNR, flow at 1)."""
    one, zero = torch.ones_like(a), torch.zeros_like(a)
    return {
        "epsilon": (1 / a, -b / a),
        "v_prediction": (a, -b),
        "sample": (zero, one),
        "flow": (one, -b),
    }[prediction]


def _boundary(t: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    """The consistency boundary f = c_out*x0 + c_skip*x (LCM, arXiv 2310.04378, appendix C)."""
    if rule != "lcm":
        return torch.zeros_like(t), torch.ones_like(t)
    scaled = t * TIMESTEP_SCALING
    spread = scaled**2 + SIGMA_DATA**2
    return SIGMA_DATA**2 / spread, scaled / spread.sqrt()


def _move(a: Tensor, b: Tensor, rule: Rule, renoise: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of f, fresh noise and predicted eps in the next stage's x; the last stage moves nowhere."""
    end = a.new_zeros(1)
    a_next, b_next = torch.cat([a[1:], end]), torch.cat([b[1:], end])
    zero = torch.zeros_like(a)
    if rule == "ode":
        return a_next, zero, b_next
    return a_next, b_next if renoise else zero, zero
