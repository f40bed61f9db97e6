import numpy as np
import pytest
import torch
from numpy.random import default_rng

from training import classifier, compose, loop

pytestmark = pytest.mark.usefixtures("drawings")


def test_examples_are_objects_and_none_in_clean_and_in_rough_places():
    rng = default_rng(0)
    made = [classifier.example(rng) for _ in range(400)]
    none = np.array([one.obj == classifier.NONE for one in made])
    clean = np.array([one.clean for one in made])
    assert none.mean() == pytest.approx(classifier.EMPTY + classifier.BLOBS, abs=0.08)
    assert clean.mean() == pytest.approx(1 - classifier.FLAT, abs=0.08)
    assert none[clean].mean() == pytest.approx(none[~clean].mean(), abs=0.15)  # the place tells nothing of the object
    assert {one.place for one in made} == set(range(len(compose.PLACES)))


def test_a_blob_lies_where_its_object_does_and_is_not_it():
    rng = default_rng(1)
    for _ in range(20):
        scene = compose.sample(rng)
        figure, blob = compose.figure(scene), classifier.blob(scene, rng)
        assert blob.shape == figure.shape
        assert np.abs(blob.astype(int) - figure).mean() > 1
        overlap = (np.minimum(blob[..., 3], figure[..., 3]) > 60).sum() / (figure[..., 3] > 127).sum()
        assert overlap > 0.5


def test_a_step_depends_on_its_number_alone():
    torch.manual_seed(0)
    loss = classifier.Loss(classifier.Classifier())
    first, again, second = loss(0).item(), loss(0).item(), loss(1).item()
    assert first == again != second


@pytest.mark.parametrize("side", [64, 96])
def test_the_network_scores_every_object_and_place(side):
    objects_, places = classifier.Classifier()(torch.zeros(3, 3, side, side))
    assert objects_.shape == (3, len(compose.OBJECTS) + 1)
    assert places.shape == (3, len(compose.PLACES))


def test_disturbing_a_picture_leaves_most_of_it():
    picture = classifier.shrunk(compose.draw(compose.canonical("cat", "beach")))
    rng = default_rng(1)
    for _ in range(20):
        made = classifier.disturbed(picture, rng)
        assert made.shape == (classifier.SIDE, classifier.SIDE, 3)
        assert 0 < np.abs(made.astype(int) - picture).mean() < 25


def test_judge_names_what_the_saved_network_scores_highest(tmp_path, monkeypatch):
    model = classifier.Classifier()
    torch.nn.init.zeros_(model.out.weight)
    torch.nn.init.zeros_(model.out.bias)
    model.out.bias.data[compose.OBJECTS.index("owl")] = 1
    model.out.bias.data[classifier.NONE + 1 + compose.PLACES.index("sea")] = 1
    loop.Trainer(model, classifier.PLAN, tmp_path / "classifier.pt").save()
    monkeypatch.setattr(classifier, "CHECKPOINT", tmp_path / "classifier.pt")
    classifier.trained.cache_clear()
    rng = default_rng(2)
    count = classifier.TOGETHER + 3
    pictures = np.stack([compose.draw(compose.sample(rng)) for _ in range(count)])
    assert classifier.judge(pictures) == (["owl"] * count, ["sea"] * count)
    classifier.trained.cache_clear()
