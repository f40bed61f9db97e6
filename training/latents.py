"""`python -m training.latents`: the pool as latents, encoded once by the frozen autoencoder.

pool/latents.npy (count, 1 + PER_CROP, c, 32, 32) in float16: the crop first, its styled versions after it. All are in
the engine's scale: multiplied by the scaling factor that brings crops to unit variance, kept in pool/scaling.npy.
pool/scenes.npy (SCENES, 2, c, 32, 32): a scene and its rough drawing; pool/covers.npy (SCENES, 32, 32): 1 where its
object is and one latent further, else 0; pool/canonical.npy (count, c, 32, 32): the scenes that text alone asks for;
pool/pixels.npy (3 * 8 * 8, c, 3, 3): the decoder's nearest convolution.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderDC
from jaxtyping import Float16
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor, nn

from training import autoencoder, crops, loop, pools, scenes, shapes
from training.crops import pick

LATENTS, SCALING = pools.POOL / "latents.npy", pools.POOL / "scaling.npy"
DRAWN, CANONICAL = pools.POOL / "scenes.npy", pools.POOL / "canonical.npy"
PIXELS, COVERS = pools.POOL / "pixels.npy", pools.POOL / "covers.npy"
SIDE = crops.SIDE // shapes.SCALE
SCENES = 8_000 if loop.GPU else 10_000  # a GPU has them drawn anew all the while (training.fresh)
# Two cores are asked to go on with these, which a GPU had nearly taught: every further one would leave fewer of the
# same steps to each. Begun from nothing on two cores, 3,000 steps with 26 objects taught none.
EASY = (
    *("apple", "fries", "chili", "moon", "house", "mushroom", "hat", "piano", "popcorn", "rose", "fire", "peach"),
    *("sushi", "truck", "cherries", "gift", "magnet", "carrot", "scissors", "ninja", "sunflower", "car", "kite"),
    *("tulip", "globe", "sailboat", "lightning", "clock", "beer", "circus", "pear", "soccer ball", "factory"),
    *("rainbow", "palm", "bus", "tractor", "robot", "star", "lion", "shield", "banana", "frog"),
)
TAUGHT = tuple(scenes.OBJECTS) if loop.GPU else EASY
SEED = 3
FITTED = 600  # crops
TOGETHER, CROPS = 32, 8  # scenes, and crops with their styled versions, encoded in one call


@torch.inference_mode()
def encode(model: AutoencoderDC, pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Unscaled latents of uint8 (b, h, w, 3)."""
    return np.asarray(encoded(model, autoencoder.to_tensor(pictures)).cpu())


@torch.no_grad()
def encoded(model: AutoencoderDC, pictures: autoencoder.Pictures) -> Float16[Tensor, "b c h w"]:
    """Unscaled latents of pictures from -1 to 1, where they are."""
    with loop.autocast():
        latents: Tensor = model.encoder(pictures)
    return latents.half()


def scaling_factor(model: AutoencoderDC, pictures: NDArray[np.uint8]) -> float:
    """One over the standard deviation of these pictures' latents."""
    return float(1 / encode(model, pictures).astype(np.float32).std())


def write_styles(model: AutoencoderDC, scaling: float) -> None:
    """Encode every crop and its styled versions."""
    crop_file, styled_file, _ = pools.load()
    shape = (len(crop_file), 1 + pools.PER_CROP, shapes.LATENT_CHANNELS, SIDE, SIDE)
    file = np.lib.format.open_memmap(LATENTS, "w+", np.float16, shape)
    for begin in range(0, len(file), CROPS):
        part = slice(begin, begin + CROPS)
        pictures = np.concatenate([crop_file[part, None], styled_file[part]], axis=1)
        file[part] = (encode(model, pictures.reshape(-1, *pictures.shape[2:])) * scaling).reshape(-1, *shape[1:])


@torch.inference_mode()
def pixels_of(model: AutoencoderDC, latents: Tensor, scaling: float) -> NDArray[np.float32]:
    """The weights of the convolution of 3x3 latents that comes nearest to the decoder, by least squares.

    Its outputs are each latent's 8x8 pixels, the biases left out: what is wanted of it is the picture of an error.
    """
    pixels = nn.functional.pixel_unshuffle(model.decoder(latents / scaling), shapes.SCALE)
    around = nn.functional.unfold(latents, 3, padding=1).transpose(1, 2).flatten(0, 1)
    around = torch.cat([around, torch.ones(len(around), 1)], dim=1)
    found = torch.linalg.lstsq(around, pixels.permute(0, 2, 3, 1).flatten(0, 2)).solution[:-1]
    return np.asarray(found.T.reshape(-1, latents.shape[1], 3, 3).numpy(), np.float32)


