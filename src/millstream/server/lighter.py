"""What a session gives up where memory did not suffice."""

from fractions import Fraction
from math import sqrt
from typing import Any

from millstream.engine import resolve
from millstream.live.latency import Rung, describe
from millstream.models import Model
from millstream.params import Settings

SMALLER = 0.75  # of the area, at each step down
FLOOR = 0.5  # of the sides that a model was trained on: much smaller, it draws nothing that it knows


def lighter(settings: Settings, model: Model, steps_down: int = 1) -> Settings:
    """Go down so many steps: each a quarter of the area, or at its floor a denoising step; on the last one, stay."""
    for _ in range(steps_down):
        settings = _step_down(settings, model)
    return settings


def traded(before: Settings, after: Settings, model: Model) -> str:
    """Say in words what was given up between the two; empty where nothing was."""
    return ", ".join(describe(_rung(before, model), _rung(after, model), share=Fraction(1)))


def _rung(settings: Settings, model: Model) -> Rung:
    config = resolve(settings.config, model)
    assert config.width and config.height
    return Rung(config.steps, config.width, config.height)


def _step_down(settings: Settings, model: Model) -> Settings:
    config = resolve(settings.config, model)
    assert config.width and config.height
    width, height = (_shorter(config.width, model.width, model), _shorter(config.height, model.height, model))
    if (width, height) != (config.width, config.height):
        return _with(settings, {"width": width, "height": height})
    if config.steps == 1:
        return settings
    index = settings.params.t_index
    return _with(settings, {"steps": config.steps - 1}, {"t_index": index and index[:-1]})


def _shorter(side: int, native: int, model: Model) -> int:
    """The next shorter side that the model takes, in pixels; the same below the floor."""
    shorter = max(int(side * sqrt(SMALLER)), int(native * FLOOR)) // model.multiple * model.multiple
    return min(side, max(shorter, model.multiple))


def _with(settings: Settings, config: dict[str, Any], params: dict[str, Any] | None = None) -> Settings:
    return settings.model_copy(
        update={
            "config": settings.config.model_copy(update=config),
            "params": settings.params.model_copy(update=params or {}),
        }
    )
