"""OpenVINO's engines as ticks: their tasks side by side, each as soon as what it reads is there.

Two rows of the embedded denoiser take 8 to 13 ms on two cores together, and 6.5 to 9.8 one on each (Intel Xeon with
AMX, in bfloat16, as the machine was at that time): together, its many small layers wait for one another.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from millstream.backends.plain import Signature
from millstream.backends.tasks import (
    LATENTS,
    LEAVE,
    PICTURES,
    REFERENCE,
    ROW,
    ROWS,
    F,
    Place,
    after,
    channels_first,
    channels_last,
    kept,
    tasks,
    urgency,
)
from millstream.core.graph import Form, Inputs, Occupied, Outputs

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest

Models: TypeAlias = "Mapping[str, CompiledModel]"  # by the names of their graphs


class Loaded(NamedTuple):
    """An engine's graphs, once for each thread that works on a tick; `memory`, where their weights are, outlives them.

    The last are for tasks that are alone, and have all cores. Where one thread works there are no others.
    """

    workers: Sequence[Models]
    memory: Sequence[NDArray[np.uint8]]


class Reader(NamedTuple):
    """A request's input, which reads these rows of what it is shown, where they lie."""

    request: "InferRequest"
    place: int
    rows: slice

    def read(self, array: NDArray[Any]) -> None:
        """Read this from here on."""
        self.request.set_input_tensor(self.place, lying(array[self.rows]))


class Turn(NamedTuple):
    """A task to do, and whether nothing else can be done meanwhile."""

    task: int
    alone: bool


class Todo:
    """The tasks of one tick, handed out to the threads that ask, the most urgent that is ready first."""

    def __init__(self, left: Sequence[int], waits: Sequence[set[int]]) -> None:
        """`left` are those to be done, the most urgent first; what is not among them, nobody waits for."""
        self._left = list(left)
        self._waits = {i: waits[i].intersection(left) for i in left}
        self._doing = 0
        self._change = Condition()

    def take(self) -> Turn | None:
        """A task, once one is ready; None where no more are left to take."""
        with self._change:
            while self._left:
                if ready := [i for i in self._left if not self._waits[i]]:
                    self._left.remove(ready[0])
                    self._doing += 1
                    return Turn(ready[0], alone=len(ready) == self._doing == 1)
                self._change.wait()
            return None

    def done(self, task: int) -> None:
        """It is done, and what waited for it alone is ready."""
        with self._change:
            self._doing -= 1
            for waits in self._waits.values():
                waits.discard(task)
            self._change.notify_all()

    def give_up(self) -> None:
        """Hand out no more."""
        with self._change:
            self._left.clear()
            self._change.notify_all()


class Request:
    """An engine as the tick of a form: it reads a stream's tensors where they lie, and gives copies of what it made."""

    def __init__(self, loaded: Loaded, form: Form, signature: Signature) -> None:
        plain = signature.zeros()
        inputs = signature.unflatten(plain)
        self._loaded, self._signature = loaded, signature
        self.tasks = tasks(form, signature, inputs)
        self._waits, urgent = after(self.tasks), urgency(self.tasks)
        self._order = sorted(range(len(self.tasks)), key=lambda i: -urgent[i])
        self.requests = [
            [models.get(task.graph, models.get(ROW)).create_infer_request() for task in self.tasks]
            for models in loaded.workers
        ]
        self.shared = self._share(form)
        self._kept = kept(form)
        self._readers = self._reading([each.untyped_storage().data_ptr() for each in plain])
        self._bound: Sequence[Tensor | None] = [None] * len(self._readers)  # kept alive: requests read there
        self._others = ThreadPoolExecutor(len(loaded.workers), "millstream-rows")
        self._lock = Lock()

    def __call__(self, inputs: Inputs, occupied: Occupied | None = None) -> Outputs:
        """Compute one tick; what is not occupied stays what it was."""
        with self._lock:
            self._bind(inputs)
            needed = [i for i in self._order if occupied is None or self.tasks[i].needed(occupied)]
            self._compute(needed)
            for lane, rows, own in self._kept:
                self.shared[REFERENCE][own] = channels_last(inputs.lanes[lane].reference[rows]).numpy()
            # Copied by NumPy: PyTorch's threads would help, and then wait in a loop, on a core in need.
            left = any(self.tasks[i].graph == LEAVE for i in needed)
            pictures = torch.from_numpy(self.shared[PICTURES].copy()) if left else None
            return Outputs(pictures, *(channels_first(torch.from_numpy(self.shared[name].copy())) for name in LATENTS))

    def _compute(self, needed: Sequence[int]) -> None:
        """Do the tasks, with no more threads than there are rows with a frame: others would only wait."""
        rows = sum(self.tasks[i].graph in ROWS for i in needed)
        todo = Todo(needed, self._waits)
        others = [self._others.submit(self._work, i, todo) for i in range(1, min(len(self.requests) - 1, rows))]
        try:
            self._work(0, todo)
        finally:
            wait(others)  # also where this one failed: the next tick has the same requests
        for other in others:
            other.result()

    def _work(self, worker: int, todo: Todo) -> None:
        try:
            while turn := todo.take():
                self._infer(-1 if turn.alone else worker, turn.task)
                todo.done(turn.task)
        except BaseException:
            todo.give_up()
            raise

    def _infer(self, worker: int, task: int) -> None:
        self.requests[worker][task].infer(share_outputs=True)

    def _share(self, form: Form) -> dict[str, NDArray[Any]]:
        """What tasks share, by name; they read and write it where it lies."""
        rows, leaving = sum(lane.layout.rows for lane in form), sum(lane.leaving for lane in form)
        like = {
            name: request.output_tensors[i].data
            for task, request in zip(self.tasks, self.requests[0], strict=True)
            for i, (name, _) in _places(task.writes)
        }
        like.setdefault(REFERENCE, like[F])
        arrays = {
            name: np.zeros((leaving if name == PICTURES else rows, *one.shape[1:]), one.dtype)
            for name, one in like.items()
        }
        for task, request in ((task, each[i]) for each in self.requests for i, task in enumerate(self.tasks)):
            for i, (name, own) in _places(task.reads):
                request.set_input_tensor(i, lying(arrays[name][own]))
            for i, (name, own) in _places(task.writes):
                request.set_output_tensor(i, lying(arrays[name][own]))
        return arrays

    def _reading(self, storages: Sequence[int]) -> list[list[Reader]]:
        """For each tensor of a tick's inputs, who reads what of it."""
        readers: list[list[Reader]] = [[] for _ in storages]
        for task, request in ((task, each[i]) for each in self.requests for i, task in enumerate(self.tasks)):
            for place, tensor in enumerate(task.reads):
                if isinstance(tensor, Tensor):
                    first = tensor.storage_offset() // tensor.stride(0)
                    of = storages.index(tensor.untyped_storage().data_ptr())
                    readers[of].append(Reader(request, place, slice(first, first + len(tensor))))
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


def lying(array: NDArray[Any]) -> Any:
    """The array as OpenVINO's tensor, where it lies."""
    from openvino import Tensor as Shared  # noqa: PLC0415

    return Shared(array, shared_memory=True)


def _places(reads_or_writes: Sequence[Tensor | Place | None]) -> list[tuple[int, Place]]:
    return [(i, each) for i, each in enumerate(reads_or_writes) if isinstance(each, Place)]
