"""`python -m training.icons`: draw the objects of the scenes, from the package that `training.data` fetches."""

import json
import tarfile
from pathlib import Path
from typing import IO, cast

import cv2
import numpy as np

from training import data, pack, sources
from training.objects import FILE, SIDE, Rgba8, premultiplied
from training.things import THINGS

FRAME = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{}</svg>'


def bodies(package: Path) -> dict[str, str]:
    """The SVG of every icon in the package, without its outer element."""
    with tarfile.open(package) as archive, cast(IO[bytes], archive.extractfile("package/icons.json")) as file:
        return {name: icon["body"] for name, icon in json.load(file)["icons"].items()}


def trimmed(drawing: Rgba8) -> Rgba8:
    """The drawing without its empty margins, its longer side SIDE pixels."""
    x, y, width, height = cv2.boundingRect((drawing[..., 3] > 8).astype(np.uint8))
    scale = SIDE / max(width, height)
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(drawing[y : y + height, x : x + width], size, interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    """Draw the icons and write the file."""
    icons = bodies(next((pack.WORK / "downloads").glob("iconify-json-fluent-emoji-flat-*.tgz")))
    drawings = ((name, sources.draw(FRAME.format(icons[thing.icon]), 2 * SIDE)) for name, thing in THINGS.items())
    data.write(((name, trimmed(premultiplied(drawing))) for name, drawing in drawings), FILE)
    print(f"{FILE}: {FILE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
