import numpy as np
import pytest
import torch
from numpy.random import default_rng

from training import (
    autoencoder,
    bank,
    batches,
    captions,
    examples,
    latents,
    phases,
    pools,
    scenes,
    shapes,
    styles,
    text,
    tokenizer,
)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_first_step_starts_at_the_sources_times_and_text_alone_at_the_last(share):
    rng = default_rng(4)
    drawn = np.array([batches.draw_first(rng, examples.FIRST, False, share) for _ in range(4000)])
    assert batches.SOURCE_FROM <= drawn.min() <= drawn.max() < 960
    near = (abs(drawn - 499) <= 20) | (abs(drawn - 739) <= 20)
    assert near.mean() == pytest.approx(share + (1 - share) * 82 / 575, abs=0.03)
    alone = np.array([batches.draw_first(rng, examples.FIRST, True, share) for _ in range(4000)])
    assert alone.min() >= 940
    assert (alone == 999).mean() == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_second_step_is_below_the_first_and_mostly_where_the_engine_puts_it(share):
    rng = default_rng(5)
    for first, usual in ((499, 259), (739, 379), (999, 499)):
        drawn = np.array([batches.draw_second(rng, first, share) for _ in range(2000)])
        assert drawn.max() < first
        assert drawn.min() >= 20
        others = (1 - share) * 61 / (min(first, 520) - 20)
        assert (abs(drawn - usual) <= 30).mean() == pytest.approx(share + others, abs=0.04)


def pairs():
    return [batches.Pair(index, index + 1, "a", text_only=index % 2 == 0) for index in range(2000)]


def test_examples_are_first_steps_second_steps_or_the_target_itself():
    batch = batches.assemble(pairs(), examples.FIRST, default_rng(6), 0.5)
    second, teacher = batch.second >= 0, batch.teacher
    assert not (second & teacher).any()
    assert abs(second.sum() - batches.DOUBLE * 2000) <= 1
    assert abs((~second & ~teacher).sum() - batches.SINGLE * 2000) <= 1
    for kind in (second, teacher, batch.text_only):
        assert abs(np.flatnonzero(kind).mean() - 1000) < 60  # spread over the batch, not in a row
    assert (batch.second < batch.first)[second].all()
    assert (batch.first[~teacher] >= batches.SOURCE_FROM).all()
    assert (batch.first[~teacher & batch.text_only] >= 940).all()


@pytest.mark.parametrize("phase", phases.ON_GPU)
def test_on_a_gpu_every_batch_has_as_many_second_steps(phase):
    rng = default_rng(12)
    for count in (phase.styles, phase.drawings, phase.texts):
        made = [batches.assemble(pairs()[:count], examples.FIRST, rng, 0.5) for _ in range(20)]
        assert {int((batch.second >= 0).sum()) for batch in made} == {round(batches.DOUBLE * count)}


def test_a_small_batch_has_each_kind_as_often_as_a_large_one():
    rng = default_rng(10)
    three = pairs()[:3]
    many = [batches.assemble(three, examples.FIRST, rng, 0.5) for _ in range(2000)]
    teacher = np.mean([batch.teacher.mean() for batch in many])
    assert teacher == pytest.approx(1 - batches.SINGLE - batches.DOUBLE, abs=0.02)


def test_texts_of_a_batch_share_a_place_and_differ_in_the_object():
    made, asked, seen = examples.Texts(100), latents.asked(), set()
    for step in range(60):
        drawn = made(step, 5, 0.5)
        assert [len(made(step, count, 0.5).texts) for count in (3, 8, 21)] == [3, 8, 21]
        pairs = [asked[row - 100] for row in drawn.target]
        assert len({place for _, place in pairs}) == 1
        assert len({obj for obj, _ in pairs}) == 5
        assert drawn.text_only.all()
        assert all(any(phrase in text for phrase in scenes.OBJECTS[obj])
                   for text, (obj, _) in zip(drawn.texts, pairs, strict=True) if obj)  # fmt: skip
        seen |= set(pairs)
    assert (None, None) not in seen
    assert {place for _, place in seen} == {None, *scenes.PLACES}
    assert {None} < {obj for obj, _ in seen} <= {None, *latents.TAUGHT}


@pytest.fixture
def styled(monkeypatch, tmp_path):
    """Styles over 40 crops, from row 7 on."""
    monkeypatch.setattr(pools, "POOL", tmp_path)
    np.save(tmp_path / "which.npy", np.stack([pools.assigned(index) for index in range(40)]))
    return examples.Styles(7)


def test_a_style_leads_from_a_crop_to_its_own_version_and_a_neutral_caption_nowhere(styled):
    drawn = styled(0, 2000, 0.5)
    names, neutral, hard = list(styles.STYLES), 0, 0
    for source, target, caption in zip(drawn.source, drawn.target, drawn.texts, strict=True):
        crop, version = divmod(target - 7, 1 + pools.PER_CROP)
        assert 0 <= crop < 40
        if source == target:
            neutral += 1
            continue
        assert source == 7 + crop * (1 + pools.PER_CROP)
        style = names[pools.assigned(crop)[version - 1]]
        assert any(phrase in caption for phrase in captions.PHRASES[style])
        hard += style in examples.HARD_STYLES
    share = examples.HARD + (1 - examples.HARD) * len(examples.HARD_STYLES) / len(names)
    assert hard / (2000 - neutral) == pytest.approx(share, abs=0.04)
    assert neutral / 2000 == pytest.approx(examples.NEUTRAL, abs=0.03)


