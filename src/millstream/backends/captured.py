"""CUDA graphs: a tick, compiled or not, recorded once and replayed by one call of the driver.

What is live (prompt, keys and values, strength, guidance, seed, bias of neighbours) are tensors that the recorded work
reads where they lie, so that a change of them is a copy, and never a new graph.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import torch
from torch import Tensor

from millstream.backends.plain import Signature
from millstream.core.graph import Inputs, Occupied, Outputs
from millstream.errors import ModelError

WARM = 3  # calls before the recorded one: they load kernels, choose convolutions and take what memory they keep

Compute = Callable[..., Sequence[Tensor]]


class Captured:
    """A tick as a CUDA graph, for one caller at a time.

    It reads tensors of its own, into which every call copies its inputs: streams of one form share a graph, and their
    tensors lie elsewhere. What it gives is its own as well, and stands until the next call on the same CUDA stream;
    `core.tick.advance` and `copies.fetch` copy what they keep.
    """

    def __init__(self, compute: Compute, signature: Signature) -> None:
        """Record. Raises ModelError where the card cannot, and never runs anything else in its place."""
        self._signature = signature
        self._compute = compute  # its kernels are what the graph calls
        self._inputs = signature.zeros()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(signature.device), chosen_convolutions():
            self._outputs = self._record(compute)

    def __call__(self, inputs: Inputs, occupied: Occupied | None = None) -> Outputs:
        """Compute one tick, whole."""
        load(self._inputs, self._signature.flatten(inputs))
        self._graph.replay()
        return Outputs(*self._outputs)

    def _record(self, compute: Compute) -> Sequence[Tensor]:
        """Record on a stream of its own, while other threads go on with theirs."""
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(aside):
                for _ in range(WARM):
                    compute(*self._inputs)
            with torch.cuda.graph(self._graph, stream=aside, capture_error_mode="thread_local"):
                return compute(*self._inputs)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise ModelError(f"CUDA graph: cannot record a tick ({reason}); use --backend eager") from error


def load(places: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy the values into their places: all of one type together, in as few launches as there are types."""
    for pairs in _alike(zip(places, values, strict=True)):
        torch._foreach_copy_([place for place, _ in pairs], [value for _, value in pairs])


@contextmanager
def chosen_convolutions() -> Iterator[None]:
    """Let cuDNN measure its convolutions and take the fastest: shapes are fixed, so that it does so once."""
    usual = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = usual


def _alike(pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    def kind(pair: tuple[Tensor, Tensor]) -> str:
        return str(pair[0].dtype)

    return (list(group) for _, group in groupby(sorted(pairs, key=kind), key=kind))
