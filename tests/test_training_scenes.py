from collections import Counter
from dataclasses import replace
from itertools import chain, combinations

import cv2
import numpy as np
import pytest
from numpy.random import default_rng

from tests import drawn
from training import captions, compose, held_drawings, objects, places, roughen, scenecaptions, scenes
from training.compose import Layout, Scene
from training.things import THINGS

pytestmark = pytest.mark.usefixtures("drawings")


def cover(scene: Scene) -> np.ndarray:
    return compose.move(objects.load()[scene.obj], scene.layout)[..., 3]


def psnr(made: np.ndarray, wanted: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((made.astype(float) - wanted) ** 2))


@pytest.mark.parametrize("size", [0.35, 0.5, 0.61, 0.85])
@pytest.mark.parametrize("x, y", [(0.5, 0.5), (0.45, 0.53)])
def test_the_object_is_where_and_as_large_as_the_layout_says(size, x, y):
    alpha = cover(Scene("cat", "beach", Layout(x, y, size)))
    left, top, width, height = cv2.boundingRect((alpha > 127).astype(np.uint8))
    assert width == pytest.approx(256 * size, abs=2)
    assert height == pytest.approx(256 * size * 200 / 256, abs=2)
    assert left + width / 2 == pytest.approx(256 * x, abs=1.5)
    assert top + height / 2 == pytest.approx(256 * y, abs=1.5)


def test_mirroring_and_tilt_turn_the_object_about_its_centre():
    plain, mirrored = (compose.move(objects.load()["dog"], Layout(mirrored=m)) for m in (False, True))
    assert np.abs(plain[:, ::-1].astype(int) - mirrored).mean() < 1
    bar = [compose.move(objects.load()["dog"], Layout(tilt=t))[..., :3].min(axis=2) for t in (0, 90)]
    across, up = (np.argwhere(plane > 200).mean(axis=0) - 127.5 for plane in bar)
    assert across[1] < -20
    assert up[0] > 20  # a positive tilt is counter-clockwise
    assert abs(up[1]) < 3


def test_the_object_covers_the_place_and_nothing_else_does():
    scene = Scene("fox", "snow", Layout(size=0.5))
    picture, empty, alpha = compose.draw(scene), compose.draw(replace(scene, obj=None)), cover(scene)
    assert np.array_equal(picture[alpha == 0], empty[alpha == 0])
    colour = drawn.colour(compose.OBJECTS.index("fox"))
    assert np.abs(picture[150, 128].astype(int) - colour).max() <= 2
    half = compose.over(np.full((256, 256, 4), (100, 0, 50, 128), np.uint8), np.full((256, 256, 3), 200, np.uint8))
    assert np.abs(half.astype(int) - (200, 100, 150)).max() <= 1


def test_samples_follow_their_seed_and_stay_inside():
    one, other = ([compose.sample(default_rng(seed)) for seed in range(60)] for _ in range(2))
    assert one == other
    assert all(np.array_equal(compose.draw(a), compose.draw(b)) for a, b in zip(one[:6], other[:6], strict=True))
    for scene in one:
        layout = scene.layout
        assert 0.35 <= layout.size <= 0.85
        assert layout.size / 2 <= layout.x <= 1 - layout.size / 2
        assert layout.size / 2 <= layout.y <= 1 - layout.size / 2
    assert len({scene.place for scene in one}) == len(compose.PLACES)


def test_canonical_objects_stand_on_the_ground_or_float():
    for place, entry in places.PLACES.items():
        scene = compose.canonical("cat", place)
        feet = np.flatnonzero((cover(scene) > 127).any(axis=1))[-1] / 256
        assert feet == pytest.approx(entry.ground or 0.46 + 0.3 * 200 / 256, abs=0.02)
        assert compose.canonical("balloon", place).layout.y == 0.46
        assert compose.canonical(None, place).variation is None


@pytest.mark.parametrize("place", places.PLACES)
def test_places_vary_a_little_and_stay_themselves(place):
    canonical = places.paint(place)
    assert canonical.shape == (256, 256, 3)
    assert canonical.dtype == np.uint8
    assert np.array_equal(canonical, places.paint(place))
    varied = [places.paint(place, default_rng(seed)) for seed in range(4)]
    assert np.array_equal(varied[0], places.paint(place, default_rng(0)))
    assert not np.array_equal(varied[0], varied[1])
    others = [places.paint(other) for other in places.PLACES if other != place]
    for picture in varied:
        assert psnr(picture, canonical) > max(psnr(picture, other) for other in others) + 2


def test_rough_drawings_follow_their_random_numbers_and_lose_more_with_strength():
    rng = default_rng(3)
    drawn_scenes = [compose.sample(rng) for _ in range(24)]
    for scene in drawn_scenes[:4]:
        one, other = (scenes.roughen(scene, default_rng(8)) for _ in range(2))
        assert one.shape == (256, 256, 3)
        assert one.dtype == np.uint8
        assert np.array_equal(one, other)
    mean = [
        np.mean([psnr(roughen.roughened(scene, strength, rng), compose.draw(scene)) for scene in drawn_scenes])
        for strength in (0, 0.5, 1)
    ]
    assert mean[0] > mean[1] + 1 > mean[2] + 2


