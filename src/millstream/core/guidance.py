"""Guidance as one linear form over clean estimates (StreamDiffusion, arXiv 2312.12491, section 3.3).

The paper writes eps = delta*e + gamma*(eps_c - delta*e), with e the virtual residual noise that leads from x to a
reference r: e = (x - a*r)/b. Put into x0 = (x - b*eps)/a this is

    x0 = gamma*x0_c + (1 - gamma)*(delta*r + (1 - delta)*x/a)

with r the frame's own clean latent (self-negative), or the clean estimate under the negative prompt at stage 0 kept
with the frame (one-time negative). Full guidance is the same form with delta = 1 and r the estimate under the
negative prompt at the row's own stage; no guidance is gamma = 1. So a mode is three weights per row and a rule for
which rows are run a second time under the negative prompt.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from millstream.errors import BadInputError

Mode = Literal["none", "full", "self-negative", "one-time-negative"]


class Weights(NamedTuple):
    """Guided x0 = g_c*x0_c + g_r*reference + g_x*x."""

    g_c: Tensor
    g_r: Tensor
    g_x: Tensor


def guidance_weights(mode: Mode, gamma: float, delta: float, a: Tensor) -> Weights:
    """Weights of the linear form, each of the shape of `a`.

    Raises BadInputError where delta != 1 meets a = 0: there the residual noise says nothing of x0.
    """
    gamma = 1.0 if mode == "none" else gamma
    delta = 1.0 if mode == "full" else delta
    spill = (1 - gamma) * (1 - delta)
    if spill and bool((a == 0).any()):
        raise BadInputError("delta: must be 1 for this model's noisiest step; lower strength or set delta to 1")
    g_x = spill / a if spill else torch.zeros_like(a)
    return Weights(torch.full_like(a, gamma), torch.full_like(a, (1 - gamma) * delta), g_x)


def negative_rows(mode: Mode, stages: int, frames: int) -> int:
    """How many rows, counted from stage 0, are run a second time under the negative prompt."""
    return {"full": stages * frames, "one-time-negative": frames}.get(mode, 0)
