"""OpenVINO's engines as ticks: whole, or with the rows of the denoiser side by side.

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
from torch.utils import _pytree as pytree

from millstream.backends.apart import DECODE, DENOISE, ENCODE, ENTER, TICK, Apart, channels_first
from millstream.core.graph import Inputs, Outputs

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest


class Loaded(NamedTuple):
    """An engine's parts by their names, one for each share. Their weights are in `memory`, which outlives them."""

    parts: "dict[str, list[CompiledModel]]"
    memory: Sequence[NDArray[np.uint8]]


class Reader(NamedTuple):
    """A request's input, which reads these rows of what it is shown, where they lie."""

    request: "InferRequest"
    place: int
    rows: slice = slice(None)

    def read(self, array: NDArray[Any]) -> None:
        """Read this from here on."""
        from openvino import Tensor as Shared  # noqa: PLC0415

        self.request.set_input_tensor(self.place, Shared(array[self.rows], shared_memory=True))


class Request:
    """An engine that reads a stream's tensors where they lie, and gives copies of what it made."""

    def __init__(self, loaded: Loaded, apart: Apart) -> None:
        self._loaded, self._signature = loaded, apart.signature
        self.requests = {name: [part.create_infer_request() for part in each] for name, each in loaded.parts.items()}
        self._last, self._decode = self.requests[apart.names[-2]][0], self.requests[DECODE][0]
        self._decode.set_input_tensor(self._last.output_tensors[0])
        self._bound: list[Tensor | None] = [None] * len(self._signature.shapes)  # kept alive: requests read there
        self._readers: list[list[Reader]] = [[] for _ in self._signature.shapes]
        for name in self.requests.keys() & {TICK, ENCODE, ENTER}:
            self._read_inputs(self.requests[name][0])
        self._lock = Lock()

    def __call__(self, inputs: Inputs, decodes: bool = True) -> Outputs:
        """Compute one tick."""
        with self._lock:
            self._bind(inputs)
            self._before()
            latents = map(channels_first, _made(self._last))
            return Outputs(_made(self._decode)[0] if decodes else None, *latents)

    def _before(self) -> None:
        """Compute what comes before the last latents."""

    def _read_inputs(self, request: "InferRequest") -> None:
        """Let it read the tick's inputs, the last of its own."""
        first = len(request.input_tensors) - len(self._readers)
        for place, readers in enumerate(self._readers):
            readers.append(Reader(request, first + place))

    def _bind(self, inputs: Inputs) -> None:
        """Pass the addresses of the tensors that are others than at the last tick."""
        tensors = pytree.tree_leaves(inputs)
        if all(new is old for new, old in zip(tensors, self._bound, strict=True)):
            return
        for i, plain in enumerate(self._signature.flatten(inputs)):
            if tensors[i] is not self._bound[i]:
                for reader in self._readers[i]:
                    reader.read(plain.numpy())
        self._bound = tensors


class SharedRequest(Request):
    """One whose denoiser computes its rows in shares, each in a thread of its own."""

    def __init__(self, loaded: Loaded, apart: Apart) -> None:
        super().__init__(loaded, apart)
        self._others = ThreadPoolExecutor(apart.shares - 1, "millstream-rows")
        if ENCODE in self.requests:
            self.requests[ENTER][0].set_input_tensor(0, self.requests[ENCODE][0].output_tensors[0])
        self._wire(apart.passed())

    def _before(self) -> None:
        for name in (ENCODE, ENTER):
            for request in self.requests.get(name, ()):
                request.infer(share_outputs=True)
        first, *others = self.requests[DENOISE]
        begun = [self._others.submit(request.infer, share_outputs=True) for request in others]
        first.infer(share_outputs=True)
        for share in begun:
            share.result()

    def _wire(self, passed: Sequence[int | None]) -> None:
        """Let denoiser and step read what they are given where that lies: with `enter`, or among the inputs."""
        from openvino import Tensor as Shared  # noqa: PLC0415

        denoisers, made = self.requests[DENOISE], iter(self.requests[ENTER][0].output_tensors)
        asked, output = len(denoisers[0].input_tensors), self._last.input_tensors[0]
        size = output.shape[0] // len(denoisers)
        rows = [slice(begin, begin + size) for begin in range(0, output.shape[0], size)]
        for request, part in zip(denoisers, rows, strict=True):
            request.set_output_tensor(0, Shared(output.data[part], shared_memory=True))
        for i, place in enumerate(passed):
            shared = [Reader(request, i, part) for request, part in zip(denoisers, rows, strict=True)]
            readers = shared if i < asked else [Reader(self._last, i - asked + 1)]
            if place is not None:
                self._readers[place] += readers
                continue
            tensor = next(made)
            for reader in readers:
                reader.read(tensor.data)


def _made(request: "InferRequest") -> list[Tensor]:
    """Copies of what it makes. By NumPy: PyTorch's threads would help, and then wait in a loop, on a core in need."""
    request.infer(share_outputs=True)
    return [torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors]
