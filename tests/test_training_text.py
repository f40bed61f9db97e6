from itertools import islice

import pytest
import torch
from numpy.random import default_rng

from training import captions, loop, scenes, text, tokenizer


@pytest.fixture(scope="module")
def words():
    return tokenizer.build()


def test_a_meaning_is_read_back_from_its_names():
    for asked in ((None, "cat", "space"), ("neon", None, None), (None, None, None)):
        assert tuple(names[index] for names, index in zip(text.NAMES, text.meaning(*asked), strict=True)) == asked


def test_captions_ask_for_a_style_or_for_a_scene_and_mean_all_there_is():
    rng = default_rng(1)
    drawn = [text.sample(rng).meaning for _ in range(4000)]
    none = text.meaning()
    assert all(style == none[0] or (obj, place) == none[1:] for style, obj, place in drawn)
    for head, names in enumerate(text.NAMES):
        assert {meaning[head] for meaning in drawn} == set(range(len(names)))


def test_disturbed_captions_keep_most_words_and_are_often_as_they_were(monkeypatch):
    rng, asked = default_rng(2), "a picture of a cat in space"
    made = [text.disturbed(asked, rng) for _ in range(400)]
    assert 0.2 < sum(one == asked for one in made) / len(made) < 0.8
    assert sum("cat" in one.split() for one in made) / len(made) > 0.9
    assert text.disturbed("cat", rng)
    monkeypatch.setattr(text, "LOST", 0)
    monkeypatch.setattr(text, "FILLED", 0)
    for _ in range(50):
        assert sorted(text.disturbed(asked, rng).split()) == sorted(asked.split())


def test_what_has_heard_all_is_the_end_and_what_is_behind_it(words):
    _, heard = text.Reader(words)(["a cat", "night"])
    assert heard[0].tolist() == [False] * 3 + [True] * 21
    assert heard[1].tolist() == [False] * 2 + [True] * 22


def test_the_loss_looks_only_at_tokens_that_have_heard_all(words):
    model = text.Reader(words)
    scores, heard = model(["a cat in space"])
    loss = (text.Loss(model)._entropy(scores[1], torch.tensor([0])) * heard).sum()
    (gradient,) = torch.autograd.grad(loss, scores[1])
    assert (gradient[0].abs().sum(dim=1) > 0).tolist() == heard[0].tolist()


def test_it_learns_to_read_what_it_never_heard(words, monkeypatch, tmp_path):
    few = dict(islice(scenes.OBJECTS.items(), 36))  # 160 take several times as long
    monkeypatch.setattr(scenes, "OBJECTS", few)
    monkeypatch.setattr(text, "NAMES", (text.NAMES[0], (*few, None), text.NAMES[2]))
    monkeypatch.setattr(text, "BATCH", 64)
    torch.manual_seed(0)
    model, unheard = text.Reader(words), text.unheard(100)
    before = text.named(model, unheard)
    loop.Trainer(model, loop.Plan(steps=300, rate=2e-3, save_every=300, warm_up=20), tmp_path / "text.pt").fit(
        text.Loss(model)
    )
    after = text.named(model, unheard)
    assert max(before) < 0.5
    assert min(after) > 0.6


def test_what_is_kept_back_was_never_heard():
    rng = default_rng(3)
    heard = {captions.caption(style, rng) for style in captions.PHRASES for _ in range(200)}
    heard |= {scenes.caption("cat", place, rng) for place in scenes.PLACES for _ in range(200)}
    assert not heard & {caption.text for caption in text.unheard(200)}
