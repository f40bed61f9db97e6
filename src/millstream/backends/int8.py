"""A graph whose convolutions and matrix products multiply 8-bit integers, by NNCF, on measured ranges."""

import logging
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from openvino import Model

# What else NNCF would put in integers gains nothing, and parts what the compiler fuses: 22 in place of 18 ms a tick.
QUANTIZED = {"Convolution", "GroupConvolution", "MatMul"}
PASSING = {"Constant", "Parameter", "Result", "Reshape", "Transpose", "Concat"}

# Products that stay as they are, by diffusers' names. No norm has evened out what enters the ends, shortcuts, levels of
# the encoder and the embedding of time; and what goes past the blocks at the latents' own size is not evened out again.
# They are a third of the denoiser's, and leaving them brings pictures 9 to 11 dB nearer to eager's (docs/benchmarks).
ENDS = re.compile(r"\.(conv_in|conv_out|conv_shortcut|time_emb\w*)[./]|\.encoder\.down_blocks\.\d+\.\d+(\.conv)?/")
PAST = re.compile(r"\.upsamplers\.|\.resnets\.\d+\.conv2/")


def fastest() -> bool:
    """Whether integers are the fastest numbers of this processor: it multiplies them, and has no tiles for bfloat16."""
    can = torch.cpu.get_capabilities()
    return any(can.get(name) for name in ("avx512_vnni", "avx_vnni")) and not can.get("amx_tile")


def quantized(model: "Model", samples: Iterable[Sequence[Tensor]]) -> "Model":
    """The graph with 8-bit weights and inputs of its products; `samples` are its inputs over real pictures."""
    os.environ["NNCF_CI"] = "1"  # without it NNCF reports its use to its makers, unasked
    import nncf  # noqa: PLC0415
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet  # noqa: PLC0415
    from rich import get_console  # noqa: PLC0415

    nncf.set_log_level(logging.ERROR)
    get_console().quiet = True  # its progress bars would go to stdout, where pictures may go
    measured = [{i: tensor.numpy().copy() for i, tensor in enumerate(sample)} for sample in samples]
    left = {op.get_type_name() for op in model.get_ops()} - QUANTIZED - PASSING
    return nncf.quantize(
        model,
        nncf.Dataset(measured),
        subset_size=len(measured),
        preset=nncf.QuantizationPreset.MIXED,  # activations after SiLU are not symmetric
        # All that any scene needs: by default it is the mean of the scenes' ranges, which cuts bold styles off.
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            disable_bias_correction=True,  # it brings nothing here, and takes a quarter of the time
        ),
        ignored_scope=nncf.IgnoredScope(types=sorted(left), names=apart(model), validate=False),
    )


def apart(model: "Model") -> list[str]:
    """The names of the products that stay as they are."""
    sizes = {
        op.get_friendly_name(): list(op.output(0).shape)[2:]
        for op in model.get_ops()
        if op.get_type_name() in QUANTIZED
    }
    full = max((size for size in sizes.values() if len(size) == 2), default=[])  # of pictures, not of tokens
    return [name for name, size in sizes.items() if ENDS.search(name) or (PAST.search(name) and size == full)]
