"""Finding a model's files: a folder here, or the hub's copy of one. Safetensors alone is ever read."""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

from millstream.errors import ModelError

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def fetch(name: str, patterns: Sequence[str]) -> Path:
    """Give the folder `name`, or a copy of the hub's files that match `patterns`.

    Raises ModelError where it is neither, or the hub cannot be reached.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    refuse_pickle(folder)
    if not HUB_ID.fullmatch(name):
        raise ModelError(f"{name}: no such file or folder; give a diffusers folder, a .safetensors file or a hub id")
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=["*.fp16.*", "*.non_ema.*"]))
    except Exception as error:  # whatever fails on the way from the hub, the cure is the same
        reason = first_line(error)
        raise ModelError(
            f"{name}: no such folder, and the hub does not give it ({reason}); download it elsewhere, give its folder"
        ) from error


def refuse_pickle(path: Path) -> None:
    """Raise ModelError for a file whose format can run code."""
    if path.suffix in PICKLES:
        raise ModelError(f"{path}: a pickle file can run code and is never read; convert it to .safetensors")


def weights_variant(folder: Path) -> str | None:
    """Name the variant to load where only half-precision weights are there. Raises ModelError where there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        for file in sorted(folder.glob("*")):
            refuse_pickle(file)
        raise ModelError(f"{folder}: no .safetensors weights; download the model again")
    return "fp16" if all(".fp16" in file.name for file in files) else None


def first_line(error: Exception) -> str:
    """Give an error's first line, without the full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(" .:")
