"""OpenVINO on a CPU: the tick as static graphs, in bfloat16 where the processor multiplies it, or in integers."""

import io
import platform
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from millstream.backends import gentle, int8
from millstream.backends.calibration import in_flight
from millstream.backends.imported import Imported, exercised, packed, unpacked
from millstream.backends.plain import Parts, Plain, Signature, weight_bytes
from millstream.backends.request import Request
from millstream.backends.tasks import ENTER, LATE, LEAVE, ROWS, Graphs, graphs, run, tasks
from millstream.core.graph import Form, Inputs
from millstream.errors import ModelError

if TYPE_CHECKING:
    from openvino import CompiledModel, Model, Node, Output

PROCESSORS = ("x86_64", "AMD64", "aarch64", "arm64")
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
INT8 = "int8"
LIGHT = 256e6  # bytes of weights of networks that every thread has for itself; larger layers keep all threads busy
PRODUCTS = {ENTER, LEAVE, *ROWS}  # the graphs with products to put in integers


@dataclass(frozen=True)
class OpenVino:
    """The compiler, for numbers of a `precision` and so many threads."""

    precision: str
    threads: int
    name = "openvino"
    apart = True
    request: ClassVar[type[Request]] = Request

    @classmethod
    def make(cls, precision: str, dtype: torch.dtype) -> "OpenVino":
        """Choose the numbers: of `auto`, bfloat16 where the processor has it. Raises ModelError for what it has not."""
        known = precisions()
        if precision not in ("auto", INT8, *known):
            raise ModelError(f"precision {precision}: openvino has {', '.join(known)} and {INT8} on this processor")
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
        """Trace each graph, convert it, quantize it where integers are asked for, compile."""
        of = graphs(networks, form, signature)
        examples = read(of, form, signature, [signature.unflatten(signature.zeros())])
        scenes = (in_flight(networks, form, signature.unflatten(inputs)) for inputs in played)
        measured = read(of, form, signature, scenes) if self.measures else {}
        made = {}
        for name, (example, *_) in examples.items():
            if name == LATE and not self.measures:
                continue
            model = converted(Plain(networks, of[name]), example)
            if self.measures and name in PRODUCTS:
                model = int8.quantized(model, measured[name])
            made[name] = self._compiled(model)
        return packed(made, light=weight_bytes(networks) <= LIGHT)

    def load(self, engine: bytes, form: Form, signature: Signature, graph: Callable[[], Plain]) -> Imported:
        """Take what `compile` made apart. Raises RuntimeError where this is no such engine."""
        memory, light = unpacked(engine)
        return Imported(self, memory, self.threads if light else 1)

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
        openvino.Core().compile_model(model, "CPU", self.settings(1)).export_model(engine)
        return engine.getvalue()

    def settings(self, workers: int) -> dict[str, Any]:
        """OpenVINO's, for a graph that has its share of the threads."""
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": PRECISIONS[precisions()[-1] if self.precision == INT8 else self.precision],
            "INFERENCE_NUM_THREADS": self.threads // workers,
            "ENABLE_CPU_PINNING": False,  # files are read and written beside it, on the same cores
        }

    def shown(self, graph: "CompiledModel") -> "CompiledModel":
        """The graph, as a show may take it over."""
        return exercised(graph) if gentle.asked() else graph


def read(of: Graphs, form: Form, signature: Signature, played: Iterable[Inputs]) -> dict[str, list[Sequence[Tensor]]]:
    """By graph, what its tasks read in ticks of these inputs."""
    found: dict[str, list[Sequence[Tensor]]] = {}
    for inputs in played:
        for task, tensors, _ in run(tasks(form, signature, inputs), of):
            found.setdefault(task.graph, []).append(tensors)
    return found


@cache
def precisions() -> list[str]:
    """The numbers that this processor computes in hardware, the fastest last."""
    import openvino  # noqa: PLC0415

    here = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [name for name, capability in (("float32", "FP32"), ("bfloat16", "BF16")) if capability in here]


def converted(part: Plain, example: Sequence[Tensor]) -> "Model":
    """The part as OpenVINO's graph, for tensors like the example alone."""
    from openvino.frontend import FrontEndManager  # noqa: PLC0415
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415

    warnings.filterwarnings("ignore", category=TracerWarning)  # every shape is meant to be a constant
    graph = torch.jit.trace(part, tuple(example), check_trace=False)  # type: ignore[no-untyped-call]
    # `openvino.convert_model` does no more, and then infers dynamic shapes for five seconds.
    frontend, decoder = FrontEndManager().load_by_framework("pytorch"), TorchScriptPythonDecoder(graph)
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
