"""The gates that a scene has to pass, judged by training.classifier, which never sees what the model makes."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from training import held_drawings, scenes
from training.classifier import judge
from training.runner import Pictures, Runner

SEED = 9  # held out: the training's drawings are seeded otherwise
DRAWINGS = 10  # of each object
DRAWING_GATE, TEXT_GATE = 0.7, 0.6  # an object that is named less often does not ship
COLUMNS = 12  # of a sheet, so that its pictures can be told apart on a page


@dataclass(frozen=True)
class Example:
    """A scene, a rough drawing of it, and a prompt in words of a form that training never uses."""

    scene: scenes.Scene
    rough: NDArray[np.uint8]
    prompt: str


def drawings(obj: str, count: int = DRAWINGS) -> list[Example]:
    """Held-out drawings of one object, going round all places, rough enough to hide it (training.roughen)."""
    names, made = list(scenes.PLACES), []
    for index in range(count):
        rng = default_rng([SEED, list(scenes.OBJECTS).index(obj), index])
        scene = replace(scenes.sample(rng), obj=obj, place=names[index % len(names)])
        rough = scenes.roughened(scene, rng.uniform(0.5, 1), rng)
        made.append(Example(scene, rough, scenes.unheard(obj, scene.place, rng)))
    return made


def pictures(count: int) -> Pictures:
    """Clean held-out scenes."""
    each = [example.scene for obj in scenes.OBJECTS for example in drawings(obj, 2)]
    return np.stack([scenes.draw(scene) for scene in each[:count]])


def untouched(run: Runner, obj: str) -> tuple[list[str], Pictures]:
    """The drawings as they are: what the judge makes of them is the figure to beat."""
    made = drawings(obj)
    return [one.scene.place for one in made], np.stack([one.rough for one in made])


def from_drawings(run: Runner, obj: str) -> tuple[list[str], Pictures]:
    """Two steps from each rough drawing of an object; the places asked for, and the pictures."""
    made = drawings(obj)
    return [one.scene.place for one in made], np.concatenate([run(one.rough[None], one.prompt, 2) for one in made])


def from_text(run: Runner, obj: str) -> tuple[list[str], Pictures]:
    """Two steps from text alone, in every place."""
    rng = default_rng([SEED, list(scenes.OBJECTS).index(obj)])
    asked = [scenes.unheard(obj, place, rng) for place in scenes.PLACES]
    return list(scenes.PLACES), np.concatenate([run.from_text(text, 2) for text in asked])


KINDS = {"untouched": untouched, "drawing": from_drawings, "text": from_text}


def scene_figures(run: Runner) -> dict[str, object]:
    """Per object, the share named right of drawings, and from them and from text; the shares of places named right."""
    objects: dict[str, dict[str, float]] = {obj: {} for obj in scenes.OBJECTS}
    places: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for obj, (kind, make) in product(scenes.OBJECTS, KINDS.items()):
        wanted, made = make(run, obj)
        named, where = judge(made)
        objects[obj][kind] = float(np.mean([name == obj for name in named]))
        places[kind] += [a == b for a, b in zip(where, wanted, strict=True)]
    return {
        "objects": objects,
        "places": {kind: float(np.mean(right)) for kind, right in places.items()},
        "passed": passed(objects),
        "held drawings": held_figures(run),
    }


def held_figures(run: Runner) -> dict[str, float]:
    """The shares of hand-made drawings whose object and whose place are named right after two steps."""
    made = held_drawings.load()
    named, where = judge(np.concatenate([run(picture[None], prompt, 2) for picture, _, _, prompt in made]))
    return {
        "objects": float(np.mean([name == obj for name, (_, obj, _, _) in zip(named, made, strict=True)])),
        "places": float(np.mean([name == place for name, (_, _, place, _) in zip(where, made, strict=True)])),
    }


def passed(objects: dict[str, dict[str, float]]) -> list[str]:
    """The objects that may ship."""
    return [obj for obj, shares in objects.items() if shares["drawing"] >= DRAWING_GATE and shares["text"] >= TEXT_GATE]


def sheets(run: Runner) -> dict[str, NDArray[np.uint8]]:
    """COLUMNS objects a sheet; the rows: rough drawing, two steps from it, the clean scene, two steps from text."""
    columns = []
    for obj in scenes.OBJECTS:
        one = drawings(obj, 1)[0]
        column = (
            one.rough,
            run(one.rough[None], one.prompt, 2)[0],
            scenes.draw(one.scene),
            run.from_text(one.prompt, 2)[0],
        )
        columns.append(np.concatenate(column))
    by_hand = [
        np.concatenate([picture, run(picture[None], prompt, 2)[0]]) for picture, _, _, prompt in held_drawings.load()
    ]
    parts = [*(columns[first : first + COLUMNS] for first in range(0, len(columns), COLUMNS)), by_hand]
    return {f"scenes-{n}": np.concatenate(part, axis=1) for n, part in enumerate(parts)}
