"""The model's fingerprint: the same for the same numbers, wherever they lie, and another for others."""

import shutil

import pytest
import torch

from millstream.models import load_model
from millstream.params import ModelConfig
from tests import tiny


def load(folder=None, **config):
    return load_model(ModelConfig(name=str(folder or tiny.small()), device="cpu", **config))


def test_it_is_that_of_the_numbers_and_not_of_the_place(tmp_path):
    shutil.copytree(tiny.small(), tmp_path / "copy")
    assert load().fingerprint == load().fingerprint == load(tmp_path / "copy").fingerprint


@pytest.mark.parametrize("part", [0, 1])
def test_one_changed_weight_changes_it(part):
    model, other = load(), load()
    weight = list(other.parts[part].parameters())[-1]
    with torch.no_grad():
        weight.view(-1)[-1] += 1e-3
    assert model.fingerprint != other.fingerprint


def test_numbers_of_another_kind_change_it():
    assert load().fingerprint != load(dtype="bfloat16").fingerprint


def test_a_configuration_alone_changes_it():
    model, other = load(), load()
    other.codec.vae.register_to_config(scaling_factor=0.5)
    assert model.fingerprint != other.fingerprint
