"""`python -m training.classifier`: the judge of scenes, a small network that names object and place.

It learns objects from clean drawings alone. Places without an object are NONE, and so are rough blobs of one: a blob of
the right colour is not the object. Clean objects and blobs alike stand in clean and in flat places, so that the place
does not give the blobs away.
"""

import json
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor, nn

from training import compose, loop, pack
from training.compose import OBJECTS, PLACES, Rgb8
from training.filters import blur, clip, to_bytes
from training.objects import Rgba8
from training.roughen import bands, blobs, roughen, roughened, softened

CHECKPOINT = pack.WORK / "classifier.pt"
FIGURES = pack.WORK / "classifier.json"
PLAN = loop.Plan(steps=4000, rate=3e-3, average=0.99)
SEED, HELD_OUT_SEED = 5, 6
BATCH = 32
SIDE = 96  # pixels that the network sees
TOGETHER = 64  # pictures judged in one call
NONE = len(OBJECTS)  # the label of what is no object
EMPTY, BLOBS = 0.08, 0.27  # shares of the training pictures that are places alone, and blobs
SOFT = 0.3  # share of the blobs that are out of focus, not painted
FLAT = 0.3  # share of the pictures whose place is rough
BLOB_FROM = 0.75  # strength of roughening from which on a drawing is no object

Pictures = NDArray[np.uint8]  # (b, 256, 256, 3)


class Classifier(nn.Module):
    """Four levels of strided convolutions; the mean and the peak of what they find, wherever it is."""

    def __init__(self, widths: tuple[int, ...] = (16, 40, 80, 160)) -> None:
        super().__init__()
        levels = [_level(a, b) for a, b in zip((3, *widths[:-1]), widths, strict=True)]
        self.levels = nn.Sequential(*levels)
        self.out = nn.Linear(2 * widths[-1], NONE + 1 + len(PLACES))

    def forward(self, pictures: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b o"], Float[Tensor, "b p"]]:
        """Logits of the objects, NONE the last, and of the places."""
        found = self.levels(pictures)
        scores: Tensor = self.out(torch.cat([found.mean((2, 3)), found.amax((2, 3))], dim=1))
        return scores[:, : NONE + 1], scores[:, NONE + 1 :]


def _level(before: int, after: int) -> nn.Module:
    parts = (nn.Conv2d(before, after, 3, 2, 1), nn.Conv2d(after, after, 3, 1, 1))
    return nn.Sequential(*(layer for part in parts for layer in (part, nn.GroupNorm(8, after), nn.SiLU())))


@dataclass(frozen=True)
class Example:
    """A picture and its labels; the place is learnt only where it is `clean`."""

    picture: Rgb8
    obj: int
    place: int
    clean: bool


def example(rng: Generator) -> Example:
    """A training picture: an object, a blob of one or neither, in a place that is clean or rough."""
    scene, kind, clean = compose.sample(rng), rng.random(), bool(rng.random() > FLAT)
    ground = compose.background(scene)
    ground = ground if clean else bands(ground, rng.random(), rng)
    place = PLACES.index(scene.place)
    if kind < EMPTY:
        return Example(ground, NONE, place, clean)
    if kind < EMPTY + BLOBS:
        return Example(compose.over(blob(scene, rng), ground), NONE, place, clean)
    return Example(compose.over(compose.figure(scene), ground), OBJECTS.index(str(scene.obj)), place, clean)


def blob(scene: compose.Scene, rng: Generator) -> Rgba8:
    """A layer with what has the object's colours and about its shape, and yet is not it."""
    if rng.random() < SOFT:
        return softened(compose.figure(scene), scene.layout.size, rng)
    return blobs(scene, str(scene.obj), rng.uniform(BLOB_FROM, 1), rng)


def disturbed(picture: Rgb8, rng: Generator) -> Rgb8:
    """What a decoder may do to a picture of SIDE pixels: a little softer, noisier, stronger or weaker in a channel."""
    soft = blur(picture.astype(np.float32) / 255, rng.uniform(0.1, 0.8))
    grain = rng.normal(0, rng.uniform(0, 0.04), soft.shape)
    return to_bytes(clip(soft * rng.uniform(0.9, 1.1, 3) + rng.uniform(-0.04, 0.04) + grain))


def shrunk(picture: Rgb8) -> NDArray[np.uint8]:
    """The picture at SIDE pixels."""
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def to_tensor(small: list[NDArray[np.uint8]]) -> Float[Tensor, "b 3 h w"]:
    """What the network sees of pictures of SIDE pixels: -1 to 1."""
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).to(loop.DEVICE).float() / 127.5 - 1


