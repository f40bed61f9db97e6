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
from typing import NamedTuple, TypeAlias

import torch

from millstream.backends import gentle
from millstream.backends.choice import Backend, Compiler
from millstream.backends.cudagraph import CudaGraph
from millstream.backends.plain import Plain, Run, Signature, Single, Source, Ticks, plain
from millstream.backends.store import Store, source_hash
from millstream.backends.tasks import together
from millstream.backends.workshop import Job, build
from millstream.core.graph import Form, Inputs
from millstream.errors import MillstreamError, ModelError

log = logging.getLogger(__name__)

Key: TypeAlias = tuple[Backend, Form]

KEPT = 8  # each holds the model's weights a second time, in the compiler's own order
YIELD = 1e-4  # seconds after which a thread that builds gives the interpreter to one that asks for it
REASON = 200  # characters of a compiler's complaint that the message repeats

_building = Lock()


class Base(NamedTuple):
    """What an engine is built for: the form that it serves, or one that stands for all that it serves.

    `gather` gives inputs of this form, of which shapes alone matter, and `play` those of a stream over real pictures,
    computed where the back end measures them.
    """

    form: Form
    gather: Callable[[], Inputs]
    play: Callable[[], Iterable[Inputs]]


class Plans:
    """Compiled ticks of one model, by the engines that serve them.

    Engines used longest ago are let go of: beyond `kept`, and beyond `limit` bytes. The one used last stays, whatever
    its size. So are ticks, beyond `kept`: they are made of an engine at once.
    """

    def __init__(self, model: Source, store: Store | None = None, kept: int = KEPT, limit: float = math.inf) -> None:
        self._model = model
        self.store = store or Store()
        self._kept, self._limit = kept, limit
        self._engines: OrderedDict[Key, Future[Ticks]] = OrderedDict()
        self._runs: OrderedDict[Key, tuple[Key, Future[Run]]] = OrderedDict()  # with the keys of their engines
        self._lock = Lock()
        self._builder = ThreadPoolExecutor(1, "millstream-build")

    def __len__(self) -> int:
        """How many engines there are."""
        return len(self._engines)

    def prepare(
        self, backend: Backend, form: Form, gather: Callable[[], Inputs], base: Callable[[], Base]
    ) -> Future[Run]:
        """Begin to make the tick of a form, unless that was begun, from its engine or with it; never waits.

        `gather` gives inputs of this form, of which shapes alone matter, and `base` what its engine is built for;
        neither is called again for a form that was begun, for every tick comes here. The future raises ModelError where
        the back end cannot build it.
        """
        key = backend, form
        with self._lock:
            if key not in self._runs:
                self._runs[key] = self._begun(Order(backend, form, Signature.of(gather()), tuple), base())
            engine, run = self._runs[key]
            self._runs.move_to_end(key)
            self._engines.move_to_end(engine)
            self._let_go()
            return run

    def _begun(self, order: "Order", base: Base) -> tuple[Key, Future[Run]]:
        key = order.backend, base.form
        if key not in self._engines:
            self._engines[key] = self._builder.submit(self._build, base, order)
        engine = self._engines[key]
        if engine.done() and engine.exception() is None and engine.result().ready(order.form):
            return key, at_once(lambda: self._run(engine, order))
        return key, self._builder.submit(self._finish, engine, order)

    def _let_go(self) -> None:
        while len(self._engines) > 1 and (len(self._engines) > self._kept or self._bytes() > self._limit):
            oldest, building = self._engines.popitem(last=False)
            building.cancel()
            for key in [key for key, (engine, _) in self._runs.items() if engine == oldest]:
                self._runs.pop(key)[1].cancel()
        while len(self._runs) > self._kept:
            self._runs.popitem(last=False)[1][1].cancel()

    def _bytes(self) -> int:
        built = (engine for engine in self._engines.values() if engine.done() and engine.exception() is None)
        return sum(engine.result().nbytes for engine in built)

    def _build(self, base: Base, first: "Order") -> Ticks:
        """The engine, from which the first tick can be made."""
        with blamed(first.backend):
            return self._load(Order(first.backend, base.form, Signature.of(base.gather()), base.play), first)

    def _finish(self, engine: Future[Ticks], order: "Order") -> Run:
        """A tick of the engine, which this thread made before, and what a show may run on from here on."""
        run = self._run(engine, order)
        with blamed(order.backend):
            first_call(run, order)
        gentle.begin()
        return run

    def _run(self, engine: Future[Ticks], order: "Order") -> Run:
        with blamed(order.backend):
            return engine.result()(order.form, order.signature)

    def _load(self, order: "Order", first: "Order") -> Ticks:
        backend, signature = order.backend, order.signature

        def graph() -> Plain:
            return plain(self._model.networks(), order.form, signature)

        if isinstance(backend, CudaGraph):
            with alone(), torch.no_grad():
                return Single(backend.record(graph(), signature), 0)

        def compile_() -> bytes:
            begun = monotonic()
            log.info("building an engine, once for: %s", what)
            engine = self._make(order)
            log.info("built in %.1f s", monotonic() - begun)
            return engine

        def loaded(engine: bytes) -> Ticks:
            ticks = backend.load(engine, order.form, signature, graph)
            ticks(first.form, first.signature)
            return ticks

        key = engine_key(self._model, backend, order)
        what = describe(self._model, backend, order.form)
        engine = self.store.get(key, what, compile_)
        self._model.keep(self.store)
        try:
            return loaded(engine)
        except RuntimeError:  # it is whole, and still no engine of this machine
            self.store.drop(key)
            return loaded(self.store.get(key, what, compile_))

    def _make(self, order: "Order") -> bytes:
        backend, signature = order.backend, order.signature
        assert not isinstance(backend, CudaGraph)
        # Copies, for a stream's next inputs lie where those before lay.
        measured = order.play() if backend.measures else ()
        played = [tuple(tensor.clone() for tensor in signature.flatten(inputs)) for inputs in measured]
        job = Job(backend, self._model.networks(), order.form, signature, played)
        if signature.device.type == "cpu":
            return build(job)
        with alone():  # a second process would hold a second context and its weights on the card
            return job.build()


def at_once(make: Callable[[], Run]) -> Future[Run]:
    """A future of what is made here and now."""
    made: Future[Run] = Future()
    try:
        made.set_result(make())
    except MillstreamError as error:
        made.set_exception(error)
    return made


@contextmanager
def blamed(backend: Backend) -> Iterator[None]:
    """Raise what goes wrong as a ModelError with its cure: compilers fail in many ways, and the cure is the same."""
    try:
        yield
    except MillstreamError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:REASON] or type(error).__name__
        raise ModelError(f"backend {backend.name}: cannot build this model ({reason}); use --backend eager") from error


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
    """A tick to build: for which back end, its form and its inputs, and what gives inputs over real pictures."""

    backend: Backend
    form: Form
    signature: Signature
    play: Callable[[], Iterable[Inputs]]


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
    any_stream = backend.apart and not together(form)
    streams = (
        "any streams"
        if any_stream
        else " + ".join(
            f"{lane.layout.stages} steps, {lane.layout.frames} a tick, guidance {lane.layout.guidance}" for lane in form
        )
    )
    _, height, width = form[0].layout.shape
    return f"{model.name}, {backend.name} {backend.precision}, latents {width}x{height}, {streams}"
