"""What a scheduler's configuration says: the noise levels a model was trained on, and how it wants to be stepped."""

from inspect import isclass
from typing import Any, cast, get_args

import diffusers
from diffusers import FlowMatchEulerDiscreteScheduler, LCMScheduler, SchedulerMixin

from millstream.core.schedule import NoiseSchedule, Prediction, Rule
from millstream.errors import ModelError

TURBO_SCHEDULERS = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")


def make_scheduler(config: dict[str, Any]) -> SchedulerMixin:
    """Make the scheduler that `scheduler_config.json` names. Raises ModelError where diffusers has none of it."""
    name = config.get("_class_name")
    kind = getattr(diffusers, str(name), None)
    if not isclass(kind) or not issubclass(kind, SchedulerMixin):
        raise ModelError(f"model: scheduler {name} is unknown; name one of diffusers' in scheduler_config.json")
    return cast(Any, kind).from_config(config)


def noise_schedule(scheduler: SchedulerMixin) -> NoiseSchedule:
    """Noise levels and meaning of the network's output. Raises ModelError where they follow neither known form."""
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return NoiseSchedule.flow(scheduler.config.num_train_timesteps, scheduler.config.shift)
    prediction = scheduler.config.get("prediction_type", "epsilon")
    if prediction not in get_args(Prediction) or not hasattr(scheduler, "alphas_cumprod"):
        kind = type(scheduler).__name__
        raise ModelError(f"model: cannot read noise levels from {kind} ({prediction}); use DDIMScheduler's form")
    return NoiseSchedule.from_alphas_cumprod(scheduler.alphas_cumprod, cast(Prediction, prediction))


def recognise_rule(scheduler: SchedulerMixin, distilled: bool) -> Rule:
    """Choose the stepping rule: `lcm` for consistency models, `turbo` for distilled x0 models, else `ode`.

    `distilled` says that the weights are a consistency model's: an LCM-LoRA is fused, or the UNet takes the guidance
    scale. sd-turbo and its kin are known by Euler steps of trailing spacing; a model with zero terminal SNR has
    trailing spacing too (arXiv 2305.08891), and is none of them.
    """
    if distilled or isinstance(scheduler, LCMScheduler):
        return "lcm"
    config = scheduler.config
    trailing = config.get("timestep_spacing") == "trailing" and not config.get("rescale_betas_zero_snr")
    return "turbo" if trailing and type(scheduler).__name__ in TURBO_SCHEDULERS else "ode"
