"""`millstream doctor`: what runs on this machine, what is missing, and how to get it."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.errors import MillstreamError
from millstream.params import ModelConfig

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from millstream.options import Parser

REQUIRED = ("torch", "diffusers", "transformers", "av")
PAGE = ("fastapi", "uvicorn", "websockets")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for. `found` is None where it is missing; `cure` then says how to get it."""

    name: str
    found: str | None
    cure: str = ""
    required: bool = False

    @property
    def fine(self) -> bool:
        """Whether the main job can run as far as this goes."""
        return self.found is not None or not self.required


def add_parser(commands: "_SubParsersAction[Parser]") -> None:
    """Add the command; it sets `run`, a function from the namespace to an exit code."""
    parser = commands.add_parser("doctor", help="say what runs here, what is missing, and how to get it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the findings; give 0 if the main job can run, else 1."""
    findings = list(examine())
    fine = all(finding.fine for finding in findings)
    if options.json:
        text = json.dumps({"ok": fine, "findings": [asdict(finding) for finding in findings]}, indent=2)
    else:
        text = "\n".join([*map(_line, findings), "ready" if fine else "not ready: see what is missing above"])
    sys.stdout.write(text + "\n")
    return 0 if fine else 1


def examine() -> Iterator[Finding]:
    """Look at everything, in order. Where a required library is missing, what needs it is left out."""
    yield Finding("python", platform.python_version())
    libraries = [library(name) for name in REQUIRED]
    yield from libraries
    yield hub_cache()
    if all(finding.fine for finding in libraries):
        yield from devices()
        yield from back_ends()
        yield engine_cache()
        yield codec("libx264", required=True)
        yield from (codec(name) for name in ("libvpx-vp9", "aac", "libopus"))
        yield embedded_model()
        yield from (camera(), screen(), window())
    yield page()


def library(name: str) -> Finding:
    """A package that the main job needs, by its version."""
    try:
        return Finding(name, version(name), required=True)
    except PackageNotFoundError:
        return Finding(name, None, f"{sys.executable} -m pip install {name}", required=True)


def codec(name: str, required: bool = False) -> Finding:
    """A video or audio encoder of the libraries that come with PyAV."""
    from av.codec.codec import Codec, UnknownCodecError  # noqa: PLC0415

    try:
        return Finding(f"{name} encoder", Codec(name, "w").name, required=required)
    except UnknownCodecError:
        cure = f"{sys.executable} -m pip install --force-reinstall --only-binary=av av"
        return Finding(f"{name} encoder", None, cure, required)


def devices() -> Iterator[Finding]:
    """The processor, and the accelerators that PyTorch can use."""
    import torch  # noqa: PLC0415

    yield processor()
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        yield Finding(f"cuda:{index}", f"{card.name}, {card.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        yield Finding("cuda", None, _cuda_cure(torch.version.cuda))
    if platform.system() == "Darwin":
        yield Finding("mps", "available" if torch.backends.mps.is_available() else None, "update macOS")


def processor() -> Finding:
    """The processor: its name, its cores, and whether it multiplies bfloat16 in hardware."""
    import torch  # noqa: PLC0415

    can = torch.cpu.get_capabilities()
    bf16 = any(can.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    name = can.get("cpu_name") or platform.machine()
    return Finding("cpu", f"{name}, {os.cpu_count()} cores, bfloat16 {'in hardware' if bf16 else 'emulated (slow)'}")


def back_ends() -> Iterator[Finding]:
    """What `--backend auto` takes on the fastest device, and whether each of the others can run there."""
    from millstream.backends.choice import KINDS, choose  # noqa: PLC0415
    from millstream.models.device import choose_device, choose_dtype  # noqa: PLC0415

    device = choose_device("auto")
    dtype = choose_dtype("auto", device)
    chosen = choose("auto", "auto", device, dtype, judged=True)
    yield Finding("back end", f"{chosen.name} in {chosen.precision}, by --backend auto for the embedded model")
    for name, kind in KINDS.items():
        reason = kind.missing(device, dtype)
        yield Finding(name, None if reason else "can run", f"--backend {name} {reason}" if reason else "")


def engine_cache() -> Finding:
    """What the back ends have built, kept on disk."""
    from millstream.backends.store import Store  # noqa: PLC0415

    store = Store()
    size = sum(entry.size for entry in store.entries()) / 2**20
    return Finding("engine cache", f"{store.folder}, {size:.0f} MiB of at most {store.limit / 2**20:.0f}")


def embedded_model() -> Finding:
    """The model that ships with the package, loaded as any other."""
    from millstream.models import load_model  # noqa: PLC0415

    cure = f"{sys.executable} -m pip install --force-reinstall --no-deps millstream"
    try:
        model = load_model(ModelConfig(device="cpu"))
    except MillstreamError as error:
        return Finding("embedded model", None, f"{error}; {cure}", required=True)
    return Finding("embedded model", f"loads, {model.width}x{model.height}", required=True)


def camera() -> Finding:
    """The cameras that `millstream live` can read, none of which is switched on for this."""
    from millstream.media.camera import cameras, may_read  # noqa: PLC0415

    found = cameras()
    forbidden = [name for name in found if not may_read(name.partition(" ")[0])]
    if forbidden:
        return Finding("camera", None, f"{forbidden[0]}: sudo usermod -aG video $USER, and log in again")
    cure = "plug one in; into a container hand it with --device /dev/video0"
    return Finding("camera", ", ".join(found) or None, cure)


def screen() -> Finding:
    """The screen as a source of `millstream live`."""
    from millstream.media.screen import ScreenSource  # noqa: PLC0415

    try:
        with closing(ScreenSource()) as source:
            return Finding("screen", f"{source.info.width}x{source.info.height}")
    except MillstreamError as error:
        return Finding("screen", None, str(error))


def window() -> Finding:
    """The display as a sink of `millstream live`."""
    from millstream.media.live import open_display  # noqa: PLC0415

    try:
        return Finding("window", open_display())
    except MillstreamError as error:
        return Finding("window", None, str(error))


def page() -> Finding:
    """What `millstream serve` needs."""
    missing = [name for name in PAGE if library(name).found is None]
    cure = f"{sys.executable} -m pip install {' '.join(missing)}"
    return Finding("browser page", None if missing else "millstream serve", cure)


def hub_cache() -> Finding:
    """The folder that models from the hub are kept in."""
    from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415

    folder = Path(HF_HUB_CACHE)
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        return Finding("hub cache", str(folder))
    return Finding("hub cache", None, f"export HF_HUB_CACHE=FOLDER, a folder that can be written ({folder} cannot)")


def _cuda_cure(built_for: str | None) -> str:
    if built_for is None:
        return "with an NVIDIA card, put in PyTorch's CUDA build: https://pytorch.org/get-started/locally"
    return "with an NVIDIA card, install its driver, until `nvidia-smi` shows the card"


def _line(finding: Finding) -> str:
    if finding.found is not None:
        return f"ok        {finding.name:20}{finding.found}"
    return f"{'MISSING' if finding.required else 'optional':10}{finding.name:20}{finding.cure}"
