from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from safetensors.torch import load_file
from torch import nn

from millstream import embedded
from training import (
    autoencoder,
    bank,
    captions,
    crops,
    denoiser,
    latents,
    loop,
    objects,
    phases,
    scenes,
    shapes,
    shipped,
    styles,
    text,
    tokenizer,
)
from training.things import THINGS

SIZES = [(64, 64), (48, 80), (33, 57)]


def picture(height: int = 64, width: int = 64) -> np.ndarray:
    """Smooth colours with an edge and some grain."""
    rng = default_rng(0)
    y, x = np.mgrid[:height, :width]
    planes = np.stack([x * 255 / width, y * 255 / height, np.where(x + y > height, 200, 30)], axis=2)
    return np.clip(planes + rng.normal(0, 6, planes.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("style", styles.STYLES)
def test_style_is_a_picture_of_the_same_size_and_always_the_same(style):
    for size in SIZES:
        source = picture(*size)
        before = source.copy()
        made = styles.apply(style, source)
        assert made.shape == source.shape
        assert made.dtype == np.uint8
        assert np.array_equal(made, styles.apply(style, source))
        assert np.array_equal(source, before)


def test_styles_differ_from_the_picture_and_from_each_other():
    source = crops.dead_leaves(crops.Library([[picture(200, 200)]], []), default_rng(1), 128)
    source = np.rint(source.clip(0, 1) * 255).astype(np.uint8)
    made = [source, *(styles.apply(style, source) for style in styles.STYLES)]
    distances = [np.abs(a.astype(int) - b).mean() for i, a in enumerate(made) for b in made[:i]]
    assert min(distances) > 4


@pytest.mark.parametrize("style", ["night", "sepia", "watercolour", "neon", "comic"])
def test_a_faint_change_of_light_changes_a_style_little(style):
    source = picture()
    brighter = np.clip(source.astype(int) + 2, 0, 255).astype(np.uint8)
    change = np.abs(styles.apply(style, source).astype(int) - styles.apply(style, brighter)).mean()
    assert change < 12


def test_patterned_styles_repeat_every_32_pixels():
    flat = np.full((96, 96, 3), 120, np.uint8)
    for style in ("comic", "mosaic", "stained glass", "vaporwave"):
        made = styles.apply(style, flat)
        assert np.abs(made[32:64, 16:48].astype(int) - made[32:64, 48:80]).max() <= 1


def test_crops_depend_on_their_number_alone():
    drawing = np.dstack([picture(40, 40), np.full((40, 40), 255, np.uint8)])
    shelf = crops.Library([[picture(90, 120)], [picture(70, 70)]], [drawing])
    made = [crops.crop(shelf, index, 64) for index in range(40)]
    assert all(one.shape == (64, 64, 3) and one.dtype == np.uint8 for one in made)
    assert all(np.array_equal(made[index], crops.crop(shelf, index, 64)) for index in (0, 7, 39))
    assert not np.array_equal(made[0], made[1])


def test_every_caption_word_is_one_token():
    words = tokenizer.build()
    for word in captions.words():
        if word.isalpha():
            assert len(words(word).input_ids) == 3, word


def test_prompts_are_lower_cased_padded_and_cut():
    words = tokenizer.build()
    assert words("Pencil SKETCH").input_ids == words("pencil  sketch").input_ids
    ids = words(["", "sketch " * 60], padding="max_length", truncation=True).input_ids
    assert [len(row) for row in ids] == [shapes.WORDS, shapes.WORDS]
    assert ids[0] == [words.bos_token_id] + [words.eos_token_id] * (shapes.WORDS - 1)
    assert ids[1][-1] == words.eos_token_id


def test_tokenizer_survives_its_files(tmp_path):
    words = tokenizer.build()
    tokenizer.save(words, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"vocab.json", "merges.txt", "tokenizer_config.json"}
    loaded = type(words).from_pretrained(tmp_path)
    for prompt in ("a pencil sketch, detailed", "zebra é 42 🙂", ""):
        assert loaded(prompt).input_ids == words(prompt).input_ids
    assert loaded.model_max_length == shapes.WORDS


def test_captions_name_their_style_and_held_out_phrases_are_new():
    rng = default_rng(3)
    for style, phrases in captions.PHRASES.items():
        drawn = [captions.caption(style, rng) for _ in range(30)]
        assert all(any(phrase in text for phrase in phrases) for text in drawn)
        assert not set(phrases) & set(captions.HELD_OUT[style])
    assert captions.PHRASES.keys() == captions.HELD_OUT.keys() == styles.STYLES.keys()
    assert "" in {captions.caption(None, rng) for _ in range(200)}


class Linear(nn.Module):
    """A decoder that is a convolution of 3x3 latents, and so what is looked for."""

    def __init__(self):
        super().__init__()
        self.kernel = torch.randn(3 * 64, 4, 3, 3, generator=torch.Generator().manual_seed(1))
        self.decoder = self.decode

    def decode(self, latent):
        return nn.functional.pixel_shuffle(nn.functional.conv2d(latent, self.kernel, padding=1) + 0.3, 8)


def test_the_nearest_convolution_of_a_linear_decoder_is_itself():
    model = Linear()
    latent = torch.randn(20, 4, 6, 6, generator=torch.Generator().manual_seed(2))
    found = torch.from_numpy(latents.pixels_of(model, latent, scaling=0.5))
    assert torch.allclose(found, model.kernel / 0.5, atol=1e-3)


def test_the_text_encoder_stays_as_it_is():
    model = denoiser.Denoiser(text.Reader(tokenizer.build()))
    assert not any(weight.requires_grad for weight in model.text.parameters())
    assert all(weight.requires_grad for weight in model.unet.parameters())


class Echo(nn.Module):
    """Stands where the UNet does, and says that all is grey."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, times, prompt):
        self.seen.append((x, times))
        return SimpleNamespace(sample=torch.zeros_like(x))


def test_text_alone_starts_from_noise_and_a_second_step_from_the_answer_to_the_first():
    model = denoiser.Denoiser(text.Reader(tokenizer.build()))
    model.unet = Echo()
    latent = torch.ones(4, 2, 4, 4)
    drawn = bank.Examples(
        source=0 * latent,
        target=latent,
        counts=torch.ones(1),
        scene=torch.tensor([True, False, False, True]),
        text_only=torch.tensor([True, False, False, True]),
        first=torch.tensor([999, 499, 739, 300]),
        second=torch.tensor([-1, -1, 379, -1]),
        teacher=torch.tensor([False, False, False, True]),
        again=torch.tensor([2]),
    )
    noise = torch.randn((2, 4, 2, 4, 4), generator=torch.Generator().manual_seed(0))
    noisy, times = denoiser.network_input(model, drawn, noise, torch.zeros(4, 24, 128))
    a, b = (level.flatten() for level in model.levels(torch.tensor([999, 499, 739, 300])))
    b_second = model.levels(torch.tensor([379]))[1].flatten()
    assert times.tolist() == [999, 499, 379, 300]
    assert torch.equal(noisy[0], noise[0, 0])
    assert torch.allclose(noisy[1], b[1] * noise[0, 1])
    assert torch.allclose(noisy[2], b_second * noise[1, 2])
    assert torch.allclose(noisy[3], a[3] * latent[3] + b[3] * noise[0, 3])
    assert [seen[1].tolist() for seen in model.unet.seen] == [[739]]


def test_noise_leaves_most_of_a_latent_at_the_default_timesteps_and_nothing_at_the_last():
    alphas = shapes.scheduler().alphas_cumprod
    assert alphas[0] > 0.999
    assert alphas[259] == pytest.approx(np.exp(-(0.088 * 0.26 + 4 * 0.26**6.3)), rel=1e-4)
    assert 0.9 < alphas[499] < 0.92
    assert alphas[999] < 0.02
    assert (alphas.diff() < 0).all()


def tiny(path, steps):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3))
    trainer = loop.Trainer(model, loop.Plan(steps=steps, rate=1e-2, save_every=2, warm_up=2), path)

    def loss(step):
        data = torch.randn((2, 3, 8, 8), generator=loop.generator(7, step)).to(loop.DEVICE)
        return model(data).square().mean()

    return trainer, loss


def test_a_run_that_stopped_ends_in_the_same_weights(tmp_path):
    whole, loss = tiny(tmp_path / "whole.pt", 8)
    whole.fit(loss)
    first, loss = tiny(tmp_path / "parts.pt", 8)
    first.fit(loss, stop_at=3)
    second, loss = tiny(tmp_path / "parts.pt", 8)
    assert second.step == 3
    second.fit(loss)
    for name in ("whole.pt", "parts.pt"):
        assert (tmp_path / name).exists()
    one, other = (loop.averaged_weights(tmp_path / name) for name in ("whole.pt", "parts.pt"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True))


@pytest.mark.parametrize("seconds", [0.0, 100.0])
def test_a_run_that_is_given_time_does_as_many_steps_as_fit(tmp_path, monkeypatch, seconds):
    clock = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    trainer, loss = tiny(tmp_path / "run.pt", 1000)

    def slow(step):
        clock[0] += 5 if step < loop.TRIED / 2 else 2  # the first ones compile
        return loss(step)

    tried = 5 * loop.TRIED / 2 + 2 * loop.TRIED / 2
    trainer.plan = trainer.fitted(slow, tried + seconds)
    left = max(1, int(seconds / 2))
    assert trainer.plan == loop.Plan(steps=loop.TRIED + left, rate=1e-2, save_every=2, warm_up=2)
    trainer.fit(slow)
    assert clock[0] == tried + 2 * left
    assert torch.load(tmp_path / "run.pt", weights_only=True)["step"] == trainer.plan.steps


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_before(tmp_path):
    trainer, loss = tiny(tmp_path / "run.pt", 8)
    with pytest.raises(SystemExit, match="step 4: the loss is nan"):
        trainer.fit(lambda step: loss(step) * (float("nan") if step == 3 else 1))
    assert torch.load(tmp_path / "run.pt", weights_only=True)["step"] == 2
    assert all(value.isfinite().all() for value in loop.averaged_weights(tmp_path / "run.pt").values())


def test_weights_without_an_optimiser_are_gone_on_from(tmp_path):
    begun, loss = tiny(tmp_path / "none.pt", 8)
    given = {name: value + 1 for name, value in begun.model.state_dict().items()}
    loop.write({"step": 3, "model": given, "averaged": given}, tmp_path / "given.pt")
    trainer, loss = tiny(tmp_path / "given.pt", 8)
    assert trainer.step == 3
    assert all(torch.equal(value, given[name]) for name, value in trainer.model.state_dict().items())
    trainer.fit(loss, stop_at=4)
    averaged = loop.averaged_weights(tmp_path / "given.pt")
    decay = trainer.plan.average
    for name, value in trainer.model.state_dict().items():
        assert torch.allclose(averaged[name], decay * given[name] + (1 - decay) * value)
        assert not torch.equal(value, given[name])


def test_a_training_begins_with_what_ships_and_overwrites_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoder, "CHECKPOINT", tmp_path / "autoencoder.pt")
    monkeypatch.setattr(denoiser, "CHECKPOINT", tmp_path / "denoiser.pt")
    monkeypatch.setattr(text, "CHECKPOINT", tmp_path / "text.pt")
    shipped.main()
    begun = torch.load(autoencoder.CHECKPOINT, weights_only=True)["step"], autoencoder.PLAN.steps
    assert begun[0] == begun[1]
    assert next(autoencoder.trained().parameters()).dtype == torch.float32
    trainer = loop.Trainer(denoiser.Denoiser(text.trained()), denoiser.PLAN, denoiser.CHECKPOINT)
    assert trainer.step == 0
    for part, network in (("unet", trainer.model.unet), ("text_encoder", trainer.model.text)):
        shipping = load_file(next((embedded.path() / part).glob("*.safetensors")))
        assert all(torch.equal(value.half(), shipping[name]) for name, value in network.state_dict().items())
    with pytest.raises(SystemExit, match="is there already"):
        shipped.main()


def test_a_cover_is_where_the_object_of_a_drawing_is_asked_for(monkeypatch):
    drawing = np.full((64, 48, 4), 255, np.uint8)
    monkeypatch.setattr(objects, "load", lambda: dict.fromkeys(THINGS, objects.pyramid(drawing)))
    for index in range(6):
        (asked, _), cover = latents.drawn(index)
        assert cover.shape == (32, 32)
        pixels = cover.repeat(8, 0).repeat(8, 1) == 1
        empty = scenes.draw(replace(latents.scene(index), obj=None))
        shown = (asked != empty).any(2)
        bands = scenes.draw(replace(latents.scene(index), obj=None, variation=None))
        shown &= (asked != bands).any(2)
        assert pixels[shown].all()
        assert shown.sum() < pixels.sum() < 3 * shown.sum()


class Nothing:
    """A network that answers zero."""

    def prompt(self, tokens):
        return tokens

    def __call__(self, noisy, times, prompt):
        return torch.zeros_like(noisy)


STEEP = denoiser.AS_STEEP
FIRST, SECOND, TARGET = (-1, False), (259, False), (-1, True)


def marked(counts, scene, run):
    """One example of a kind; `run` is the second step's time, and whether the target itself is noised."""
    nothing, (second, teacher) = torch.zeros(1, dtype=torch.long), run
    marks = (torch.tensor([scene]), nothing, nothing, torch.tensor([second]), torch.tensor([teacher]), nothing)
    target = torch.zeros(1, 2, 4, 4)
    target[:, :, 0] = 3
    return bank.Examples(target, target, counts, *marks)


@pytest.mark.parametrize(
    ("row", "rest", "scene", "run", "step", "expected"),
    [
        (1, 1, False, FIRST, 0, 1.5),
        (1, 0, False, FIRST, 9, 3.0),
        (0, 1, False, FIRST, 0, 1e-5**0.5),
        (3, 1, False, SECOND, 0, (3 * 9 / 6) ** 0.5),
        (1, 1, True, FIRST, 3, 9 / 4 / (2 * STEEP)),
        (1, 0, True, FIRST, 3, 9 / (2 * STEEP)),
        (1, 1, True, FIRST, 4, (3 - STEEP / 2) / 4),
        (1, 1, True, SECOND, 0, (3 - STEEP / 2) / 4),
        (3, 1, True, TARGET, 0, (3 - STEEP / 2) / 2),
    ],
)
def test_an_error_counts_as_the_examples_say(row, rest, scene, run, step, expected, monkeypatch):
    """The answer is off by 3 in one of four rows, which counts as `row` says, and right in the others; of 10 steps."""
    counts = torch.full((1, 4, 4), float(rest))
    counts[:, 0] = row
    found = marked(counts, scene, run)
    loss = denoiser.Loss.__new__(denoiser.Loss)
    loss.mean_until = denoiser.MEAN_UNTIL * 10
    loss.model, loss.bank = Nothing(), SimpleNamespace(examples=lambda batch: found)
    loss.drawn = iter([phases.Drawn(None, torch.zeros(1, 1), None)])
    loss.pixels = torch.zeros(2, 2, 3, 3)
    loss.pixels[[0, 1], [0, 1], 1, 1] = 1
    monkeypatch.setattr(denoiser, "network_input", lambda model, examples, noise, prompt: (found.source, None))
    assert float(loss(step)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("median", [False, True])
@pytest.mark.parametrize("run", [FIRST, SECOND, TARGET])
def test_an_error_of_a_scene_weighs_as_much_as_that_of_a_style_where_the_module_says(scale, run, median):
    steepness = []
    for scene in (True, False):
        error = torch.full((1, 2, 4, 4), scale * STEEP, requires_grad=True)
        denoiser.weighed(error, marked(torch.ones(1, 4, 4), scene, run), median).sum().backward()
        steepness.append(float(error.grad.sum()))
    grows = min(scale, 1) if median or run != FIRST else scale
    assert steepness[0] / steepness[1] == pytest.approx(grows, rel=0.01)


def test_a_scene_and_its_drawing_depend_on_their_number_alone(monkeypatch):
    drawing = np.full((64, 48, 4), 255, np.uint8)
    monkeypatch.setattr(objects, "load", lambda: dict.fromkeys(THINGS, objects.pyramid(drawing)))
    pictures, _ = latents.drawn(3)
    assert latents.scene(3) == latents.scene(3) != latents.scene(4)
    assert np.array_equal(pictures, latents.drawn(3)[0])
    assert pictures.shape == (2, 256, 256, 3)
    assert latents.scene(3).obj in latents.TAUGHT
    errors = [np.square(pictures[0].astype(float) - scenes.draw(latents.scene(index))).mean() for index in (3, 4)]
    assert 3 * errors[0] < errors[1]
    assert not np.array_equal(pictures, latents.drawn(4)[0])
