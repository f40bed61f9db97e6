"""What is given up for memory: a quarter of the area at a time, then steps, then nothing."""

import pytest

from millstream.engine import resolve
from millstream.models import load_model
from millstream.params import ModelConfig
from millstream.server.lighter import lighter, traded
from tests import tiny
from tests.workers import settings


@pytest.fixture(scope="module")
def model():
    return load_model(ModelConfig(name=str(tiny.small())))


def test_size_goes_first_down_to_half_the_model_s_own_then_steps(model):
    assert (model.width, model.multiple) == (32, 8)
    wanted = settings(width=64, height=48, steps=3)
    ways = [lighter(wanted, model, steps).config for steps in range(10)]
    sizes = [(way.width, way.height, way.steps) for way in ways]
    assert sizes == [
        (64, 48, 3),
        (48, 40, 3),
        (40, 32, 3),
        (32, 24, 3),
        (24, 16, 3),
        (16, 16, 3),
        (16, 16, 2),
        (16, 16, 1),
        (16, 16, 1),
        (16, 16, 1),
    ]


@pytest.mark.parametrize("width", [None, 16, 24, 32, 40, 96, 200])
@pytest.mark.parametrize("height", [None, 16, 72])
def test_every_step_down_is_a_size_that_the_model_takes_and_none_goes_up(model, width, height):
    before = settings(width=width, height=height, steps=2)
    for _ in range(20):
        after = lighter(before, model)
        then, now = resolve(before.config, model), resolve(after.config, model)
        assert now.width <= then.width
        assert now.height <= then.height
        assert bool(traded(before, after, model)) == (before != after)
        before = after
    assert (after.config.width, after.config.height, after.config.steps) == (16, 16, 1)


def test_indices_go_with_their_steps_and_all_else_stays(model):
    wanted = settings(width=16, height=16, steps=3, t_index=(10, 20, 30), prompt="a", seed=9, frame_buffer=2)
    after = lighter(wanted, model)
    assert after.params == wanted.params.model_copy(update={"t_index": (10, 20)})
    assert after.config == wanted.config.model_copy(update={"steps": 2})
    assert traded(wanted, after, model) == "steps 3 -> 2"
