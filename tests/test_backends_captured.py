"""CUDA graphs: what they read is what was passed last; on a card, pictures as eager makes them."""

import pytest
import torch

from millstream.backends.captured import chosen_convolutions, load
from millstream.backends.choice import KINDS
from millstream.models import load_model
from millstream.params import ModelConfig
from tests import tiny
from tests.backends import assert_alike, play

needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")


def test_values_of_every_type_come_into_their_places_in_any_order():
    kinds = [torch.float32, torch.uint8, torch.float16, torch.int64, torch.float32]
    values = [torch.arange(6).reshape(2, 3).add(i).to(kind) for i, kind in enumerate(kinds)]
    places = [torch.zeros(2, 3, dtype=kind) for kind in kinds]
    addresses = [place.data_ptr() for place in places]
    with torch.inference_mode():  # as a tick is
        load(places, values)
    assert all(map(torch.equal, places, values))
    assert [place.data_ptr() for place in places] == addresses


def test_a_missing_value_is_no_quiet_one():
    with pytest.raises(ValueError, match="zip"):
        load([torch.zeros(1), torch.zeros(1)], [torch.ones(1)])


def test_convolutions_are_chosen_while_a_tick_is_recorded_and_no_longer():
    usual = torch.backends.cudnn.benchmark
    with pytest.raises(KeyError), chosen_convolutions():
        assert torch.backends.cudnn.benchmark
        raise KeyError
    assert torch.backends.cudnn.benchmark == usual


@needs_card
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["cudagraph", "inductor"])
@pytest.mark.parametrize("form", [{"steps": 2, "guidance": "one-time-negative", "frame_buffer": 2}])
def test_pictures_equal_eager_through_every_change_and_one_graph(form, backend):
    assert KINDS[backend].missing(torch.device("cuda:0"), torch.float32) is None
    model = load_model(ModelConfig(name=str(tiny.small()), device="cuda", dtype="float32"))
    engine, outputs = play(model, [form, form], backend=backend)
    _, expected = play(model, [form, form], backend="eager")
    assert_alike(outputs, expected, off_by=3, decibels=50)
    assert len(engine.plans) == 1
