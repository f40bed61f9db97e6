"""Inductor against eager, on a real model of random weights. One form: it takes most of a minute to compile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from millstream.backends.inductor import compiled, kernels
from millstream.backends.plain import Signature, plain
from millstream.core.graph import Outputs
from tests import tiny
from tests.backends import assert_alike, load, play
from tests.test_backends_plans import Networks, assert_equal_to_the_graph, case

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


# What a card takes, compiled for this processor: the kernels are others, the way to them is the same.


def graph(form, inputs):
    """The tick as a module, and what it takes."""
    signature = Signature.of(inputs)
    return plain(Networks(), form, signature), signature


def other_process(kept):
    """In a process with an empty cache: run the tick from what was kept; print how much was found, and generated."""
    torch.manual_seed(0)
    form, inputs = case(frames=2, mode="full")
    tick, signature = graph(form, inputs)
    with torch.no_grad():
        run = compiled(tick, Path(kept).read_bytes())
        assert_equal_to_the_graph(lambda inputs: Outputs(*run(*signature.flatten(inputs))), Networks(), form, inputs)
    found = counters["inductor"]
    print(found["fxgraph_cache_hit"], found["fxgraph_cache_miss"])


def test_what_is_kept_of_a_compiled_tick_serves_another_process_and_generates_nothing(tmp_path):
    torch.manual_seed(0)
    form, inputs = case(frames=2, mode="full")
    tick, signature = graph(form, inputs)
    with torch.no_grad():
        kept = kernels(tick, signature.zeros())
    (tmp_path / "kept").write_bytes(kept)
    code = f"from tests.test_backends_inductor import other_process; other_process({str(tmp_path / 'kept')!r})"
    empty = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=empty, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]


def test_what_is_kept_is_of_one_tick_and_more_are_compiled_than_the_compiler_remembers():
    sizes = []
    with torch.no_grad():
        for frames in (1, 2, 3, 1, 2, 3, 1, 2, 3, 1):
            form, inputs = case(frames=frames)
            tick, signature = graph(form, inputs)
            sizes.append(len(kernels(tick, signature.zeros())))
    assert max(sizes) < 1.5 * min(sizes)