def write_pixels(model: AutoencoderDC, scaling: float) -> None:
    """Fit it to crops and their styled versions."""
    file = np.load(LATENTS, mmap_mode="r")
    some = file[:: max(1, len(file) // FITTED)].reshape(-1, *file.shape[2:])[:: file.shape[1] + 1]
    np.save(PIXELS, pixels_of(model.cpu(), torch.from_numpy(some.astype(np.float32)), scaling))
    model.to(loop.DEVICE)


def scene(index: int) -> scenes.Scene:
    """Scene `index` of those that are drawn."""
    return _sampled(index, 0)[0]


def drawn(index: int, turn: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Scene `index`: the clean picture that a rough drawing asks for, and the drawing; where the object is (COVERS).

    Every `turn` is another drawing of the same object in the same place, so that the same captions ask for it.
    """
    cv2.setNumThreads(1)
    made, rng = _sampled(index, turn)
    sketch = scenes.sketch(made, 1 - rng.random() ** 2, rng)  # most are rather rough
    alpha = sketch.clean_object()[..., 3]
    cells = (cv2.resize(alpha, (SIDE, SIDE), interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    cover = cv2.dilate(cells, np.ones((3, 3), np.uint8))
    return np.stack([sketch.asked(), sketch.drawing]), np.asarray(cover, np.uint8)


def _sampled(index: int, turn: int) -> tuple[scenes.Scene, Generator]:
    """A scene, and the random numbers that go on with its drawing."""
    rng = default_rng([SEED, index])
    first = replace(scenes.sample(rng), obj=pick(TAUGHT, rng))
    if not turn:
        return first, rng
    rng = default_rng([SEED, index, turn])
    return replace(scenes.sample(rng), obj=first.obj, place=first.place), rng


def write_scenes(model: AutoencoderDC, scaling: float) -> None:
    """Encode SCENES random scenes with their drawings, and every canonical one."""
    covers = np.lib.format.open_memmap(COVERS, "w+", np.uint8, (SCENES, SIDE, SIDE))

    def pictures(made: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> Iterator[NDArray[np.uint8]]:
        for index, (both, cover) in enumerate(made):
            covers[index] = cover
            yield both

    with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:  # a fork of a process with a GPU has none
        made = workers.map(drawn, range(SCENES), chunksize=8)
        _write(model, scaling, DRAWN, (SCENES, 2), pictures(made))
        _write(model, scaling, CANONICAL, (len(asked()),), workers.map(canonical, range(len(asked())), chunksize=8))


def _write(
    model: AutoencoderDC, scaling: float, path: Path, each: tuple[int, ...], made: Iterator[NDArray[np.uint8]]
) -> None:
    file = np.lib.format.open_memmap(path, "w+", np.float16, (*each, shapes.LATENT_CHANNELS, SIDE, SIDE))
    for begin in range(0, len(file), TOGETHER):
        latents = encode(model, np.concatenate(list(islice(made, TOGETHER)))) * scaling
        file[begin : begin + TOGETHER] = latents.reshape(-1, *file.shape[1:])


def canonical(index: int) -> NDArray[np.uint8]:
    """The picture of what text alone asks for, number `index`; (1, h, w, 3)."""
    cv2.setNumThreads(1)
    return scenes.draw(scenes.canonical(*asked()[index]))[None]


def asked() -> list[tuple[str | None, str | None]]:
    """Everything text alone can ask for: each object in each place, each by itself."""
    return list(product([None, *scenes.OBJECTS], [None, *scenes.PLACES]))[1:]


def main() -> None:
    """Encode styles and scenes."""
    model = autoencoder.trained()
    scaling = scaling_factor(model, pools.load()[0][:128])
    write_styles(model, scaling)
    write_scenes(model, scaling)
    write_pixels(model, scaling)
    np.save(SCALING, scaling)
    print(f"scaling factor {scaling:.4f}")


if __name__ == "__main__":
    main()
