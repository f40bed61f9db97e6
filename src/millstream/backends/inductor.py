"""PyTorch's inductor, compiled ahead of time: the tick as one library of generated kernels."""

import io
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from millstream.backends.captured import Captured
from millstream.backends.plain import Plain, Signature, own_precision
from millstream.core.graph import Inputs, Outputs

COMPILERS = ("g++", "clang++", "cl")


@dataclass(frozen=True)
class Inductor:
    """The compiler, for a model's own numbers and so many threads."""

    precision: str
    threads: int
    name = "inductor"
    measures = False

    @classmethod
    def make(cls, precision: str, dtype: torch.dtype) -> "Inductor":
        """Take the model's own numbers. Raises ModelError for others."""
        return cls(own_precision(cls.name, precision, dtype), torch.get_num_threads())

    @staticmethod
    def missing(device: torch.device, dtype: torch.dtype) -> str | None:
        """Say what it lacks here, and the cure; None where it can run."""
        if device.type not in ("cpu", "cuda"):
            return f"is not for {device.type}; use --backend eager"
        if device.type == "cuda" and not find_spec("triton"):
            return "needs Triton; pip install triton, or use --backend eager"
        if device.type == "cuda" and not toolkit():
            return "needs CUDA's headers; install the CUDA toolkit and set CUDA_HOME, or use --backend eager"
        found = any(map(shutil.which, [os.environ.get("CXX", ""), *COMPILERS]))
        return None if found else "needs a C++ compiler; install g++, or use --backend eager"

    def compile(self, plain: Plain, example: tuple[Tensor, ...], played: Iterable[tuple[Tensor, ...]]) -> bytes:
        """Export, generate, compile."""
        from torch import _inductor  # noqa: PLC0415

        package = io.BytesIO()
        _inductor.aoti_compile_and_package(torch.export.export(plain, example), package_path=package)
        return package.getvalue()

    def load(self, engine: bytes, signature: Signature) -> "Library | Captured":
        """Load what `compile` made; on a card, record it as a CUDA graph."""
        from torch import _inductor  # noqa: PLC0415

        if signature.device.type == "cpu":
            return Library(_inductor.aoti_load_package(io.BytesIO(engine)), signature)
        # Without the events that keep threads apart, which cannot be recorded: a tick has one caller.
        library = _inductor.aoti_load_package(io.BytesIO(engine), True, device_index=signature.device.index)
        return Captured(library, signature)

    def identity(self, device: torch.device) -> str:
        """Name its version and the processor."""
        card = torch.cuda.get_device_properties(device) if device.type == "cuda" else ""
        return f"{torch.__version__} {torch.cpu.get_capabilities()} {card}"


class Library:
    """An engine as a callable."""

    def __init__(self, compiled: Callable[..., list[Tensor]], signature: Signature) -> None:
        self._compiled = compiled
        self._signature = signature

    def __call__(self, inputs: Inputs) -> Outputs:
        """Compute one tick."""
        return Outputs(*self._compiled(*self._signature.flatten(inputs)))


def toolkit() -> bool:
    """Whether there is a CUDA toolkit where PyTorch looks for one: the library that launches the kernels is C++."""
    named = any(map(os.environ.get, ("CUDA_HOME", "CUDA_PATH")))
    return named or shutil.which("nvcc") is not None or Path("/usr/local/cuda").exists()
