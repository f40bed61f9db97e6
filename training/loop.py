"""The training loop that autoencoder and denoiser share: seeded, resumable, logged, on a CPU or a GPU.

Every random draw of step k comes from (seed, k), so a run that stopped and went on ends in the same weights as one that
did not stop.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

TRIED = 40  # steps that a run's pace is taken of, the first half of them untimed: they compile and tune

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
GPU = DEVICE.type == "cuda"
FORMAT = torch.channels_last
if GPU:
    torch.backends.cudnn.benchmark = True  # a step's sizes never change
    # On an H100 (torch 2.11) the gradients of a self-attention were no numbers; cuDNN's, preferred there, is suspected.
    torch.backends.cuda.enable_cudnn_sdp(False)


@dataclass(frozen=True)
class Plan:
    """How long and how fast: optimiser steps, top learning rate, decay of the weight average, steps between saves."""

    steps: int
    rate: float
    average: float = 0.998
    save_every: int = 100
    warm_up: int = 100


def rate_at(plan: Plan, step: int) -> float:
    """Linear warm-up, then a cosine down to a fiftieth of the top rate."""
    warm = min(1.0, (step + 1) / plan.warm_up)
    return plan.rate * warm * (0.02 + 0.49 * (1 + math.cos(math.pi * step / plan.steps)))


def autocast() -> torch.autocast:
    """bfloat16 where it is fast: on a GPU, and on CPUs that have the instructions."""
    return torch.autocast(DEVICE.type, torch.bfloat16)


def generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, drawn where the network is: a GPU would wait long for those of a CPU."""
    return torch.Generator(DEVICE).manual_seed(seed * 10_000_019 + step)


class Trainer:
    """Optimises `model` with AdamW; keeps an exponential average of its weights; saves and resumes `path`."""

    def __init__(self, model: nn.Module, plan: Plan, path: Path) -> None:
        self.model = model.to(DEVICE, memory_format=FORMAT)  # type: ignore[call-overload]
        self.plan, self.path, self.step = plan, path, 0
        self.optimiser = torch.optim.AdamW(  # fused: an eighth of a step on two cores
            self.model.parameters(), plan.rate, betas=(0.9, 0.99), weight_decay=1e-2, fused=True
        )
        average = get_ema_multi_avg_fn(plan.average)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(self.model, multi_avg_fn=average)
        if path.exists():
            self._restore(torch.load(path, map_location=DEVICE, weights_only=True))

    def fit(self, loss: Callable[[int], Tensor], stop_at: int | None = None) -> None:
        """Train to the end of the plan (or to step `stop_at`); `loss` gives a step's mean loss.

        Stops with SystemExit, and saves nothing, where the loss has become no number.
        """
        last, began, losses = min(stop_at or self.plan.steps, self.plan.steps), time.monotonic(), []
        while self.step < last:
            losses.append(self._advance(loss(self.step)))
            if self.step % self.plan.save_every == 0 or self.step == last:
                mean, pace = float(torch.stack(losses).mean()), (time.monotonic() - began) / len(losses)
                if not math.isfinite(mean):
                    raise SystemExit(f"step {self.step}: the loss is {mean}; {self.path} keeps what was before")
                print(f"step {self.step} loss {mean:.4f} {pace:.3f} s/step", flush=True)
                self.save()
                began, losses = time.monotonic(), []

    def fitted(self, loss: Callable[[int], Tensor], until: float) -> Plan:
        """The plan with as many steps as fit until that moment (time.monotonic), by the pace of the next TRIED.

        One at least, with which what was learnt is saved.
        """
        half = TRIED // 2
        self._timed(loss, half)
        pace = self._timed(loss, half) / half
        return replace(self.plan, steps=self.step + max(1, int((until - time.monotonic()) / pace)))

    def _timed(self, loss: Callable[[int], Tensor], steps: int) -> float:
        """Do so many steps; give the seconds that they took."""
        began = time.monotonic()
        for _ in range(steps):
            last = self._advance(loss(self.step))
        float(last)  # waits for a GPU
        return time.monotonic() - began

    def _advance(self, loss: Tensor) -> Tensor:
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.plan, self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.averaged.update_parameters(self.model)
        self.step += 1
        return loss.detach()  # not as a number yet: a GPU would have to be waited for

    def save(self) -> None:
        """Write the whole state."""
        parts = {"model": self.model, "averaged": self.averaged.module, "optimiser": self.optimiser}
        write({"step": self.step, **{name: part.state_dict() for name, part in parts.items()}}, self.path)

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.averaged.module.load_state_dict(state["averaged"])
        self.averaged.n_averaged.fill_(1)  # what is there is an average, and no first weights to be replaced
        if "optimiser" in state:  # a run that begins with weights that shipped has none
            self.optimiser.load_state_dict(state["optimiser"])


def write(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, so that a stop at any moment leaves the last good one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(path)


def averaged_weights(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a saved run."""
    averaged: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["averaged"]
    return averaged
