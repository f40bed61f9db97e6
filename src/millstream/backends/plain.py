"""The tick's graph as a module from plain tensors to plain tensors, the form that every compiler takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from millstream.backends.store import Store
from millstream.core.graph import Form, Inputs, Networks, Occupied, Outputs, TickGraph
from millstream.errors import ModelError


class Parts(Networks, Protocol):
    """Networks that can be compiled. They can be pickled: that is done in another process (`workshop`)."""

    @property
    def parts(self) -> Sequence[nn.Module]:
        """The modules that a tick calls."""
        ...


class Source(Protocol):
    """What ticks are built for: its name, its networks, and a hash that stands for all their numbers."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def networks(self) -> Callable[[], Parts]:
        """Gives the networks; may load them."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the networks' configuration and weights."""
        ...

    def keep(self, store: Store) -> None:
        """Keep beside an engine what a start with it needs."""
        ...


class Run(Protocol):
    """A tick that is ready to run."""

    def __call__(self, inputs: Inputs, occupied: Occupied | None = None) -> Outputs:
        """Compute it. Where it is told which rows are occupied, what only the others need may be left out."""
        ...


class Ticks(Protocol):
    """An engine that is loaded: it gives the ticks of all forms that it serves."""

    @property
    def nbytes(self) -> int:
        """What it takes, in bytes."""
        ...

    def ready(self, form: Form) -> bool:
        """Whether it gives the tick of this form at once."""
        ...

    def __call__(self, form: Form, signature: "Signature") -> Run:
        """Give the tick of a form. Raises RuntimeError where it cannot be used here."""
        ...


@dataclass(frozen=True)
class Single:
    """An engine of one form."""

    run: Run
    nbytes: int

    def ready(self, form: Form) -> bool:
        """At once."""
        return True

    def __call__(self, form: Form, signature: "Signature") -> Run:
        """Give its tick."""
        return self.run


@dataclass(frozen=True)
class Signature:
    """How the inputs of a form lie as plain tensors: their structure, shapes and types, the order of their
    dimensions in memory, and their device. Compilers take contiguous tensors; latents lie channels last.
    """

    structure: pytree.TreeSpec
    orders: tuple[tuple[int, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    device: torch.device

    @classmethod
    def of(cls, inputs: Inputs) -> "Signature":
        """Read off the signature."""
        tensors, structure = inputs.tensors, pytree.tree_structure(inputs)
        orders = tuple(tuple(sorted(range(t.ndim), key=lambda i: (-t.stride()[i], i))) for t in tensors)
        shapes = tuple(tuple(t.permute(order).shape) for t, order in zip(tensors, orders, strict=True))
        return cls(structure, orders, shapes, tuple(t.dtype for t in tensors), tensors[0].device)

    def flatten(self, inputs: Inputs) -> list[Tensor]:
        """Contiguous views of the inputs, which share their memory."""
        return [tensor.permute(order) for tensor, order in zip(inputs.tensors, self.orders, strict=True)]

    def unflatten(self, tensors: Sequence[Tensor]) -> Inputs:
        """The inputs again, from what `flatten` gave."""
        back = [tensor.permute(_inverse(order)) for tensor, order in zip(tensors, self.orders, strict=True)]
        inputs: Inputs = pytree.tree_unflatten(back, self.structure)
        return inputs

    def zeros(self) -> tuple[Tensor, ...]:
        """Plain tensors of this signature."""
        return tuple(
            torch.zeros(shape, dtype=dtype, device=self.device)
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        )


class Plain(nn.Module):
    """What is computed with networks from plain tensors to plain tensors: a tick's graph, or a part of it."""

    def __init__(self, networks: Parts, compute: Callable[..., tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(networks.parts)  # so that a compiler finds the weights
        # A closure, for exporting copies a module's values, and a structure must not be copied.
        self._compute = compute

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Compute it."""
        return self._compute(*tensors)


def plain(networks: Parts, form: Form, signature: Signature) -> Plain:
    """A tick of a form in which frames leave, for inference. What it gives are the fields of `Outputs`."""
    graph = TickGraph(networks, form)

    def compute(*tensors: Tensor) -> tuple[Tensor, ...]:
        outputs = graph(signature.unflatten(tensors))
        assert outputs.pictures is not None
        return outputs.pictures, outputs.latents, outputs.x_next, outputs.reference

    return Plain(networks, compute).eval()


def weight_bytes(networks: Parts) -> int:
    """Bytes of the networks' weights."""
    return sum(weight.nbytes for part in networks.parts for weight in part.parameters())


def own_precision(name: str, precision: str, dtype: torch.dtype) -> str:
    """The name of `dtype`. Raises ModelError where another precision is asked for."""
    own = str(dtype).removeprefix("torch.")
    if precision not in ("auto", own):
        cure = "use --backend openvino" if precision == "int8" else f"use --dtype {precision}"
        raise ModelError(f"precision {precision}: {name} computes in the model's own numbers; {cure}")
    return own


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(i) for i in range(len(order))]
