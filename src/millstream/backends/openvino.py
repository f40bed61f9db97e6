"""OpenVINO on a CPU: the tick as a static graph, in bfloat16 where the processor multiplies it, or in integers.

The graph is cut before the decoder, a quarter of the work of the embedded model's tick at one step and less at more: in
a tick in which nothing leaves it need not run, and when a session takes over from another, its first ticks are of that
kind and run beside those of the one that is shown.
"""

import io
import platform
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.jit import TracerWarning  # type: ignore[attr-defined]
from torch.utils import _pytree as pytree

from millstream.backends import gentle, int8
from millstream.backends.plain import Plain, Signature
from millstream.core.graph import Inputs, Outputs
from millstream.errors import ModelError

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest, Model, Node, Output

PROCESSORS = ("x86_64", "AMD64", "aarch64", "arm64")
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
INT8 = "int8"
PATIENCE, SLOWEST = 10.0, 4e6  # seconds, and bytes a second, of loading beside a show: 30 MB a second is usual
HEAD = 8  # bytes of an engine that say how long its first part is


@dataclass(frozen=True)
class OpenVino:
    """The compiler, for numbers of a `precision` and so many threads."""

    precision: str
    threads: int
    name = "openvino"

    @classmethod
    def make(cls, precision: str, dtype: torch.dtype) -> "OpenVino":
        """Choose the numbers: of `auto`, bfloat16 where the processor has it. Raises ModelError for what it has not."""
        known = precisions()
        if precision not in ("auto", INT8, *known):
            raise ModelError(f"precision {precision}: openvino has {', '.join(known)} and {INT8} on this processor")
        if precision == INT8 and (reason := int8.missing()):
            raise ModelError(f"precision {INT8}: {reason}")
        return cls(known[-1] if precision == "auto" else precision, torch.get_num_threads())

    @property
    def measures(self) -> bool:
        """Whether ranges are measured, for integers."""
        return self.precision == INT8

    @staticmethod
    def missing(device: torch.device, dtype: torch.dtype) -> str | None:
        """Say what it lacks here, and the cure; None where it can run."""
        if device.type != "cpu":
            return "computes on a processor; add --device cpu, or leave --backend out"
        if dtype != torch.float32:
            return "takes weights in float32; leave --dtype out, and choose its numbers with --precision"
        if platform.machine() not in PROCESSORS:
            return f"is not made for {platform.machine()}; use --backend eager"
        return None if find_spec("openvino") else f"is not installed; {sys.executable} -m pip install openvino"

    def compile(self, plain: Plain, example: tuple[Tensor, ...], played: Iterable[tuple[Tensor, ...]]) -> bytes:
        """Trace, convert, fix the shapes, quantize where integers are asked for, compile."""
        from openvino.frontend import FrontEndManager  # noqa: PLC0415
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415

        warnings.filterwarnings("ignore", category=TracerWarning)  # every shape is meant to be a constant
        traced = torch.jit.trace(plain, example, check_trace=False)  # type: ignore[no-untyped-call]
        # `openvino.convert_model` does no more, and then infers dynamic shapes for five seconds.
        frontend, decoder = FrontEndManager().load_by_framework("pytorch"), TorchScriptPythonDecoder(traced)
        model = frontend.convert(frontend.load(decoder))
        model.reshape({i: list(tensor.shape) for i, tensor in enumerate(example)})
        spread_scales(model)
        if self.precision == INT8:
            model = int8.quantized(model, played)
        tick, decoder = (self._compiled(part) for part in parts(model))
        return len(tick).to_bytes(HEAD) + tick + decoder

    def load(self, engine: bytes, signature: Signature, plain: Callable[[], Plain]) -> "Request":
        """Import what `compile` made."""
        return Request(self._loaded(engine), signature)

    def identity(self, device: torch.device) -> str:
        """Name its version and the processor."""
        import openvino  # noqa: PLC0415

        core = openvino.Core()
        facts = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
        quantizer = version("nncf") if self.precision == INT8 else ""
        return f"{version('openvino')} {quantizer} {facts}"

    def _compiled(self, model: "Model") -> bytes:
        import openvino  # noqa: PLC0415

        engine = io.BytesIO()
        openvino.Core().compile_model(model, "CPU", self._settings()).export_model(engine)
        return engine.getvalue()

    def _loaded(self, engine: bytes) -> "Loaded":
        """Import both parts, from NumPy's memory: from bytes, no other thread could run while they are copied."""
        import openvino  # noqa: PLC0415

        core, settings, whole = openvino.Core(), self._settings(), np.frombuffer(engine, np.uint8)
        end = HEAD + int.from_bytes(engine[:HEAD])
        memory = whole[HEAD:end].copy(), whole[end:].copy()
        tick, decoder = gentle.aside(
            lambda: [core.import_model(openvino.Tensor(part, True), "CPU", settings) for part in memory],
            patience=PATIENCE + len(engine) / SLOWEST,
        )
        return Loaded(tick, decoder, memory)

    def _settings(self) -> dict[str, Any]:
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": PRECISIONS[precisions()[-1] if self.precision == INT8 else self.precision],
            "INFERENCE_NUM_THREADS": self.threads,
            "ENABLE_CPU_PINNING": False,  # files are read and written beside it, on the same cores
        }


