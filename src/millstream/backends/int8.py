"""A graph whose convolutions and matrix products multiply 8-bit integers, by NNCF, on measured ranges."""

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from openvino import Model

# What else NNCF would put in integers gains nothing, and parts what the compiler fuses: 22 in place of 18 ms a tick.
QUANTIZED = {"Convolution", "GroupConvolution", "MatMul"}
PASSING = {"Constant", "Parameter", "Result", "Reshape", "Transpose", "Concat"}

# Inputs of these are sums that no norm has evened out, and what is rounded off there goes past all that follows: left
# out, they bring pictures 4 to 5 dB nearer to eager's, in the same time (docs/benchmarks).
SHORTCUTS = r".*\.conv_shortcut/.*"


def missing() -> str | None:
    """What it lacks, and the cure; None where it is there."""
    return None if find_spec("nncf") else f"needs nncf; {sys.executable} -m pip install 'millstream[int8]'"


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
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
        ignored_scope=nncf.IgnoredScope(types=sorted(left), patterns=[SHORTCUTS], validate=False),
    )