def test_what_a_drawing_asks_for_has_the_object_moved_as_the_drawing_was():
    scene = Scene("pig", "meadow", Layout(0.5, 0.55, 0.5, 4.0))
    moves = {
        "aside": [[1, 0, -12], [0, 1, 7]],
        "larger": [[0.9, 0, 12], [0, 0.9, 14]],
        "slanted": [[1, 0.1, -14], [0.05, 1, -6]],
    }
    for name, rows in moves.items():
        here = np.stack([roughen.GRID[1], roughen.GRID[0], np.ones((256, 256), np.float32)], axis=2)
        field = here @ np.array(rows, np.float32).T - here[..., :2]
        asked = roughen.Sketch(scenes.draw(scene), scene, field).asked()
        wanted = compose.over(roughen.moved(compose.figure(scene), field), compose.background(scene))
        assert np.abs(asked.astype(int) - wanted).mean() < 0.5, name
        assert psnr(asked, scenes.draw(scene)) < 30, name


def test_a_drawing_asks_for_an_object_that_covers_it_and_for_no_clouds_that_it_does_not_show():
    overlap, kinds = {"asked": [], "scene": []}, set()
    for seed in range(60):
        rng = default_rng([12, seed])
        scene = compose.sample(rng)
        sketch = scenes.sketch(scene, 0.9, rng)
        again = default_rng([12, seed])
        assert np.array_equal(sketch.drawing, roughen.roughened(compose.sample(again), 0.9, again))
        assert (sketch.told.obj, sketch.told.place) == (scene.obj, scene.place)
        kinds.add((sketch.told.variation is None, sketch.told.layout == scene.layout))
        inside = roughen.moved(compose.figure(sketch.told), sketch.field)[..., 3] > 127
        pictures = {"asked": (sketch.asked(), sketch.told), "scene": (scenes.draw(scene), scene)}
        covered = {name: (made != compose.background(of)).any(2) for name, (made, of) in pictures.items()}
        for name, found in covered.items():
            overlap[name].append((inside & found).sum() / (inside | found).sum())
    assert kinds == {(True, False), (False, True)}  # blobs on bands, and smeared pictures
    nearer = np.array(overlap["asked"]) > overlap["scene"]
    assert np.mean(overlap["asked"]) > np.mean(overlap["scene"]) + 0.03
    assert nearer.mean() > 0.75


def test_a_silhouette_that_is_its_own_mirror_image_does_not_tell_which_way_its_object_looks(monkeypatch):
    scene = Scene("pig", "meadow", Layout(0.5, 0.55, 0.6, mirrored=True))

    def sketches() -> list[roughen.Sketch]:
        return [scenes.sketch(scene, 0.9, default_rng([13, seed])) for seed in range(20)]

    monkeypatch.setattr(roughen, "SMEARED", 0)
    monkeypatch.setattr(roughen, "COLOURS", (3,))
    assert all(sketch.told.layout.mirrored for sketch in sketches())
    monkeypatch.setattr(roughen, "COLOURS", (1,))
    asked = sketches()
    assert not any(sketch.told.layout.mirrored for sketch in asked)
    monkeypatch.setattr(roughen, "EVEN", 1.0)
    drawings = sketches()
    assert all(sketch.told.layout.mirrored for sketch in drawings)
    for one, other in zip(asked, drawings, strict=True):  # what is asked for changes, the drawing does not
        assert np.array_equal(one.drawing, other.drawing)
        assert not np.array_equal(one.asked(), other.asked())


def test_an_object_that_is_moved_out_of_the_picture_is_asked_for_where_it_was():
    scene = Scene("pig", "meadow", Layout(0.5, 0.5, 0.4))
    away = np.full((256, 256, 2), 300, np.float32)
    assert np.array_equal(roughen.Sketch(scenes.draw(scene), scene, away).asked(), scenes.draw(scene))
    nobody = Scene(None, "meadow", variation=3)
    sketch = scenes.sketch(nobody, 0.9, default_rng(1))
    assert np.array_equal(sketch.asked(), compose.background(sketch.told))


def test_a_blob_is_near_its_object_in_place_and_colour():
    scene, rng = Scene("pig", "meadow", Layout(0.4, 0.55, 0.6)), default_rng(2)
    centre = np.argwhere(cover(scene) > 127).mean(axis=0)
    for _ in range(20):
        blob = roughen.blobs(scene, "pig", 1.0, rng)
        inside = blob[..., 3] > 127
        assert np.abs(np.argwhere(inside).mean(axis=0) - centre).max() < 16
        assert np.abs(blob[inside][:, :3].mean(axis=0) - drawn.colour(compose.OBJECTS.index("pig"))).max() < 90


@pytest.mark.parametrize("colours", [1, 2, 4])
def test_simplified_objects_have_few_colours_and_keep_their_size(colours):
    palette, labels = roughen.simplified("tree", colours, 3)
    assert palette.shape == (colours + 1, 4)
    assert labels.shape == (200, 256)
    assert set(np.unique(labels)) <= set(range(colours + 1))
    solid = (drawn.drawing(0)[..., 3] > 0).mean()
    assert (labels < colours).mean() == pytest.approx(solid, rel=0.05)
    assert labels[0, 0] == colours
    assert tuple(palette[-1]) == (0, 0, 0, 0)


