"""OpenVINO on a CPU: the tick as static graphs, in bfloat16 where the processor multiplies it, or in integers."""

import io
import platform
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from millstream.backends import gentle, int8
from millstream.backends.pieces import Piece, count, cut
from millstream.backends.plain import Parts, Plain, Signature, weight_bytes
from millstream.backends.request import LATENTS, Loaded, Request, channels_first
from millstream.core.graph import Form, TickGraph
from millstream.errors import ModelError

if TYPE_CHECKING:
    from openvino import CompiledModel, Model, Node, Output

PROCESSORS = ("x86_64", "AMD64", "aarch64", "arm64")
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
INT8 = "int8"
PATIENCE, SLOWEST = 10.0, 4e6  # seconds, and bytes a second, of loading beside a show: 30 MB a second is usual
LIGHT = 256e6  # bytes of weights of networks that every piece has for itself; larger layers keep all threads busy
HEAD = 8  # bytes of an engine that say how many pieces it has, and before each of its parts, how long that is


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
        """Trace each piece, convert it, quantize it where integers are asked for, compile."""
        pieces = cut(form, count(form, self.threads) if weight_bytes(networks) <= LIGHT else 1)
        example, *samples = (signature.unflatten(inputs) for inputs in chain([signature.zeros()], played))
        engines: list[bytes] = []
        for piece in pieces:
            own = piece.of(example)
            signed = Signature.of(own)
            model = converted(traced(networks, piece, signed), signed.flatten(own))
            if self.precision == INT8:
                model = int8.quantized(model, (signed.flatten(piece.of(inputs)) for inputs in samples))
            engines += [self._compiled(part, len(pieces)) for part in parts(model)]
        return len(pieces).to_bytes(HEAD) + b"".join(len(engine).to_bytes(HEAD) + engine for engine in engines)

    def load(self, engine: bytes, form: Form, signature: Signature, graph: Callable[[], Plain]) -> Request:
        """Import what `compile` made. Raises RuntimeError where this is no engine of the tick."""
        whole = memoryview(engine)  # of bytes, a part is a copy, made while no other thread can run
        number, memory = int.from_bytes(whole[:HEAD]), unpacked(whole[HEAD:])
        pieces = cut(form, number) if number in (1, count(form, self.threads)) else []
        if not pieces or len(memory) != sum(1 + piece.leaves for piece in pieces):
            raise RuntimeError("these are other parts than this tick's")
        imported = iter(self._imported(memory, number))
        loaded = Loaded([list(islice(imported, 1 + piece.leaves)) for piece in pieces], memory)
        return self.request(loaded, signature, pieces)

    def identity(self, device: torch.device) -> str:
        """Name its version and the processor."""
        import openvino  # noqa: PLC0415

        core = openvino.Core()
        facts = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
        quantizer = version("nncf") if self.precision == INT8 else ""
        return f"{version('openvino')} {quantizer} {facts}"

    def _compiled(self, model: "Model", pieces: int) -> bytes:
        import openvino  # noqa: PLC0415

        engine = io.BytesIO()
        openvino.Core().compile_model(model, "CPU", self._settings(pieces)).export_model(engine)
        return engine.getvalue()

    def _imported(self, memory: Sequence[NDArray[np.uint8]], pieces: int) -> "list[CompiledModel]":
        """Import the parts, from NumPy's memory: from bytes, no other thread could run while they are copied."""
        import openvino  # noqa: PLC0415

        core, settings = openvino.Core(), self._settings(pieces)

        def imported(part: NDArray[np.uint8]) -> "CompiledModel":
            return self._ready(core.import_model(openvino.Tensor(part, True), "CPU", settings))

        def together() -> "list[CompiledModel]":
            with ThreadPoolExecutor(self.threads) as threads:
                return list(threads.map(imported, memory))

        return gentle.aside(together, patience=PATIENCE + sum(map(len, memory)) / SLOWEST)

    def _ready(self, part: "CompiledModel") -> "CompiledModel":
        """The part, as a show may take it over."""
        return exercised(part) if gentle.asked() else part

    def _settings(self, pieces: int) -> dict[str, Any]:
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": PRECISIONS[precisions()[-1] if self.precision == INT8 else self.precision],
            "INFERENCE_NUM_THREADS": self.threads // pieces,
            "ENABLE_CPU_PINNING": False,  # files are read and written beside it, on the same cores
        }


@cache
def precisions() -> list[str]:
    """The numbers that this processor computes in hardware, the fastest last."""
    import openvino  # noqa: PLC0415

    here = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [name for name, capability in (("float32", "FP32"), ("bfloat16", "BF16")) if capability in here]


def exercised(part: "CompiledModel") -> "CompiledModel":
    """The part, once run, so that a show it takes over has no slow tick: its first inference takes up to three times as
    long, whichever of its requests has it.
    """
    request = part.create_infer_request()
    for tensor in request.input_tensors:
        tensor.data[:] = 0  # what lies there may be what processors are slow with
    request.infer()
    return part


def unpacked(engine: memoryview) -> list[NDArray[np.uint8]]:
    """Copies of an engine's networks."""
    whole, found = np.frombuffer(engine, np.uint8), []
    while len(whole):
        end = HEAD + int.from_bytes(whole[:HEAD].tobytes())
        found.append(whole[HEAD:end].copy())
        whole = whole[end:]
    return found


def traced(networks: Parts, piece: Piece, signature: Signature) -> Plain:
    """The tick of a piece: its latents, channels last as streams and convolutions have them, and its pictures."""
    graph = TickGraph(networks, piece.form)

    def compute(*tensors: Tensor) -> tuple[Tensor, ...]:
        made = graph.latents(signature.unflatten(tensors))
        latents = tuple(each.permute(0, 2, 3, 1).contiguous() for each in made)
        return (*latents, graph.pictures(channels_first(latents[0]))) if piece.leaves else latents

    return Plain(networks, compute)


def parts(model: "Model") -> "list[Model]":
    """A piece without its pictures, and the pictures from its latents, if it has any: where none leave they need not be
    made.
    """
    from openvino import Model  # noqa: PLC0415
    from openvino import opset13 as ops  # noqa: PLC0415

    results = model.get_results()
    tick = Model(results[:LATENTS], model.get_parameters(), "tick")
    if len(results) == LATENTS:
        return [tick]
    latents, *_, pictures = model.clone().get_results()
    f = latents.input_value(0)
    entrance = ops.parameter(f.get_shape(), f.get_element_type())
    for reader in f.get_target_inputs():
        reader.replace_source_output(entrance.output(0))
    return [tick, Model([pictures], [entrance], "decoder")]


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
