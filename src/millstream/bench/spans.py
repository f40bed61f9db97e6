"""Stretches of a thread's time, and the engine's own parts made to note theirs."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from millstream.backends.choice import Backend, Compiler
from millstream.backends.cudagraph import CudaGraph
from millstream.backends.openvino import OpenVino
from millstream.backends.plain import Parts, Plain, Run, Signature, Ticks
from millstream.backends.request import Loaded, Request
from millstream.core.graph import Form, Inputs, Occupied, Outputs
from millstream.core.rows import Conditioning
from millstream.models import Model

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest

WAITING, TICK = "waiting", "tick"
ENCODE, DENOISE, DECODE = "encode", "denoise", "decode"
NETWORKS = (ENCODE, DENOISE, DECODE)
DENOISER, AUTOENCODER = "__module.parts.0.", "__module.parts.1."  # of `Model.parts`, as the tracer names them
ENCODING = (AUTOENCODER + "encoder", AUTOENCODER + "quant_conv")
OPERATORS = ("aten::", "prim::")


class Span(NamedTuple):
    """A stretch of time, in seconds of the performance counter."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Spans:
    """The spans of one thread, in the order of their ends. On a card a span ends when the card has done its work."""

    device: torch.device
    found: list[Span] = field(default_factory=list)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Note how long what is inside takes."""
        start = self._now()
        yield
        self.found.append(Span(name, start, self._now()))

    def _now(self) -> float:
        if self.device.type == "cuda" and not torch.cuda.is_current_stream_capturing():  # a graph records no wait
            torch.cuda.synchronize(self.device)
        return perf_counter()


@dataclass(frozen=True)
class WatchedModel(Model):
    """A model that notes when each of its networks runs: those of an eager tick."""

    spans: Spans

    def encode(self, pixels: Tensor) -> Tensor:
        """Clean latents of pictures."""
        with self.spans.of(ENCODE):
            return super().encode(pixels)

    def denoise(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """Predict."""
        with self.spans.of(DENOISE):
            return super().denoise(x, t, cond)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of clean latents."""
        with self.spans.of(DECODE):
            return super().decode(latents)


@dataclass(frozen=True)
class WatchedBackend:
    """A back end whose engines note when they run."""

    backend: Compiler
    spans: Spans = field(compare=False)

    @property
    def name(self) -> str:
        """What `--backend` calls it."""
        return self.backend.name

    @property
    def precision(self) -> str:
        """The numbers it computes in."""
        return self.backend.precision

    def __repr__(self) -> str:
        """As the back end alone: its engines in the cache are the same."""
        return repr(self.backend)

    @property
    def measures(self) -> bool:
        """Whether it needs the tick's inputs over real pictures."""
        return self.backend.measures

    @property
    def apart(self) -> bool:
        """Whether each row is a call of its own."""
        return self.backend.apart

    def __reduce__(self) -> tuple[Any, ...]:
        """In a process that only builds, it is the back end alone."""
        return copy, (self.backend,)

    def compile(self, networks: Parts, form: Form, signature: Signature, played: Iterable[tuple[Tensor, ...]]) -> bytes:
        """Make an engine of the tick."""
        return self.backend.compile(networks, form, signature, played)

    def load(self, engine: bytes, form: Form, signature: Signature, graph: Callable[[], Plain]) -> "WatchedTicks":
        """Load an engine, watched."""
        return WatchedTicks(self.backend.load(engine, form, signature, graph), self.spans)

    def identity(self, device: torch.device) -> str:
        """Name its version, and the processor it compiles for."""
        return self.backend.identity(device)


@dataclass(frozen=True)
class WatchedTicks:
    """An engine whose ticks note when they run."""

    ticks: Ticks
    spans: Spans

    @property
    def nbytes(self) -> int:
        """What it takes, in bytes."""
        return self.ticks.nbytes

    def ready(self, form: Form) -> bool:
        """Whether it gives the tick of this form at once."""
        return self.ticks.ready(form)

    def __call__(self, form: Form, signature: Signature) -> "WatchedRun":
        """Give the tick of a form, watched."""
        return WatchedRun(self.ticks(form, signature), self.spans)


