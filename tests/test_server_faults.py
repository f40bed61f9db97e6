"""What counts as lack of memory."""

import numpy as np
import pytest
import torch

from millstream.errors import ModelError, TooLargeError
from millstream.server.faults import out_of_memory


def test_what_is_really_raised_where_memory_does_not_suffice():
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(2**56, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(2**56, np.uint8)
    assert out_of_memory(of_torch.value)
    assert out_of_memory(of_numpy.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
        (TooLargeError("stream: needs 9.0 GiB on cpu"), True),
        (None, False),
    ],
)
def test_lack_of_memory(error, expected):
    assert out_of_memory(error) is expected


def test_the_cause_counts():
    error = ModelError("cannot build this model")
    assert not out_of_memory(error)
    error.__cause__ = MemoryError()
    assert out_of_memory(error)
