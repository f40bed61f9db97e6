"""OpenVINO on a CPU: the tick as static graphs, in bfloat16 where the processor multiplies it, or in integers."""

import io
import platform
import sys
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from millstream.backends import gentle, int8
from millstream.backends.apart import ARITHMETIC, DENOISE, Apart, shares
from millstream.backends.plain import Parts, Plain, Signature, weight_bytes
from millstream.backends.shares import Loaded, Request, SharedRequest
from millstream.core.graph import Form
from millstream.errors import ModelError

if TYPE_CHECKING:
    from openvino import CompiledModel, Model, Node, Output

PROCESSORS = ("x86_64", "AMD64", "aarch64", "arm64")
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
INT8 = "int8"
PATIENCE, SLOWEST = 10.0, 4e6  # seconds, and bytes a second, of loading beside a show: 30 MB a second is usual
LIGHT = 256e6  # bytes of weights of networks that every share has for itself; larger layers keep all threads busy
HEAD = 8  # bytes of an engine that say how many shares it has, and before each of its parts, how long that is


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

    def compile(self, networks: Parts, form: Form, signature: Signature, played: Iterable[tuple[Tensor, ...]]) -> bytes:
        """Trace each part, convert it, quantize it where integers are asked for, compile."""
        count = shares(form, self.threads) if weight_bytes(networks) <= LIGHT else 1
        apart, engines = Apart(form, signature, count), list[bytes]()
        example = apart.given(networks, signature.zeros())
        measured = [apart.given(networks, inputs) for inputs in played]
        for name in apart.names:
            rows = [example[name]] if name != DENOISE else split(example[name], apart.shares)
            model = converted(apart.part(name, networks), rows[0])
            if self.precision == INT8 and name not in ARITHMETIC:
                samples = (split(each[name], len(rows)) for each in measured)
                model = int8.quantized(model, chain.from_iterable(samples))
            engines.append(self._compiled(model, self._settings(name, apart.shares)))
        return apart.shares.to_bytes(HEAD) + b"".join(len(engine).to_bytes(HEAD) + engine for engine in engines)

    def load(self, engine: bytes, form: Form, signature: Signature, graph: Callable[[], Plain]) -> Request:
        """Import what `compile` made."""
        apart = Apart(form, signature, int.from_bytes(engine[:HEAD]))
        return (Request if apart.shares == 1 else SharedRequest)(self._loaded(engine, apart), apart)

    def identity(self, device: torch.device) -> str:
        """Name its version and the processor."""
        import openvino  # noqa: PLC0415

        core = openvino.Core()
        facts = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
        quantizer = version("nncf") if self.precision == INT8 else ""
        return f"{version('openvino')} {quantizer} {facts}"

    def _compiled(self, model: "Model", settings: dict[str, Any]) -> bytes:
        import openvino  # noqa: PLC0415

        engine = io.BytesIO()
        openvino.Core().compile_model(model, "CPU", settings).export_model(engine)
        return engine.getvalue()

    def _loaded(self, engine: bytes, apart: Apart) -> Loaded:
        """Import the parts, from NumPy's memory: from bytes, no other thread could run while they are copied.

        Raises RuntimeError where this is no engine of the tick.
        """
        import openvino  # noqa: PLC0415

        core, memory = openvino.Core(), parts(engine[HEAD:])
        if len(memory) != len(apart.names):
            raise RuntimeError("these are other parts than this tick's")

        def imported(name: str, part: NDArray[np.uint8]) -> "CompiledModel":
            return core.import_model(openvino.Tensor(part, True), "CPU", self._settings(name, apart.shares))

        def together() -> "dict[str, list[CompiledModel]]":
            """Once for each share: streams of one model would run in threads of its own, which give way for ever."""
            with ThreadPoolExecutor(self.threads) as threads:
                begun = {
                    name: [threads.submit(imported, name, part) for _ in range(apart.shares if name == DENOISE else 1)]
                    for name, part in zip(apart.names, memory, strict=True)
                }
            return {name: [future.result() for future in futures] for name, futures in begun.items()}

        return Loaded(gentle.aside(together, patience=PATIENCE + len(engine) / SLOWEST), memory)

    def _settings(self, name: str, shares: int) -> dict[str, Any]:
        threads = {DENOISE: self.threads // shares} | dict.fromkeys(ARITHMETIC, 1)  # done before a second one is awake
        products = PRECISIONS[precisions()[-1] if self.precision == INT8 else self.precision]
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": PRECISIONS["float32"] if name in ARITHMETIC else products,
            "INFERENCE_NUM_THREADS": threads.get(name, self.threads),
            "ENABLE_CPU_PINNING": False,  # files are read and written beside it, on the same cores
        }


@cache
def precisions() -> list[str]:
    """The numbers that this processor computes in hardware, the fastest last."""
    import openvino  # noqa: PLC0415

    here = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [name for name, capability in (("float32", "FP32"), ("bfloat16", "BF16")) if capability in here]


def parts(engine: bytes) -> list[NDArray[np.uint8]]:
    """Copies of an engine's networks."""
    whole, found = np.frombuffer(engine, np.uint8), []
    while len(whole):
        end = HEAD + int.from_bytes(whole[:HEAD].tobytes())
        found.append(whole[HEAD:end].copy())
        whole = whole[end:]
    return found


def split(tensors: tuple[Tensor, ...], count: int) -> list[tuple[Tensor, ...]]:
    """So many shares of their rows."""
    return list(zip(*(tensor.chunk(count) for tensor in tensors), strict=True))


def converted(part: Plain, example: tuple[Tensor, ...]) -> "Model":
    """The part as OpenVINO's graph, for tensors like the example alone."""
    from openvino.frontend import FrontEndManager  # noqa: PLC0415
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415

    warnings.filterwarnings("ignore", category=TracerWarning)  # every shape is meant to be a constant
    traced = torch.jit.trace(part, example, check_trace=False)  # type: ignore[no-untyped-call]
    # `openvino.convert_model` does no more, and then infers dynamic shapes for five seconds.
    frontend, decoder = FrontEndManager().load_by_framework("pytorch"), TorchScriptPythonDecoder(traced)
    model = frontend.convert(frontend.load(decoder))
    model.reshape({i: list(tensor.shape) for i, tensor in enumerate(example)})
    spread_scales(model)
    return model


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
