"""Prepared ticks: built in a thread beside the stream, kept in memory and on disk, bounded."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from importlib.metadata import version
from threading import Lock
from time import monotonic

import torch

from millstream.backends.choice import Backend, Run
from millstream.backends.plain import Parts, Plain, Signature
from millstream.backends.store import Store, source_hash
from millstream.core.graph import Form, Inputs, TickGraph
from millstream.errors import MillstreamError, ModelError

log = logging.getLogger(__name__)

KEPT = 8  # each holds the model's weights a second time, in the compiler's own order
REASON = 200  # characters of a compiler's complaint that the message repeats


class Plans:
    """Compiled ticks of one model. Those used longest ago are let go of beyond `kept`."""

    def __init__(self, networks: Parts, store: Store | None = None, kept: int = KEPT) -> None:
        self._networks = networks
        self.store = store or Store()
        self._kept = kept
        self._runs: OrderedDict[tuple[Backend, Form], Future[Run]] = OrderedDict()
        self._lock = Lock()
        self._builder = ThreadPoolExecutor(1, "millstream-build")

    def __len__(self) -> int:
        return len(self._runs)

    def prepare(self, backend: Backend, form: Form, gather: Callable[[], Inputs]) -> Future[Run]:
        """Begin to build the tick of a form, unless that was begun; never waits.

        `gather` gives inputs of this form, of which shapes alone matter; it is not called again for one that was
        begun, for every tick comes here. The future raises ModelError where the back end cannot build it.
        """
        key = backend, form
        with self._lock:
            if key not in self._runs:
                inputs = gather()
                signature, device = Signature.of(inputs), inputs.lanes[0].x.device
                self._runs[key] = self._builder.submit(self._build, backend, form, signature, device)
            self._runs.move_to_end(key)
            while len(self._runs) > self._kept:
                self._runs.popitem(last=False)[1].cancel()
            return self._runs[key]

    def _build(self, backend: Backend, form: Form, signature: Signature, device: torch.device) -> Run:
        try:
            return self._load(backend, form, signature, device)
        except MillstreamError:
            raise
        except Exception as error:  # compilers fail in many ways, and the cure is the same
            reason = " ".join(str(error).split())[:REASON] or type(error).__name__
            raise ModelError(
                f"backend {backend.name}: cannot build this model ({reason}); use --backend eager"
            ) from error

    def _load(self, backend: Backend, form: Form, signature: Signature, device: torch.device) -> Run:
        def compile_() -> bytes:
            begun = monotonic()
            log.info("building an engine, once for: %s", what)
            plain = Plain(TickGraph(self._networks, form), self._networks, signature)
            with torch.no_grad():
                engine = backend.compile(plain.eval(), signature.zeros(device))
            log.info("built in %.1f s", monotonic() - begun)
            return engine

        key = engine_key(self._networks, backend, form, signature, device)
        what = describe(self._networks, backend, form)
        engine = self.store.get(key, what, compile_)
        self._networks.keep(self.store)
        try:
            return backend.load(engine, signature)
        except RuntimeError:  # it is whole, and still no engine of this machine
            self.store.drop(key)
            return backend.load(self.store.get(key, what, compile_), signature)


def engine_key(networks: Parts, backend: Backend, form: Form, signature: Signature, device: torch.device) -> str:
    """Hash of everything that an engine depends on."""
    code = [version("torch"), version("diffusers"), source_hash()]
    facts = (networks.fingerprint, backend, backend.identity(device), form, signature, str(device), code)
    return blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def describe(networks: Parts, backend: Backend, form: Form) -> str:
    """What an engine is, in a few words."""
    streams = " + ".join(
        f"{lane.layout.stages} steps, {lane.layout.frames} a tick, guidance {lane.layout.guidance}" for lane in form
    )
    _, height, width = form[0].layout.shape
    return f"{networks.name}, {backend.name} {backend.precision}, latents {width}x{height}, {streams}"
