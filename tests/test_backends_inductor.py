"""Inductor against eager, on a real model of random weights. One form: it takes most of a minute to compile."""

import shutil

import pytest

from tests import tiny
from tests.backends import assert_alike, load, play

pytestmark = [
    pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler"),
    pytest.mark.timeout(600),
]


def test_pictures_equal_eager_through_every_change_and_one_build():
    model, form = load(tiny.small()), [{"steps": 2, "guidance": "one-time-negative", "frame_buffer": 2}]
    engine, outputs = play(model, form, backend="inductor")
    _, expected = play(model, form, backend="eager")
    assert_alike(outputs, expected, off_by=1, decibels=60)
    assert len(engine.plans) == 1
    assert "inductor float32" in [entry.what.split(", ")[1] for entry in engine.plans.store.entries()]
    _, again = play(model, form, backend="inductor")  # from the cache
    assert_alike(again, outputs, off_by=0, decibels=100)