def test_clusters_find_the_colours_that_are_there():
    colours = np.array([[250, 0, 0], [0, 0, 200], [20, 240, 30]], np.uint8)
    pixels = colours[default_rng(0).integers(3, size=500)]
    labels, centres = roughen.clusters(pixels, 3)
    assert np.array_equal(centres[labels], pixels)


def test_a_plain_place_turns_into_its_bands():
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[:128], picture[128:] = (200, 100, 0), (0, 50, 250)
    rng = default_rng(0)
    for _ in range(30):
        made = roughen.bands(picture, 0.0, rng)
        assert len(np.unique(made[:, 100], axis=0)) <= 4  # two bands and what is between them
        if len(np.unique(made[10])) == 3:  # not a plain canvas
            assert np.abs(made[20].astype(int) - (200, 100, 0)).max() <= 2


def test_captions_name_what_is_asked_for_and_nothing_else():
    rng = default_rng(4)
    for obj, phrases in scenes.OBJECTS.items():
        texts = [scenes.caption(obj, None, rng) for _ in range(8)]
        assert all(any(phrase in text for phrase in phrases) for text in texts)
    for place, entry in places.PLACES.items():
        known = (*entry.names, *entry.phrases)
        alone = [scenes.caption(None, place, rng) for _ in range(8)]
        both = [scenes.caption("umbrella", place, rng) for _ in range(8)]
        assert all("umbrella" in text or "parasol" in text for text in both)
        assert all(any(phrase in text for phrase in known) for text in (*alone, *both))
        assert not any("a umbrella" in text for text in both)


def test_no_two_objects_or_places_share_a_phrase():
    phrases = [phrase for names in scenes.OBJECTS.values() for phrase in names]
    phrases += [phrase for place in places.PLACES.values() for phrase in (*place.names, *place.phrases)]
    assert len(phrases) == len(set(phrases))


SMALLEST = {"a", "an", "and", "at", "by", "in", "of", "on", "the"}


def words_of(*phrases: str) -> set[str]:
    return {word for phrase in phrases for word in phrase.split()}


def test_scenes_and_styles_have_only_the_smallest_words_in_common():
    styles = words_of(*chain(*captions.PHRASES.values()))
    assert styles & set(scenes.words()) <= SMALLEST
    unheard = words_of(*chain(*captions.HELD_OUT.values()))
    assert unheard & words_of(*chain(*scenes.OBJECTS.values())) <= SMALLEST


def test_objects_places_and_subjects_have_only_the_smallest_words_in_common():
    objects_, subjects = words_of(*chain(*scenes.OBJECTS.values())), words_of(*captions.SUBJECTS)
    places_ = words_of(*chain(*((*place.names, *place.phrases) for place in places.PLACES.values())))
    for one, other in combinations((objects_, places_, subjects), 2):
        assert one & other <= SMALLEST


def test_a_word_names_one_object_or_goes_with_another_word_that_does():
    owners = Counter(word for phrases in scenes.OBJECTS.values() for word in words_of(*phrases))
    colours, second = {"red", "green", "yellow"}, {"bear", "fire", "tree", "truck"}  # a teddy bear is no bear
    assert {word for word, count in owners.items() if count > 1} <= SMALLEST | colours | second


def test_articles_go_by_sound():
    rng = default_rng(7)
    texts = {obj: {scenes.caption(obj, None, rng) for _ in range(60)} for obj in ("unicorn", "ufo", "owl", "cat")}
    assert {text for made in texts.values() for text in made} >= {"a unicorn", "a ufo", "an owl", "a cat"}
    assert not any(text.startswith(("an u", "a o", "an c")) for made in texts.values() for text in made)


def test_there_is_much_to_ask_for():
    assert len(scenes.OBJECTS) >= 150
    assert len({thing.icon for thing in THINGS.values()}) == len(THINGS)


def test_unheard_captions_are_of_known_words_but_never_said():
    rng, known = default_rng(5), set(scenes.words())
    assert not set(scenecaptions.HELD_OUT) & set(scenecaptions.BOTH)
    for obj in scenes.OBJECTS:
        text = scenes.unheard(obj, "room", rng)
        assert set(text.replace(",", " , ").split()) <= known
    said = {scenes.caption("cat", "snow", rng) for _ in range(2000)}
    assert not said & {scenes.unheard("cat", "snow", rng) for _ in range(200)}


def test_held_drawings_are_of_scenes_that_exist_and_differ_from_training():
    loaded = held_drawings.load()
    assert len(loaded) >= 10
    for picture, obj, place, prompt in loaded:
        assert picture.shape == (256, 256, 3)
        assert picture.dtype == np.uint8
        assert obj in scenes.OBJECTS
        assert place in scenes.PLACES
        assert obj in prompt
        assert any(phrase in prompt for phrase in scenes.PLACES[place])
    assert len({drawing[1] for drawing in loaded}) == len(loaded)