class Loss:
    """The loss of one step; its pictures depend on (SEED, step) alone."""

    def __init__(self, model: Classifier) -> None:
        self.model = model

    def __call__(self, step: int) -> Tensor:
        """The mean loss of the objects, and of the places where they are drawn clean."""
        rng = default_rng([SEED, step])
        examples = [example(rng) for _ in range(BATCH)]
        objects, places = self.model(to_tensor([disturbed(shrunk(one.picture), rng) for one in examples]))
        labels = torch.tensor([(one.obj, one.place, one.clean) for one in examples], device=loop.DEVICE)
        clean = labels[:, 2] > 0
        named = nn.functional.cross_entropy(objects, labels[:, 0], label_smoothing=0.02)
        return torch.as_tensor(named + nn.functional.cross_entropy(places[clean], labels[clean, 1]))


@cache
def trained() -> Classifier:
    """The classifier with its averaged weights, frozen."""
    model = Classifier()
    model.load_state_dict(loop.averaged_weights(CHECKPOINT))
    return model.to(loop.DEVICE).eval().requires_grad_(False)


def judge(pictures: Pictures) -> tuple[list[str | None], list[str]]:
    """The object (None where there is none) and the place that each picture shows."""
    names: list[str | None] = [*OBJECTS, None]
    small = torch.split(to_tensor([shrunk(picture) for picture in pictures]), TOGETHER)
    scores = [trained()(part) for part in small]
    objects, places = (torch.cat([score.argmax(1) for score in part]).tolist() for part in zip(*scores, strict=True))
    return [names[index] for index in objects], [PLACES[index] for index in places]


def accuracy(pictures: list[Rgb8], scenes: list[compose.Scene]) -> dict[str, float]:
    """The shares of pictures whose object, and whose place, is named as the scene has it, and that show no object."""
    objects, places = judge(np.stack(pictures))
    return {
        "object": float(np.mean([name == scene.obj for name, scene in zip(objects, scenes, strict=True)])),
        "place": float(np.mean([name == scene.place for name, scene in zip(places, scenes, strict=True)])),
        "none": float(np.mean([name is None for name in objects])),
    }


def figures(count: int = 1000) -> dict[str, dict[str, float]]:
    """Accuracy on scenes of held-out seeds: clean, without an object, and roughened, weakly to strongly."""
    rng = default_rng(HELD_OUT_SEED)
    scenes = [compose.sample(rng) for _ in range(count)]
    empty = [replace(scene, obj=None) for scene in scenes[: count // 4]]
    made = {
        "clean": accuracy([compose.draw(scene) for scene in scenes], scenes),
        "empty": accuracy([compose.draw(scene) for scene in empty], empty),
        "blobs in clean places": accuracy(
            [compose.over(blob(scene, rng), compose.background(scene)) for scene in scenes], scenes
        ),
        "clean in rough places": accuracy(
            [compose.over(compose.figure(scene), bands(compose.background(scene), 0.7, rng)) for scene in scenes],
            scenes,
        ),
        "rough": accuracy([roughen(scene, rng) for scene in scenes], scenes),
    }
    strengths = {f"rough {low:.2f} to {low + 0.25:.2f}": low for low in (0, 0.25, 0.5, 0.75)}
    for name, low in strengths.items():
        made[name] = accuracy([roughened(scene, rng.uniform(low, low + 0.25), rng) for scene in scenes], scenes)
    return made


def main() -> None:
    """Train to the end of the plan, then write what it can."""
    torch.manual_seed(SEED)
    model = Classifier()
    loop.Trainer(model, PLAN, CHECKPOINT).fit(Loss(model))
    FIGURES.write_text(json.dumps(figures(), indent=1) + "\n")
    print(FIGURES.read_text())


if __name__ == "__main__":
    main()
