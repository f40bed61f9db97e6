"""The page of the embedded model's figures says of every gate whether it is met, and nothing that was not measured."""

import copy
import json

import pytest

from training import card, page, scenes

FEW = list(scenes.OBJECTS)[:36]  # fewer than a GPU is asked for
STYLE = {"untouched": 12.0, "one step": 21.5, "two steps": 21.0, "retrieved": 0.95, "paraphrase retrieved": 0.85}
SPEED = {"back end": "openvino bfloat16", "median": 45.0, "p25": 44.0, "p75": 46.0}
GOOD = {
    "autoencoder": {"photographs": 34.9, "styled": 36.0, "scenes": 33.0},
    "mean": STYLE,
    "identity": {"1 steps": 27.0, "2 steps": 26.0},
    "styles": {"night": STYLE, "neon": STYLE | {"untouched": 9.0}},
    "steadiness": {"night": 0.9, "neon": 0.8},
    "scenes": {
        "objects": {name: {"untouched": 0.3, "drawing": 0.8, "text": 0.7} for name in FEW},
        "places": {"drawing": 0.96, "text": 1.0},
        "passed": FEW,
        "held drawings": {"objects": 0.5, "places": 0.9},
    },
    "speed": {"machine": {"cpu": "a processor"}, "1 steps": SPEED, "2 steps": SPEED},
    "held out": [f"picture {n}" for n in range(20)],
}
JUDGED = ("mean", "identity", "styles", "steadiness", "scenes")
GOOD["integers"] = {part: copy.deepcopy(GOOD[part]) for part in JUDGED}
MISSES = {
    "styles, one step, mean": ("mean", "one step", 20.9),
    '"a photo", two steps': ("identity", "2 steps", 24.9),
    "change between frames over the filter's, most": ("steadiness", "neon", 1.01),
    "styles, one step, least gain on the untouched picture": ("styles", "neon", STYLE | {"untouched": 20.0}),
    "styles, most that a second step loses": ("styles", "night", STYLE | {"two steps": 20.4}),
    "objects that pass by themselves": ("scenes", "passed", ["cat"]),
    "objects that ship, from text, least": (
        "scenes",
        "objects",
        {n: {"drawing": 1, "text": 0.5} for n in FEW},
    ),
    "speed, two steps": ("speed", "2 steps", SPEED | {"median": 29.9}),
    "held-out pictures": ("held out", slice(1), []),
}


def missed(figures):
    return [gate.name for gate in page.GATES if not gate.met(figures)]


MANY = [f"object {n}" for n in range(150)]
BEST = {
    "mean": STYLE | {"one step": 23.0, "retrieved": 0.96, "paraphrase retrieved": 0.9},
    "scenes": GOOD["scenes"]
    | {
        "objects": {name: {"untouched": 0.3, "drawing": 0.95, "text": 0.9} for name in MANY},
        "passed": MANY,
        "places": {"drawing": 0.98, "text": 0.98},
    },
}


def test_figures_that_meet_all_gates_miss_none():
    assert missed(GOOD) == []
    assert page.text(GOOD | BEST, []).count("| met") == 2 * len(page.GATES) + len(page.PICTURES)
    assert "missed" not in page.text(GOOD | BEST, [])


def test_more_is_asked_of_a_training_on_a_gpu():
    harder = [gate.name for gate in page.GATES if not gate.met(GOOD, on_gpu=True)]
    assert harder == [gate.name for gate in page.GATES if gate.gpu is not None and not gate.name.startswith(
        ("autoencoder", "places, from text"))]  # fmt: skip
    assert page.text(GOOD, []).count("**missed**") == len(harder)


@pytest.mark.parametrize("name", MISSES)
def test_a_figure_beyond_its_gate_is_a_miss_of_that_gate_alone(name):
    part, key, value = MISSES[name]
    figures = copy.deepcopy(GOOD)
    figures[part][key] = value
    assert missed(figures) == [name]


def test_integers_stand_beside_what_they_are_to_come_near():
    figures = copy.deepcopy(GOOD)
    figures["integers"]["steadiness"]["neon"] = 1.0244
    figures["integers"]["remark"] = "By another judge."
    text = page.integers_table(figures)
    assert "| change between frames over the filter's, most | 0.900 | 1.024 | at most 1 | **missed** |" in text
    assert '| "a photo", two steps | 26.0 dB | 26.0 dB | at least 25 dB | met |' in text
    assert text.count("| met |") == len(page.PICTURES) - 1
    assert "By another judge." in text
    assert "**missed**" not in page.integers_table(GOOD)


def test_what_no_object_passes_is_no_division_by_nothing():
    figures = copy.deepcopy(GOOD)
    figures["scenes"]["passed"] = []
    assert {"objects that ship, from a drawing, least", "objects that pass by themselves"} <= set(missed(figures))


def test_the_page_shows_every_style_object_and_sheet():
    text = page.text(GOOD, ["images/a.jpg", "images/b.jpg"])
    assert all(f"| {name} |" in text for name in [*GOOD["styles"], *FEW])
    assert text.count("![") == 2
    assert "a processor" in text
    assert "45.0 (44.0 to 46.0), openvino bfloat16" in text


def test_the_card_names_the_objects_that_ship_and_no_other(tmp_path):
    figures = copy.deepcopy(GOOD)
    figures["scenes"]["passed"] = ["cat", "castle"]
    (tmp_path / "figures.json").write_text(json.dumps(figures))
    text = card.text(tmp_path / "figures.json")
    assert "- objects: cat, kitten, kitty; castle, fortress\n" in text