def test_a_drawing_leads_to_its_scene_or_stays_as_it_is():
    made = examples.Drawings(50, 30)
    drawn, kept, hard = made(0, 2000, 0.5), 0, 0
    for source, target, cover, caption in zip(drawn.source, drawn.target, drawn.cover, drawn.texts, strict=True):
        assert 50 <= target < 110
        if source == target:
            kept += 1
            assert cover == -1
            continue
        assert cover == (target - 50) // 2
        scene = latents.scene((target - 50) // 2)
        assert scene.obj in latents.TAUGHT
        assert (target - 50) % 2 == 0 and source == target + 1
        assert any(phrase in caption for phrase in scenes.OBJECTS[scene.obj])
        hard += scene.obj in examples.HARD_OBJECTS
    share = examples.HARD + (1 - examples.HARD) * len(made.hard) / len(made.scenes)
    assert hard / (2000 - kept) == pytest.approx(share, abs=0.04)
    assert kept / 2000 == pytest.approx(examples.KEPT, abs=0.03)


def counting(name):
    """Stands where examples are, and gives as many as were asked for."""

    def batch(step, count, near):
        pairs = [batches.Pair(step, step, f"{name} {step}", text_only=name == "text")] * count
        return batches.assemble(pairs, examples.FIRST, default_rng(8), near)

    return batch


@pytest.mark.parametrize("recipe", [phases.ON_CPU, phases.ON_GPU])
def test_every_step_has_styles_and_scenes_as_its_phase_says(recipe, monkeypatch):
    monkeypatch.setattr(phases, "PHASES", recipe)
    words, begin = tokenizer.build(), 0
    steps = phases.Steps(1000, words, counting("style"), counting("drawing"), counting("text"))
    for phase in recipe:
        end = round(phase.until * 1000)
        for step in (begin, end - 1):
            batch, tokens, _ = steps(step)
            assert batch.texts == (
                [f"style {step}"] * phase.styles + [f"drawing {step}"] * phase.drawings + [f"text {step}"] * phase.texts
            )
            assert torch.equal(tokens, text.encode(words, batch.texts))
            assert int(batch.text_only.sum()) == phase.texts
        begin = end
    assert begin == 1000


@pytest.mark.parametrize("workers", [0, 2])
def test_steps_drawn_ahead_come_in_order_and_alike_wherever_they_begin(workers, monkeypatch):
    monkeypatch.setattr(phases, "WORKERS", workers)
    words = tokenizer.build()
    steps = phases.Steps(30, words, counting("style"), examples.Drawings(0, 5), examples.Texts(10))
    drawn = list(steps.begin(20))
    assert len(drawn) == 10
    for step, (batch, tokens, _) in enumerate(drawn, 20):
        wanted, wanted_tokens, _ = steps(step)
        assert batch.texts == wanted.texts and torch.equal(tokens, wanted_tokens)
        assert np.array_equal(batch.target, wanted.target) and np.array_equal(batch.first, wanted.first)


def test_batches_become_one_and_nothing_in_them_changes():
    made = [counting(f"{n}")(n, n + 1, 0.5) for n in range(4)]
    found = batches.joined(made)
    assert found.texts == [caption for batch in made for caption in batch.texts]
    for name in ("source", "target", "text_only", "cover", "first", "second", "teacher"):
        assert np.array_equal(getattr(found, name), np.concatenate([getattr(batch, name) for batch in made]))


def test_the_bank_gives_the_latents_that_a_batch_names(monkeypatch, tmp_path):
    rng = default_rng(11)
    shapes_of = {
        "LATENTS": (3, 9, 2, 32, 32),
        "DRAWN": (4, 2, 2, 32, 32),
        "CANONICAL": (len(latents.asked()), 2, 32, 32),
    }
    covers = rng.integers(0, 2, (4, 32, 32), np.uint8)
    np.save(tmp_path / "covers.npy", covers)
    monkeypatch.setattr(latents, "COVERS", tmp_path / "covers.npy")
    files = {name: rng.standard_normal(shape).astype(np.float16) for name, shape in shapes_of.items()}
    for name, file in files.items():
        np.save(tmp_path / f"{name}.npy", file)
        monkeypatch.setattr(latents, name, tmp_path / f"{name}.npy")
    monkeypatch.setattr(pools, "POOL", tmp_path)
    np.save(tmp_path / "which.npy", np.stack([pools.assigned(index) for index in range(3)]))
    monkeypatch.setattr(autoencoder, "trained", shapes.autoencoder)
    np.save(tmp_path / "scaling.npy", 0.5)
    monkeypatch.setattr(latents, "SCALING", tmp_path / "scaling.npy")
    made = bank.Bank()
    every = np.concatenate([file.reshape(-1, 2, 32, 32) for file in files.values()]).astype(np.float32)
    drawings = made.drawings(0, 9, 0.5)
    for batch in (made.styles(0, 20, 0.5), drawings, made.texts(0, 6, 0.5)):
        found = made.examples(batch)
        assert np.array_equal(found.source.numpy(), every[batch.source])
        assert np.array_equal(found.target.numpy(), every[batch.target])
        assert found.scene.tolist() == ((batch.cover >= 0) | batch.text_only).tolist()
        for cover, counts in zip(batch.cover, found.counts, strict=True):
            there = covers[cover] if cover >= 0 else np.zeros((32, 32))
            assert np.array_equal(counts.numpy(), 1 + bank.OBJECT * there)
        assert found.again.tolist() == [place for place, time in enumerate(batch.second) if time >= 0]
        assert found.first.tolist() == batch.first.tolist()
    assert {len(files["LATENTS"]) * 9 <= row < len(every) - len(latents.asked()) for row in drawings.target} == {True}
