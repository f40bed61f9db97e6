"""What the machine multiplies at best, and what a frame asks of it."""

from statistics import median

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from millstream.bench.spans import Spans
from millstream.bench.systems import Case, opened
from millstream.frame import Frame, Pixels

SIDES = {"cuda": 8192}  # of the matrices, by kind of device: large enough for all of it
SIDE = 1024  # on others
PRODUCTS, WARM, TIMED = 4, 3, 10  # in a row, and how often: untimed and timed


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a product of square matrices of random numbers, the median."""
    side = SIDES.get(device.type, SIDE)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    spans = Spans(device)
    for _ in range(WARM + TIMED):
        with spans.of("products"):
            for _ in range(PRODUCTS):
                a @ b
    return PRODUCTS * 2 * side**3 / median(span.end - span.start for span in spans.found[WARM:])


def frame_operations(case: Case, picture: Pixels) -> float:
    """Floating-point operations of a frame's matrix products and convolutions, counted over an eager tick.

    Attention counts as the two products that it is, whatever computes it.
    """
    engine, session = opened(case)
    frames = [Frame(i, picture) for i in range(case.config.frame_buffer)]
    for _ in range(case.config.steps - 1):
        engine.tick({session: frames})
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        engine.tick({session: frames})
    return float(counter.get_total_flops()) / len(frames)