@dataclass(frozen=True)
class WatchedGraph(CudaGraph):
    """CUDA graphs that note when they run."""

    spans: Spans = field(compare=False)

    def record(self, plain: Plain, signature: Signature) -> "WatchedRun":
        """Record the tick, watched."""
        return WatchedRun(super().record(plain, signature), self.spans)


def watched(backend: Backend, spans: Spans) -> Backend:
    """The back end, watched, and with what it can count of itself."""
    if isinstance(backend, CudaGraph):
        return WatchedGraph(backend.precision, spans)
    if isinstance(backend, OpenVino):
        return WatchedBackend(ProfiledOpenVino(backend.precision, backend.threads), spans)
    return WatchedBackend(backend, spans)


@dataclass(frozen=True)
class WatchedRun:
    """A compiled tick that notes when it runs."""

    run: Run
    spans: Spans
    ticks: list[Span] = field(default_factory=list)  # every one, the build's too: their nodes are counted with the rest

    def __call__(self, inputs: Inputs, occupied: Occupied | None = None) -> Outputs:
        """Compute one tick."""
        with self.spans.of(TICK):
            outputs = self.run(inputs, occupied)
        self.ticks.append(self.spans.found[-1])
        return outputs

    def shares(self) -> dict[str, float]:
        """The part that each network has in the ticks so far; empty where the back end cannot tell."""
        if not isinstance(self.run, Counted):
            return {}
        whole = sum(span.end - span.start for span in self.ticks)
        return {name: seconds / whole for name, seconds in profile(self.run).items()}


class Counted(Request):
    """OpenVINO's engine, and how often each request ran: where a row has no frame it does not, so no mean tells of all.

    A graph counts for all of its requests together.
    """

    def __init__(self, loaded: Loaded, form: Form, signature: Signature) -> None:
        super().__init__(loaded, form, signature)
        self.runs: Counter[InferRequest] = Counter()

    def _infer(self, worker: int, task: int) -> None:
        super()._infer(worker, task)
        self.runs[self.requests[worker][task]] += 1


@dataclass(frozen=True)
class ProfiledOpenVino(OpenVino):
    """OpenVINO that counts the time of every node of its graph."""

    request: ClassVar[type[Request]] = Counted

    def shown(self, graph: "CompiledModel") -> "CompiledModel":
        """The graph, which has not run, for that would be counted with the ticks."""
        return graph

    def settings(self, workers: int) -> dict[str, Any]:
        """OpenVINO's, with its counters."""
        return super().settings(workers) | {"PERF_COUNT": True}


def profile(run: Counted) -> dict[str, float]:
    """Seconds of the networks' nodes in all ticks together, of threads that work side by side the mean."""
    *side_by_side, alone = run.requests
    return by_network(
        (node.node_name, node.real_time.total_seconds() * run.runs[request] / at_once)
        for requests, at_once in [(alone, 1), *((each, len(side_by_side)) for each in side_by_side)]
        for request in requests
        if run.runs[request]
        for node in request.profiling_info  # each node's time is its mean
    )


def by_network(nodes: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Seconds of each network, from the nodes of a tick in the order they ran: their names and seconds.

    A node is named by the module that it came from, or by its operator alone where that is the tick's own arithmetic.
    One that the compiler made anew has neither, and belongs where the node before it does.
    """
    seconds = dict.fromkeys(NETWORKS, 0.0)
    network: str | None = None
    for name, taken in nodes:
        network = _network(name, network)
        if network:
            seconds[network] += taken
    return seconds


def _network(name: str, before: str | None) -> str | None:
    if DENOISER in name:
        return DENOISE
    if AUTOENCODER in name:
        return ENCODE if any(part in name for part in ENCODING) else DECODE
    return None if any(operator in name for operator in OPERATORS) else before


def inside(tick: Span, shares: dict[str, float]) -> Iterator[Span]:
    """The networks of a tick one after another, as they run, each with its share of the tick."""
    start = tick.start
    for name, share in shares.items():
        end = start + share * (tick.end - tick.start)
        yield Span(name, start, end)
        start = end
