"""The models of a worker: one engine each, shared by the sessions that use it."""

import gc
from collections.abc import Callable, Mapping, Sequence
from threading import Lock, get_ident
from time import monotonic
from weakref import WeakSet, WeakValueDictionary

import psutil
import torch

from millstream.engine import Engine, Session
from millstream.errors import BadInputError
from millstream.frame import Frame
from millstream.models import Model, load_model
from millstream.params import ModelConfig
from millstream.server.messages import Ticks


class WatchedEngine(Engine):
    """An engine that says how long its ticks take, so that one that never ends is seen."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._last = self._ended = 0.0
        self._known: WeakSet[Session] = WeakSet()
        self._begun: dict[int, float] = {}  # by thread, in their order
        self._first: set[int] = set()  # threads in the first tick of a session

    def tick(self, entering: Mapping[Session, Sequence[Frame]]) -> dict[Session, list[Frame]]:
        """See Engine."""
        me = get_ident()
        if not all(session in self._known for session in entering):
            self._first.add(me)
        begun = self._begun[me] = monotonic()
        try:
            done = super().tick(entering)
            self._known.update(entering)
            return done
        finally:
            now = monotonic()
            self._last, self._ended = now - max(begun, self._ended), now
            del self._begun[me]
            self._first.discard(me)

    @property
    def ticks(self) -> Ticks:
        """The tick under way that came first, since its turn came, for the others wait for theirs; and the last."""
        waiting = list(self._begun.items())
        if not waiting:
            return Ticks(last=self._last)
        thread, begun = waiting[0]
        return Ticks(monotonic() - max(begun, self._ended), self._last, thread in self._first)

    @property
    def warming(self) -> bool:
        """Whether a session has its first tick, in which a model may load and a library tune itself."""
        return bool(self._first)


Make = Callable[[ModelConfig], WatchedEngine]


def make_engine(model: ModelConfig) -> WatchedEngine:
    """Load a model. Raises ModelError where that cannot be."""
    return WatchedEngine(load_model(model))


class Engines:
    """An engine for each model that is in use, and for the one asked for last; never more than `limit`."""

    def __init__(self, limit: int, make: Make | None = None) -> None:
        self._limit, self._make = limit, make or make_engine
        self._engines: WeakValueDictionary[ModelConfig, WatchedEngine] = WeakValueDictionary()
        self._latest: WatchedEngine | None = None  # so that a session that is opened again finds its model loaded
        self._lock = Lock()

    def get(self, model: ModelConfig) -> WatchedEngine:
        """Give the engine of a model, loaded where it is not; waits while another is.

        Raises ModelError where it cannot be loaded, BadInputError where no more models are allowed.
        """
        with self._lock:
            self._latest = self._engines.get(model) or self._load(model)
            return self._latest

    def all(self) -> list[WatchedEngine]:
        """Those that are loaded."""
        return list(self._engines.values())

    def _load(self, model: ModelConfig) -> WatchedEngine:
        self._latest = None
        free()
        if len(self._engines) >= self._limit:
            raise BadInputError(f"model: {self._limit} are in use, and no more are allowed; choose one of them")
        self._engines[model] = engine = self._make(model)
        return engine


def free() -> None:
    """Give back the memory of what is not used any more."""
    gc.collect()
    torch.cuda.empty_cache()


def memory_held(device: torch.device) -> int:
    """Bytes that this process holds on a device."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    resident: int = psutil.Process().memory_info().rss
    return resident
