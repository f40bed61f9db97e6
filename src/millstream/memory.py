"""Whether something fits, before it is loaded or built: an estimate against what is free.

The activations of a tick are counted, not guessed: its graph is run on tensors without numbers, and the storages that
are alive at once are summed up (`tick_bytes`). Measured on a CPU, the peak is 1.3 to 1.75 times that (`WORKSPACE`), and
while OpenVINO builds it is five times the weights more (`COPIES`).
"""

import json
import math
import struct
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from millstream import embedded
from millstream.core.graph import Form, Inputs, Networks, TickGraph
from millstream.core.rows import Layout
from millstream.errors import TooLargeError
from millstream.params import ModelConfig

WORKSPACE = 1.75  # times the tensors alive at once: convolutions reorder what they read and write
COPIES = 5  # of the weights while a compiler builds: trace, graph, engine, the engine as bytes, and loaded again
LATENTS = 4  # of a row: noisy, reference and noise, and one in the making
NOISES = 2  # of a stage: drawn on the processor, and where the model is
SMALLER = "use fewer steps, or a smaller --width, --height or --frame-buffer"
SURE = 16_384, 4_096  # bytes a pixel of every frame and of every row, which no model of this kind comes to
CGROUP = Path("/sys/fs/cgroup")
GIB = 2**30


def check_fits(what: str, needed: float, device: torch.device, cure: str) -> None:
    """Raise TooLargeError with the figures where less than `needed` bytes are free on the device."""
    free = free_bytes(device)
    if needed > free:
        raise TooLargeError(f"{what}: needs {needed / GIB:.1f} GiB on {device}, {free / GIB:.1f} GiB are free; {cure}")


def free_bytes(device: torch.device) -> int:
    """What can still be taken: on a card also what torch holds and does not use; else the machine's or container's."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return min(psutil.virtual_memory().available, _container_bytes())


def check_model(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
    """Raise TooLargeError where the weights of a model that lies here do not fit: in float32, then in their numbers.

    Of a model that has yet to be fetched nothing is known, and nothing said.
    """
    count = sum(_numbers(file) for file in _weights(config))
    cure = "close other programs, or take a smaller model"
    check_fits(f"model {config.name}", 4 * count, torch.device("cpu"), cure)
    if device.type != "cpu":
        check_fits(f"model {config.name}", dtype.itemsize * count, device, cure)


def check_tick(networks: Networks, form: Form, inputs: Inputs, weights: int, device: torch.device) -> None:
    """Raise TooLargeError where a tick of this form does not fit beside what is there.

    `weights` are the bytes that a compiler copies; 0 where none builds. Counting takes about a second, so that what is
    small beside the free memory by any measure is not counted.
    """
    copies = COPIES * weights
    if sure_bytes(form, inputs) + copies > free_bytes(device):
        check_fits("stream", WORKSPACE * tick_bytes(networks, form, inputs) + copies, device, SMALLER)


def check_rows(layout: Layout, picture: int, device: torch.device) -> None:
    """Raise TooLargeError where the rows of a stream do not fit, with pictures of so many bytes that enter them."""
    latent = 4 * math.prod(layout.shape)
    needed = latent * (LATENTS * layout.rows + NOISES * layout.stages) + picture * layout.frames
    check_fits("stream", needed, device, SMALLER)


def sure_bytes(form: Form, inputs: Inputs) -> int:
    """What no tick of this form comes to; its pictures are those that enter, or eight latent cells a side."""
    pixels = max((t.shape[1] * t.shape[2] for t in inputs.entering.values()), default=0)
    pixels = pixels or 64 * form[0].layout.shape[1] * form[0].layout.shape[2]
    frames = sum(lane.layout.frames for lane in form)
    rows = sum(lane.layout.rows + lane.layout.negative_rows for lane in form)
    return pixels * (SURE[0] * frames + SURE[1] * rows)


def tick_bytes(networks: Networks, form: Form, inputs: Inputs) -> int:
    """The most that tensors of a tick take at once, in bytes, without its inputs and the weights. Computes nothing."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: PLC0415  # half a second

    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as fake:
        shapes = pytree.tree_map_only(Tensor, fake.from_tensor, inputs)
        with Alive() as alive:
            TickGraph(networks, form)(shapes)
    return int(alive.most)


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that operators make, while they are alive. `most` is the largest sum."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self._now += storage.nbytes()
            self.most = max(self.most, self._now)
            weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, place: int, size: int) -> None:
        self._known.discard(place)
        self._now -= size


def _weights(config: ModelConfig) -> Iterator[Path]:
    root = embedded.path() if config.name == embedded.NAME else Path(config.name)
    if root.is_file():
        yield root
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        folder = Path(config.vae) if part == "vae" and config.vae else root / part
        files = sorted(folder.glob("*.safetensors"))
        yield from [file for file in files if ".fp16" not in file.name] or files


def _numbers(file: Path) -> int:
    """How many numbers a safetensors file holds, by its header; 0 for what is none, for loading says that better."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(length, 2**27)))
        return sum(torch.Size(entry["shape"]).numel() for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        return 0


def _container_bytes() -> int:
    """What the container's limit leaves; a large number where there is none (control groups, version 2)."""
    try:
        limit = int((CGROUP / "memory.max").read_text())
        return limit - int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return 2**62
