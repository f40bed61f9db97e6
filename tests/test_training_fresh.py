from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from training import bank, batches, examples, fresh, latents, phases, shapes, tokenizer

pytestmark = pytest.mark.usefixtures("drawings")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(latents, "SCENES", 5)


@pytest.mark.parametrize(("step", "count"), [(0, 3), (1, 3), (2, 4), (7, 1)])
def test_scenes_are_drawn_anew_in_turns(step, count):
    found = fresh.fresh(step, count)
    for number, place, pictures, cover in zip(range(step * count, (step + 1) * count), *found, strict=True):
        assert int(place) == number % 5
        wanted, where = latents.drawn(number % 5, 1 + number // 5)
        assert np.array_equal(pictures, wanted) and np.array_equal(cover, where)


def test_every_turn_is_another_drawing_that_the_same_captions_ask_for():
    for index in range(4):
        scenes = [latents._sampled(index, turn)[0] for turn in range(3)]
        assert scenes[0] == latents.scene(index)
        assert len({(scene.obj, scene.place) for scene in scenes}) == 1
        assert len({scene.layout for scene in scenes}) == len({scene.variation for scene in scenes}) == 3


def test_steps_bring_new_scenes_where_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(phases, "PHASES", (phases.Phase(1.0, styles=0, drawings=2, texts=0, near=0.5),))

    def none(step, count, near):
        return batches.assemble([batches.Pair(0, 0, "")] * count, examples.FIRST, default_rng(0), near)

    steps = phases.Steps(9, tokenizer.build(), none, examples.Drawings(0, 5), none)
    monkeypatch.setattr(phases, "FRESH", 2)
    assert steps(3).fresh.places.tolist() == [6 % 5, 7 % 5]
    monkeypatch.setattr(phases, "FRESH", 0)
    assert steps(3).fresh is None


def test_new_scenes_take_the_place_of_older_ones_and_of_no_others():
    made, rng = bank.Bank.__new__(bank.Bank), default_rng(1)
    made.encoder, made.scaling = shapes.autoencoder().eval(), 0.5
    made.drawings = SimpleNamespace(begin=4)
    made.latents = torch.zeros(4 + 2 * 5 + 1, 4, 4, shapes.LATENT_CHANNELS, dtype=torch.float16)
    made.covers = torch.zeros(5, 4, 4, dtype=torch.uint8)
    pictures = rng.integers(0, 256, (2, 2, 32, 32, 3), np.uint8)
    covers = torch.ones(2, 4, 4, dtype=torch.uint8)
    made.renew(fresh.Fresh(torch.tensor([3, 1]), torch.from_numpy(pictures), covers))
    for place, both in zip((3, 1), pictures, strict=True):
        wanted = 0.5 * latents.encode(made.encoder, both).astype(np.float32).transpose(0, 2, 3, 1)
        rows = made.latents[4 + 2 * place : 6 + 2 * place]
        assert np.allclose(rows.float(), wanted, atol=2e-2) and rows.abs().max() > 0.1
    assert made.covers.flatten(1).any(1).tolist() == [False, True, False, True, False]
    untouched = [row for row in range(15) if row not in (6, 7, 10, 11)]
    assert not made.latents[untouched].any()
