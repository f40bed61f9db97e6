"""OpenVINO's engines as ticks: the pieces of one side by side.

Two rows of the embedded denoiser take 8 to 13 ms on two cores together, and 6.5 to 9.8 one on each (Intel Xeon with
AMX, in bfloat16, as the machine was at that time): together, its many small layers wait for one another.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from millstream.backends.pieces import Piece
from millstream.backends.plain import Signature
from millstream.core.graph import Inputs, Occupied, Outputs

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest

LATENTS = 3  # tensors that a tick makes beside its pictures


class Loaded(NamedTuple):
    """An engine's pieces, each its tick and, where pictures leave, its decoder. Their weights are in `memory`, which
    outlives them.
    """

    pieces: "Sequence[Sequence[CompiledModel]]"
    memory: Sequence[NDArray[np.uint8]]


class Reader(NamedTuple):
    """A request's input, which reads these rows of what it is shown, where they lie."""

    request: "InferRequest"
    place: int
    rows: slice

    def read(self, array: NDArray[Any]) -> None:
        """Read this from here on."""
        from openvino import Tensor as Shared  # noqa: PLC0415

        self.request.set_input_tensor(self.place, Shared(array[self.rows], shared_memory=True))


class Request:
    """An engine that reads a stream's tensors where they lie, and gives copies of what it made."""

    def __init__(self, loaded: Loaded, signature: Signature, pieces: Sequence[Piece]) -> None:
        self._loaded, self._signature, self._pieces = loaded, signature, pieces
        self.requests = [[part.create_infer_request() for part in piece] for piece in loaded.pieces]
        self._latents = [together([tick for tick, *_ in self.requests], i) for i in range(LATENTS)]
        for tick, *decoder in self.requests:
            for request in decoder:
                request.set_input_tensor(tick.output_tensors[0])
        self._pictures = together([request for _, *decoder in self.requests for request in decoder], 0)
        self._readers = self._reading()
        self._bound: Sequence[Tensor | None] = [None] * len(self._readers)  # kept alive: requests read there
        self._others = ThreadPoolExecutor(len(pieces), "millstream-rows")
        self._lock = Lock()

    def __call__(self, inputs: Inputs, occupied: Occupied | None = None) -> Outputs:
        """Compute one tick; what is not occupied stays what it was."""
        with self._lock:
            self._bind(inputs)
            work = self._work(occupied)
            self._compute(work)
            # Copied by NumPy: PyTorch's threads would help, and then wait in a loop, on a core in need.
            pictures = torch.from_numpy(self._pictures.copy()) if any(len(each) > 1 for each in work) else None
            return Outputs(pictures, *(channels_first(torch.from_numpy(each.copy())) for each in self._latents))

    def _work(self, occupied: Occupied | None) -> "Sequence[Sequence[InferRequest]]":
        """What has to be run, side by side. Nothing where a piece has no frame: a slow source leaves a core free."""
        if occupied is None:
            return self.requests
        needed = [piece.needed(occupied) for piece in self._pieces]
        return [piece[:count] for piece, count in zip(self.requests, needed, strict=True) if count]

    def _compute(self, work: "Sequence[Sequence[InferRequest]]") -> None:
        begun = [self._others.submit(_infer, piece) for piece in work[:-1]]
        for piece in work[-1:]:  # it decodes, and so takes longest: here, for a thread is woken late
            _infer(piece)
        for other in begun:
            other.result()

    def _reading(self) -> list[list[Reader]]:
        """For each tensor of a tick's inputs, who reads what of it."""
        plain = self._signature.zeros()
        inputs, storages = self._signature.unflatten(plain), [each.untyped_storage().data_ptr() for each in plain]
        readers: list[list[Reader]] = [[] for _ in plain]
        for (tick, *_), piece in zip(self.requests, self._pieces, strict=True):
            own = piece.of(inputs)
            for place, tensor in enumerate(Signature.of(own).flatten(own)):
                first = tensor.storage_offset() // tensor.stride(0)
                of = storages.index(tensor.untyped_storage().data_ptr())
                readers[of].append(Reader(tick, place, slice(first, first + len(tensor))))
        return readers

    def _bind(self, inputs: Inputs) -> None:
        """Pass the addresses of the tensors that are others than at the last tick."""
        tensors = inputs.tensors
        if all(new is old for new, old in zip(tensors, self._bound, strict=True)):
            return
        for i, plain in enumerate(self._signature.flatten(inputs)):
            if tensors[i] is not self._bound[i]:
                for reader in self._readers[i]:
                    reader.read(plain.numpy())
        self._bound = tensors


def together(requests: "Sequence[InferRequest]", output: int) -> NDArray[Any]:
    """An array into which the requests write that output, one behind the other."""
    from openvino import Tensor as Shared  # noqa: PLC0415

    tensors = [request.output_tensors[output] for request in requests]
    like = tensors[0].data
    array = np.zeros((sum(len(tensor.data) for tensor in tensors), *like.shape[1:]), like.dtype)
    begin = 0
    for request, tensor in zip(requests, tensors, strict=True):
        rows = array[begin : begin + len(tensor.data)]
        request.set_output_tensor(output, Shared(rows, shared_memory=True))
        begin += len(rows)
    return array


def channels_first(latents: Tensor) -> Tensor:
    """Latents (b, h, w, c) as (b, c, h, w), where they lie."""
    return latents.permute(0, 3, 1, 2)


def _infer(piece: "Sequence[InferRequest]") -> None:
    for request in piece:
        request.infer(share_outputs=True)
