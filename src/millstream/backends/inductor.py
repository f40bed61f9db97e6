"""PyTorch's inductor: the tick as generated kernels.

On a CPU they are compiled ahead of time, into one library. On a card that crashed while it was built (H100, torch 2.11;
not understood), so there `torch.compile` compiles the tick, it is recorded as a CUDA graph, and what is kept of it is
the compiler's cache: a start from it traces the tick again, and generates nothing.
"""

import io
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from millstream.backends.captured import Captured
from millstream.backends.plain import Parts, Plain, Signature, Single, own_precision, plain
from millstream.core.graph import Form, Inputs, Occupied, Outputs
from millstream.errors import ModelError

COMPILERS = {"cpu": ("CXX", "g++", "clang++", "cl"), "cuda": ("CC", "gcc", "clang", "cl")}  # a variable that names one


@dataclass(frozen=True)
class Inductor:
    """The compiler, for a model's own numbers and so many threads."""

    precision: str
    threads: int
    name = "inductor"
    measures = False
    apart = False

    @classmethod
    def make(cls, precision: str, dtype: torch.dtype) -> "Inductor":
        """Take the model's own numbers. Raises ModelError for others."""
        return cls(own_precision(cls.name, precision, dtype), torch.get_num_threads())

    @staticmethod
    def missing(device: torch.device, dtype: torch.dtype) -> str | None:
        """Say what it lacks here, and the cure; None where it can run."""
        if device.type not in COMPILERS:
            return f"is not for {device.type}; use --backend eager"
        if device.type == "cuda" and not find_spec("triton"):
            return "needs Triton; pip install triton, or use --backend eager"
        named, *usual = COMPILERS[device.type]
        found = any(map(shutil.which, [os.environ.get(named, ""), *usual]))
        return None if found else f"needs a C compiler; install {usual[0]}, or use --backend eager"

    def compile(self, networks: Parts, form: Form, signature: Signature, played: Iterable[tuple[Tensor, ...]]) -> bytes:
        """Export, generate, compile."""
        graph, example = plain(networks, form, signature), signature.zeros()
        if signature.device.type == "cuda":
            return kernels(graph, example)
        from torch import _inductor  # noqa: PLC0415

        package = io.BytesIO()
        _inductor.aoti_compile_and_package(torch.export.export(graph, example), package_path=package)
        return package.getvalue()

    def load(self, engine: bytes, form: Form, signature: Signature, graph: Callable[[], Plain]) -> Single:
        """Load what `compile` made; on a card, record it as a CUDA graph."""
        return Single(self._loaded(engine, signature, graph), len(engine))

    def identity(self, device: torch.device) -> str:
        """Name its version and the processor."""
        card = torch.cuda.get_device_properties(device) if device.type == "cuda" else ""
        return f"{torch.__version__} {torch.cpu.get_capabilities()} {card}"

    def _loaded(self, engine: bytes, signature: Signature, graph: Callable[[], Plain]) -> "Library | Captured":
        if signature.device.type == "cuda":
            with torch.no_grad():
                return Captured(compiled(graph(), engine), signature)
        from torch import _inductor  # noqa: PLC0415

        return Library(_inductor.aoti_load_package(io.BytesIO(engine)), signature)


class Library:
    """An engine as a callable."""

    def __init__(self, compiled: Callable[..., list[Tensor]], signature: Signature) -> None:
        self._compiled = compiled
        self._signature = signature

    def __call__(self, inputs: Inputs, occupied: Occupied | None = None) -> Outputs:
        """Compute one tick, whole."""
        return Outputs(*self._compiled(*self._signature.flatten(inputs)))


def kernels(graph: Plain, example: tuple[Tensor, ...]) -> bytes:
    """Compile the tick for inputs like these, and give what the compiler kept of it. Raises ModelError for nothing."""
    from torch.compiler._cache import CacheArtifactManager  # noqa: PLC0415

    with CacheArtifactManager.with_fresh_cache():  # else it gives that of earlier ticks again
        compiled(graph)(*example)
        kept = torch.compiler.save_cache_artifacts()
    if kept is None:
        raise ModelError("backend inductor: PyTorch's caches are switched off; use --backend cudagraph")
    return kept[0]


def compiled(graph: Plain, kept: bytes = b"") -> Callable[..., tuple[Tensor, ...]]:
    """The tick as a function that is compiled by its first call, from what was kept where that fits."""
    if kept:
        torch.compiler.load_cache_artifacts(kept)
    # Of earlier forms nothing is called again, for they are recorded; kept, the ninth would be refused.
    torch._dynamo.eval_frame.reset_code(Plain.forward.__code__)  # type: ignore[attr-defined]
    made: Callable[..., tuple[Tensor, ...]] = torch.compile(graph, fullgraph=True, dynamic=False)
    return made
