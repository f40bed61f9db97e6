"""Prepared ticks: built beside the stream, kept in memory and on disk, bounded."""

import logging
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from threading import Lock
from time import monotonic
from typing import TypeAlias

import torch

from millstream.backends import gentle
from millstream.backends.choice import Backend, Compiler
from millstream.backends.cudagraph import CudaGraph
from millstream.backends.plain import Plain, Run, Signature, Source, plain
from millstream.backends.store import Store, source_hash
from millstream.backends.workshop import Job, build
from millstream.core.graph import Form, Inputs
from millstream.errors import MillstreamError, ModelError

log = logging.getLogger(__name__)

Key: TypeAlias = tuple[Backend, Form]

KEPT = 8  # each holds the model's weights a second time, in the compiler's own order
YIELD = 1e-4  # seconds after which a thread that builds gives the interpreter to one that asks for it
REASON = 200  # characters of a compiler's complaint that the message repeats

_building = Lock()


class Plans:
    """Compiled ticks of one model. Those used longest ago are let go of: beyond `kept`, and beyond `limit` bytes.

    The one used last stays, whatever its size.
    """

    def __init__(self, model: Source, store: Store | None = None, kept: int = KEPT, limit: float = math.inf) -> None:
        self._model = model
        self.store = store or Store()
        self._kept, self._limit = kept, limit
        self._sizes: dict[Key, int] = {}  # bytes, of those that are built
        self._runs: OrderedDict[Key, Future[Run]] = OrderedDict()
        self._lock = Lock()
        self._builder = ThreadPoolExecutor(1, "millstream-build")

    def __len__(self) -> int:
        return len(self._runs)

    def prepare(
        self, backend: Backend, form: Form, gather: Callable[[], Inputs], play: Callable[[], Iterable[Inputs]]
    ) -> Future[Run]:
        """Begin to build the tick of a form, unless that was begun; never waits.

        `gather` gives inputs of this form, of which shapes alone matter, and `play` those of a stream over real
        pictures, computed where the back end measures them; neither is called again for a form that was begun, for
        every tick comes here. The future raises ModelError where the back end cannot build it.
        """
        key = backend, form
        with self._lock:
            if key not in self._runs:
                inputs = gather()
                order = Order(backend, form, Signature.of(inputs), play())
                self._runs[key] = self._builder.submit(self._build, order)
            self._runs.move_to_end(key)
            while len(self._runs) > 1 and (len(self._runs) > self._kept or self._bytes() > self._limit):
                oldest, building = self._runs.popitem(last=False)
                building.cancel()
                self._sizes.pop(oldest, None)
            return self._runs[key]

    def _bytes(self) -> int:
        return sum(self._sizes.get(key, 0) for key in self._runs)

    def _build(self, order: "Order") -> Run:
        try:
            run = self._load(order)
            first_call(run, order)
            gentle.begin()
            return run
        except MillstreamError:
            raise
        except Exception as error:  # compilers fail in many ways, and the cure is the same
            reason = " ".join(str(error).split())[:REASON] or type(error).__name__
            raise ModelError(
                f"backend {order.backend.name}: cannot build this model ({reason}); use --backend eager"
            ) from error

    def _load(self, order: "Order") -> Run:
        backend, signature = order.backend, order.signature

        def graph() -> Plain:
            return plain(self._model.networks(), order.form, signature)

        if isinstance(backend, CudaGraph):
            with alone(), torch.no_grad():
                return backend.record(graph(), signature)

        def compile_() -> bytes:
            begun = monotonic()
            log.info("building an engine, once for: %s", what)
            engine = self._make(order)
            log.info("built in %.1f s", monotonic() - begun)
            return engine

        key = engine_key(self._model, backend, order)
        what = describe(self._model, backend, order.form)
        engine = self.store.get(key, what, compile_)
        with self._lock:
            if (backend, order.form) in self._runs:  # nobody has let go of it meanwhile
                self._sizes[backend, order.form] = len(engine)
        self._model.keep(self.store)
        try:
            return backend.load(engine, order.form, signature, graph)
        except RuntimeError:  # it is whole, and still no engine of this machine
            self.store.drop(key)
            return backend.load(self.store.get(key, what, compile_), order.form, signature, graph)

    def _make(self, order: "Order") -> bytes:
        backend, signature = order.backend, order.signature
        assert not isinstance(backend, CudaGraph)
        # Copies, for a stream's next inputs lie where those before lay.
        measured = order.played if backend.measures else ()
        played = [tuple(tensor.clone() for tensor in signature.flatten(inputs)) for inputs in measured]
        job = Job(backend, self._model.networks(), order.form, signature, played)
        if signature.device.type == "cpu":
            return build(job)
        with alone():  # a second process would hold a second context and its weights on the card
            return job.build()


@contextmanager
def alone() -> Iterator[None]:
    """Build nothing else in this process meanwhile, and give the interpreter to the show as soon as it asks.

    Tracing and converting is not made for two threads: graphs that are traced at once get mixed up. And a tick that is
    shown asks for the interpreter some fifty times, and waits each time for the thread that builds, of itself 5 ms.
    """
    with _building:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(YIELD)
        try:
            yield
        finally:
            sys.setswitchinterval(usual)


@dataclass(frozen=True)
class Order:
    """A tick to build: for which back end, its form and its inputs, and inputs over real pictures."""

    backend: Backend
    form: Form
    signature: Signature
    played: Iterable[Inputs]


@torch.no_grad()
def first_call(run: Run, order: Order) -> None:
    """Call it over zeros, for a first call is slow, where a session's first ticks run beside those of another.

    One of a single step takes over with its first tick: there the call would cost the show more than it spares it.
    """
    if any(lane.layout.stages > 1 for lane in order.form):
        run(order.signature.unflatten(order.signature.zeros()))


def engine_key(model: Source, compiler: Compiler, order: Order) -> str:
    """Hash of everything that an engine depends on."""
    code = [version("torch"), version("diffusers"), source_hash()]
    built_for = (compiler, compiler.identity(order.signature.device), order.form, order.signature)
    return blake2b(repr((model.fingerprint, *built_for, code)).encode(), digest_size=16).hexdigest()


def describe(model: Source, backend: Backend, form: Form) -> str:
    """What an engine is, in a few words."""
    streams = " + ".join(
        f"{lane.layout.stages} steps, {lane.layout.frames} a tick, guidance {lane.layout.guidance}" for lane in form
    )
    _, height, width = form[0].layout.shape
    return f"{model.name}, {backend.name} {backend.precision}, latents {width}x{height}, {streams}"
