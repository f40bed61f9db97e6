"""OpenVINO's engines in memory: each graph once for every thread that works on a tick."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from millstream.backends import gentle
from millstream.backends.plain import Signature
from millstream.backends.request import Loaded, Models, Request
from millstream.backends.tasks import width
from millstream.core.graph import Form

if TYPE_CHECKING:
    from openvino import CompiledModel

    from millstream.backends.openvino import OpenVino

PATIENCE, SLOWEST = 10.0, 4e6  # seconds, and bytes a second, of loading beside a show: 30 MB a second is usual


class Imported:
    """An engine that is loaded. Its graphs are imported once for each thread that works on a tick."""

    def __init__(self, backend: "OpenVino", memory: dict[str, NDArray[np.uint8]], most: int) -> None:
        """`memory` holds the graphs, whose weights stay there; at `most` so many threads have graphs of their own."""
        self._backend, self._memory, self._most = backend, memory, most
        self._models: dict[int, list[Models]] = {}  # by how many threads work side by side

    @property
    def nbytes(self) -> int:
        """What it takes: itself, and its weights in OpenVINO's own order for each thread."""
        return sum(map(len, self._memory.values())) * (1 + sum(self._models))

    def ready(self, form: Form) -> bool:
        """Whether its graphs are imported for so many threads."""
        return {1, self._workers(form)} <= self._models.keys()

    def __call__(self, form: Form, signature: Signature) -> Request:
        """The tick of a form that it serves. Raises RuntimeError where this machine cannot import it."""
        workers = self._workers(form)
        for count in {1, workers} - self._models.keys():
            self._models[count] = self._imported(count)
        side_by_side = self._models[workers] if workers > 1 else []
        loaded = Loaded([*side_by_side, *self._models[1]], [*self._memory.values()])
        return self._backend.request(loaded, form, signature)

    def _workers(self, form: Form) -> int:
        """How many threads work on its tick: as many as can be busy, each with as many cores as the others."""
        threads = self._backend.threads
        return max(n for n in range(1, threads + 1) if threads % n == 0 and n <= min(self._most, width(form)))

    def _imported(self, workers: int) -> list[Models]:
        """Import the graphs, from NumPy's memory: from bytes, no other thread could run while they are copied."""
        import openvino  # noqa: PLC0415

        core, settings = openvino.Core(), self._backend.settings(workers)

        def imported(graph: NDArray[np.uint8]) -> "CompiledModel":
            return self._backend.shown(core.import_model(openvino.Tensor(graph, True), "CPU", settings))

        def all_of_them() -> list[Models]:
            with ThreadPoolExecutor(self._backend.threads) as threads:
                made = iter(list(threads.map(imported, [*self._memory.values()] * workers)))
                return [dict(zip(self._memory, made, strict=False)) for _ in range(workers)]

        size = sum(map(len, self._memory.values())) * workers
        return gentle.aside(all_of_them, patience=PATIENCE + size / SLOWEST)


def exercised(part: "CompiledModel") -> "CompiledModel":
    """The part, once run, so that a show it takes over has no slow tick: its first inference takes up to three times as
    long, whichever of its requests has it.
    """
    request = part.create_infer_request()
    for tensor in request.input_tensors:
        tensor.data[:] = 0  # what lies there may be what processors are slow with
    request.infer()
    return part


def packed(graphs: dict[str, bytes], light: bool) -> bytes:
    """An engine: a line that says what it is, and its graphs one behind the other."""
    head = {"light": light, "graphs": {name: len(graph) for name, graph in graphs.items()}}
    return b"".join((json.dumps(head).encode(), b"\n", *graphs.values()))


def unpacked(engine: bytes) -> tuple[dict[str, NDArray[np.uint8]], bool]:
    """Copies of an engine's graphs, and whether it is light. Raises RuntimeError where it is none."""
    try:
        first = engine.index(b"\n")
        head = json.loads(engine[:first])
        begin, found = first + 1, {}
        whole = np.frombuffer(engine, np.uint8)  # bytes are copied while no other thread can run
        for name, size in head["graphs"].items():
            found[name] = whole[begin : begin + size].copy()
            begin += size
        return found, head["light"]
    except (ValueError, TypeError, KeyError) as error:
        raise RuntimeError("this is no engine of rows") from error
