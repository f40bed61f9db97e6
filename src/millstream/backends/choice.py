"""Which back end runs: the one that is named, or the fastest of this machine."""

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from millstream.backends import int8
from millstream.backends.cudagraph import CudaGraph
from millstream.backends.inductor import Inductor
from millstream.backends.openvino import INT8, OpenVino
from millstream.backends.plain import Parts, Plain, Signature, Ticks, own_precision
from millstream.core.graph import Form
from millstream.errors import ModelError

EAGER = "eager"
KINDS: dict[str, type[CudaGraph] | type[Inductor] | type[OpenVino]] = {
    "cudagraph": CudaGraph,
    "inductor": Inductor,
    "openvino": OpenVino,
}
# By kind of device; on others, eager. On a card inductor is faster (H200, sd-turbo: 1.5 times) but takes over a minute.
FASTEST = {"cuda": "cudagraph", "cpu": "openvino"}


class Compiler(Protocol):
    """A compiler of ticks. It is a value: its fields say what its engines depend on."""

    @property
    def name(self) -> str:
        """What `--backend` calls it."""
        ...

    @property
    def precision(self) -> str:
        """The numbers it computes in."""
        ...

    @property
    def measures(self) -> bool:
        """Whether it needs the tick's inputs over real pictures to make an engine."""
        ...

    @property
    def apart(self) -> bool:
        """Whether each row is a call of its own, so that an engine serves every form whose rows do not need each other,
        and rows without a frame are not computed.
        """
        ...

    def compile(self, networks: Parts, form: Form, signature: Signature, played: Iterable[tuple[Tensor, ...]]) -> bytes:
        """Make an engine of a form's tick, for inputs of this signature. Takes seconds to minutes.

        `played` are its inputs over real pictures, for a back end that measures them.
        """
        ...

    def load(self, engine: bytes, form: Form, signature: Signature, graph: Callable[[], Plain]) -> Ticks:
        """Load an engine; `graph` gives the tick's graph, for one that is not the whole of it."""
        ...

    def identity(self, device: torch.device) -> str:
        """Name its version, and the processor it compiles for."""
        ...


Backend: TypeAlias = Compiler | CudaGraph


class Choice(NamedTuple):
    """A back end, None for eager, and the numbers it computes in."""

    backend: Backend | None
    precision: str

    @property
    def name(self) -> str:
        """What `--backend` calls it."""
        return self.backend.name if self.backend else EAGER


def choose(name: str, precision: str, device: torch.device, dtype: torch.dtype, judged: bool = False) -> Choice:
    """Find the back end `name` for a model on `device` whose weights are of `dtype`.

    `auto` is what MILLSTREAM_BACKEND names, or else the fastest that can run. Of numbers it is those of the back end,
    or integers where they are faster and the model was `judged` in them. Raises ModelError, with the cure, where what
    is named cannot run here, or not in this precision.
    """
    if name == "auto":
        name = os.environ.get("MILLSTREAM_BACKEND") or fastest(device, dtype)
    if name == EAGER:
        return Choice(None, own_precision(EAGER, precision, dtype))
    if name not in KINDS:
        raise ModelError(f"MILLSTREAM_BACKEND={name}: unknown; use one of {', '.join([EAGER, *KINDS])}")
    if reason := KINDS[name].missing(device, dtype):
        raise ModelError(f"backend {name}: {reason}")
    if judged and (name, precision) == ("openvino", "auto") and int8.fastest():
        precision = INT8
    backend: Backend = KINDS[name].make(precision, dtype)
    return Choice(backend, backend.precision)


def fastest(device: torch.device, dtype: torch.dtype) -> str:
    """The fastest back end that can run a model of `dtype` on `device`."""
    name = FASTEST.get(device.type, EAGER)
    return EAGER if name == EAGER or KINDS[name].missing(device, dtype) else name