@cache
def precisions() -> list[str]:
    """The numbers that this processor computes in hardware, the fastest last."""
    import openvino  # noqa: PLC0415

    here = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [name for name, capability in (("float32", "FP32"), ("bfloat16", "BF16")) if capability in here]


def parts(model: "Model") -> "tuple[Model, Model]":
    """The tick without its pictures, and the pictures from its latents."""
    from openvino import Model  # noqa: PLC0415
    from openvino import opset13 as ops  # noqa: PLC0415

    tick = Model(model.get_results()[1:], model.get_parameters(), "tick")
    pictures, latents = model.clone().get_results()[:2]
    f = latents.input_value(0)
    entrance = ops.parameter(f.get_shape(), f.get_element_type())
    for reader in f.get_target_inputs():
        reader.replace_source_output(entrance.output(0))
    return tick, Model([pictures], [entrance], "decoder")


def spread_scales(model: "Model") -> None:
    """Turn each h * (1 + s) into h + h * s.

    Networks whose time embedding scales have the former, and fusing its sum over one number a channel with what is
    done over the picture ends the process, in float32, in 2026.4.
    """
    from openvino import opset13 as ops  # noqa: PLC0415
    from openvino.passes import ConstantFolding, Manager  # noqa: PLC0415

    folding = Manager()
    folding.register_pass(ConstantFolding())  # the 1 is a product of converted constants
    folding.run_passes(model)
    for product in model.get_ordered_ops():
        if product.get_type_name() != "Multiply":
            continue
        for h, factor in (product.input_values(), product.input_values()[::-1]):
            s = one_and(factor.get_node())
            if s is not None:
                product.output(0).replace(ops.add(h, ops.multiply(h, s)).output(0))
                break


def one_and(total: "Node") -> "Output | None":
    """What is added to the number 1 in this node; None where it is no such sum."""
    if total.get_type_name() != "Add":
        return None
    for one, s in (total.input_values(), total.input_values()[::-1]):
        constant = one.get_node()
        if constant.get_type_name() == "Constant" and constant.data.size == 1 and constant.data.item() == 1:
            return s
    return None


class Loaded(NamedTuple):
    """An engine's parts. Their weights stay in `memory`, which has to outlive them."""

    tick: "CompiledModel"
    decoder: "CompiledModel"
    memory: tuple[NDArray[np.uint8], NDArray[np.uint8]]


class Request:
    """An engine that reads a stream's tensors where they lie, and gives copies of what it made."""

    def __init__(self, loaded: Loaded, signature: Signature) -> None:
        self._loaded = loaded
        self._tick, self._decoder = (part.create_infer_request() for part in (loaded.tick, loaded.decoder))
        self._decoder.set_input_tensor(self._tick.output_tensors[0])
        self._signature = signature
        self._bound: list[Tensor | None] = [None] * len(signature.shapes)  # kept alive: the engine has their addresses
        self._lock = Lock()

    def __call__(self, inputs: Inputs, decodes: bool = True) -> Outputs:
        """Compute one tick."""
        with self._lock:
            self._bind(inputs)
            self._tick.infer(share_outputs=True)
            if decodes:
                self._decoder.infer(share_outputs=True)
            pictures = _copies(self._decoder)[0] if decodes else None
            return Outputs(pictures, *_copies(self._tick))

    def _bind(self, inputs: Inputs) -> None:
        """Pass the addresses of the tensors that are others than at the last tick."""
        from openvino import Tensor as Shared  # noqa: PLC0415

        tensors = pytree.tree_leaves(inputs)
        if all(new is old for new, old in zip(tensors, self._bound, strict=True)):
            return
        for i, plain in enumerate(self._signature.flatten(inputs)):
            if tensors[i] is not self._bound[i]:
                self._tick.set_input_tensor(i, Shared(plain.numpy(), shared_memory=True))
        self._bound = tensors


def _copies(request: "InferRequest") -> list[Tensor]:
    return [torch.from_numpy(tensor.data).clone() for tensor in request.output_tensors]
