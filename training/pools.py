"""`python -m training.pools [COUNT]`: crops and their styled versions on disk, so that training only reads.

pool/crops.npy (count, 256, 256, 3), pool/styled.npy (count, PER_CROP, 256, 256, 3) and pool/which.npy (count,
PER_CROP), the index in STYLES of each styled picture: eight styles a crop, going round all of them.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training import crops, loop, pack, styles

POOL = pack.WORK / "pool"
PER_CROP = 8
COUNT = 3000 if loop.GPU else 2400  # a GPU comes to each more often nevertheless


@cache
def _shelf() -> crops.Library:
    return crops.library()


def assigned(index: int) -> NDArray[np.int64]:
    """The styles of crop `index`: a stride of 5 is coprime to the number of styles, so all turn up alike."""
    return (index * PER_CROP + np.arange(PER_CROP)) * 5 % len(styles.STYLES)


def make(index: int) -> tuple[crops.Rgb8, NDArray[np.uint8]]:
    """A crop and its styled versions."""
    cv2.setNumThreads(1)
    crop = crops.crop(_shelf(), index)
    names = list(styles.STYLES)
    return crop, np.stack([styles.apply(names[style], crop) for style in assigned(index)])


def build(folder: Path, count: int) -> None:
    """Fill the pool's files, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = (crops.SIDE, crops.SIDE, 3)
    crop_file = np.lib.format.open_memmap(folder / "crops.npy", "w+", np.uint8, (count, *shape))
    styled_file = np.lib.format.open_memmap(folder / "styled.npy", "w+", np.uint8, (count, PER_CROP, *shape))
    with ProcessPoolExecutor() as workers:
        for index, (crop, styled) in enumerate(workers.map(make, range(count), chunksize=8)):
            crop_file[index], styled_file[index] = crop, styled
    np.save(folder / "which.npy", np.stack([assigned(index) for index in range(count)]))


def load(folder: Path = POOL) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    """Crops, styled pictures, and the index in STYLES of each; memory-mapped."""
    return (
        np.load(folder / "crops.npy", mmap_mode="r"),
        np.load(folder / "styled.npy", mmap_mode="r"),
        np.load(folder / "which.npy"),
    )


if __name__ == "__main__":
    build(POOL, int(sys.argv[1]) if len(sys.argv) > 1 else COUNT)
