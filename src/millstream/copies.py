"""Pictures to the device and back: on a card through pinned memory and beside what it computes.

The host waits when it wants a picture, and the card when it wants to read one. What crosses from stream to stream is a
copy that nobody writes again, so that neither an upload nor a download ever holds up the tick before or behind it.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import cycle
from typing import Literal

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


class HostEntrance(Entrance):
    """One in the host's memory: PyTorch's threads would help to copy, and then wait in a loop, on a core in need."""

    def take(self, pictures: Sequence[Pixels]) -> None:
        """Copy what enters at the next tick."""
        np.stack(pictures, out=self.pixels[: len(pictures)].numpy())


class PinnedEntrance(Entrance):
    """One whose uploads the host does not wait for: by way of pinned buffers in turn."""

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device) -> None:
        super().__init__(shape, device)
        buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(BUFFERS)]
        self._buffers = cycle([(buffer, torch.cuda.Event()) for buffer in buffers])  # type: ignore[no-untyped-call]

    def take(self, pictures: Sequence[Pixels]) -> None:
        """Begin to copy what enters at the next tick: up while the card computes the last one, which reads `pixels`."""
        (buffer, read), count, device = next(self._buffers), len(pictures), self.pixels.device
        read.synchronize()  # of the upload before the last: long past
        np.stack(pictures, out=buffer[:count].numpy())
        with torch.cuda.stream(aside(device, "up")):
            arrived = buffer[:count].to(device, non_blocking=True)
            read.record()
        here = torch.cuda.current_stream(device)
        here.wait_event(read)
        arrived.record_stream(here)
        self.pixels[:count].copy_(arrived)


def entrance(shape: tuple[int, int, int, int], device: torch.device) -> Entrance:
    """The entrance for a device."""
    return {"cuda": PinnedEntrance, "cpu": HostEntrance}.get(device.type, Entrance)(shape, device)


def fetch(tensors: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Begin to bring tensors of one device to the host, and give what waits for all of them, once.

    What is computed on a card from here on may overwrite them.
    """
    device = tensors[0].device
    if device.type != "cuda":
        here = [tensor.cpu() for tensor in tensors]
        return lambda: here
    kept, down = [tensor.clone() for tensor in tensors], aside(device, "down")
    down.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(down):
        pinned = [each.to("cpu", non_blocking=True) for each in kept]  # torch pins what it copies to without waiting
        done = down.record_event()
    for each in kept:
        each.record_stream(down)

    def wait() -> list[Tensor]:
        done.synchronize()
        return [tensor.clone() for tensor in pinned]  # pinned memory is scarce, and pictures are kept

    return wait


@cache
def aside(device: torch.device, way: Literal["up", "down"]) -> torch.cuda.Stream:
    """The card's stream for copies of one way: an upload must not stand behind a download, which waits for its tick.

    Its priority speeds nothing up, but such streams come from a pool of their own. Those of the usual pool come round
    again, and what is copied on one that a graph is recorded on (`backends.captured`) would be recorded with it.
    """
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
