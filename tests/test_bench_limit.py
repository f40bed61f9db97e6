"""The machine's limit: a product's rate, and the operations of a frame, which a formula gives too."""

import numpy as np
import pytest
import torch

from millstream.bench import limit
from millstream.bench.limit import frame_operations, product_rate
from millstream.bench.setup import Plan, Setup
from tests import tiny


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup.load(Plan(str(tiny.small()), 2))


def test_a_rate_is_operations_over_seconds(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(1000))
    monkeypatch.setattr(limit.Spans, "_now", lambda self: next(clock))  # every span takes a second
    monkeypatch.setattr(limit, "SIDE", 8)
    assert product_rate(torch.device("cpu"), torch.float32) == limit.PRODUCTS * 2 * 8**3


def test_a_frame_s_operations_are_those_of_its_autoencoder_and_of_a_row_for_each_step(setup: Setup):
    width, height = setup.size
    picture = np.zeros((height, width, 3), np.uint8)
    one, two, four = (frame_operations(setup.case(n, "eager"), picture) for n in (1, 2, 4))
    assert four - two == 2 * (two - one) > 0
    assert one > two - one  # the autoencoder's
    assert frame_operations(setup.case(2, "eager", frame_buffer=2), picture) == two


def test_attention_counts_as_its_two_products(setup: Setup):
    q = torch.zeros(1, 2, 8, 4)
    with limit.sdpa_kernel(limit.SDPBackend.MATH), limit.FlopCounterMode(display=False) as counter:
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert counter.get_total_flops() == 2 * (2 * 2 * 8 * 8 * 4)
