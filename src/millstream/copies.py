"""Pictures to the device and back: on a card through pinned memory, and the host waits when it wants a picture."""

from collections.abc import Callable, Sequence
from itertools import cycle

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from millstream.frame import Pixels

BUFFERS = 2  # one is filled while the card may still read the other


class Entrance:
    """Where the pictures of a stream enter, `pixels`, at an address that never changes."""

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device) -> None:
        """`shape` is frames, height, width and 3."""
        self.pixels: UInt8[Tensor, "frames h w 3"] = torch.zeros(shape, dtype=torch.uint8, device=device)

    def take(self, pictures: Sequence[Pixels]) -> None:
        """Copy what enters at the next tick."""
        self.pixels[: len(pictures)] = torch.from_numpy(np.stack(pictures))


class PinnedEntrance(Entrance):
    """One whose uploads the host does not wait for: by way of pinned buffers in turn."""

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device) -> None:
        super().__init__(shape, device)
        buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(BUFFERS)]
        self._buffers = cycle([(buffer, torch.cuda.Event()) for buffer in buffers])  # type: ignore[no-untyped-call]

    def take(self, pictures: Sequence[Pixels]) -> None:
        """Begin to copy what enters at the next tick."""
        (buffer, read), count = next(self._buffers), len(pictures)
        read.synchronize()  # of the upload before the last: long past, but where ticks follow that nothing leaves
        np.stack(pictures, out=buffer[:count].numpy())
        self.pixels[:count].copy_(buffer[:count], non_blocking=True)
        read.record(torch.cuda.current_stream(self.pixels.device))


def entrance(shape: tuple[int, int, int, int], device: torch.device) -> Entrance:
    """The entrance for a device."""
    return (PinnedEntrance if device.type == "cuda" else Entrance)(shape, device)


def fetch(tensors: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Begin to bring tensors of one device to the host, and give what waits for all of them, once.

    What is computed on a card from here on may overwrite them.
    """
    device = tensors[0].device
    if device.type != "cuda":
        here = [tensor.cpu() for tensor in tensors]
        return lambda: here
    pinned = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # torch pins what it copies to without waiting
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record(torch.cuda.current_stream(device))

    def wait() -> list[Tensor]:
        done.synchronize()
        return [tensor.clone() for tensor in pinned]  # pinned memory is scarce, and pictures are kept

    return wait
