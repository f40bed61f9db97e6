"""The eager tick as a CUDA graph: the same kernels and the same numbers, without the host between them."""

from dataclasses import dataclass

import torch

from millstream.backends.captured import Captured
from millstream.backends.plain import Plain, Run, Signature, own_precision


@dataclass(frozen=True)
class CudaGraph:
    """Records in about a second, and leaves nothing to keep on disk: a graph is of its process."""

    precision: str
    name = "cudagraph"
    apart = False

    @classmethod
    def make(cls, precision: str, dtype: torch.dtype) -> "CudaGraph":
        """Take the model's own numbers. Raises ModelError for others."""
        return cls(own_precision(cls.name, precision, dtype))

    @staticmethod
    def missing(device: torch.device, dtype: torch.dtype) -> str | None:
        """Say what it lacks here, and the cure; None where it can run."""
        return None if device.type == "cuda" else "is for CUDA; leave --backend out, or use --backend eager"

    def record(self, plain: Plain, signature: Signature) -> Run:
        """Record the tick. Raises ModelError where the card cannot."""
        return Captured(plain, signature)
