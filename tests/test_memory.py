"""What a tick and a model need, against what they take when they run."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from millstream import ModelError, Params, StreamConfig, memory
from millstream.engine import Engine
from millstream.errors import TooLargeError
from millstream.models import load_model
from millstream.params import ModelConfig
from tests import tiny, toy

MIB = 2**20
CPU = torch.device("cpu")


def test_what_does_not_fit_is_refused_in_one_line_with_the_figures():
    memory.check_fits("stream", 0, CPU, "")
    free = memory.free_bytes(CPU) / memory.GIB
    with pytest.raises(
        TooLargeError, match=r"stream: needs 9\d+\.\d GiB on cpu, [\d.]+ GiB are free; use less"
    ) as error:
        memory.check_fits("stream", 999_000 * MIB, CPU, "use less")
    assert "\n" not in str(error.value)
    assert abs(float(str(error.value).split(", ")[1].split()[0]) - free) < 4


def test_a_container_has_what_its_limit_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    machine = memory.free_bytes(CPU)
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes(CPU) > machine / 2
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.free_bytes(CPU) == 4000


def test_storages_are_counted_while_they_are_alive():
    with memory.Alive() as alive:
        a = torch.ones(1000)
        b = a + 1
        assert alive.most == 8000
        del a
        c = b.view(10, 100)  # shares b's
        d = c * 2
        assert alive.most == 8000
        e = torch.cat([d, d])
        assert alive.most == 16000
        del b, c, d, e
        torch.ones(3000)
    assert alive.most == 16000


def test_counting_computes_nothing_and_grows_with_the_tick(monkeypatch):
    engine = Engine(toy.ToyModel())

    def count(**config):
        session = engine.open(StreamConfig(**{"width": 64, "height": 64, "backend": "eager"} | config), Params())
        inputs = memory.Inputs({0: session.pixels}, [session.lane.rows], {})
        return memory.tick_bytes(engine.model, (session.whole,), inputs)

    one = count(steps=1)
    latents = 3 * 64 * 64 * 4
    assert 4 * latents < one < 20 * latents
    assert 1.7 * one < count(steps=2) < 2.3 * one
    assert 3.5 * one < count(steps=1, width=128, height=128) < 4.5 * one


def test_the_numbers_of_a_model_are_read_from_its_files():
    folder = tiny.small()
    model = load_model(ModelConfig(name=str(folder)))
    networks = (model.denoiser.unet, model.codec.vae, model.conditioner.networks.reader)
    known = sum(p.numel() for network in networks for p in network.state_dict().values())
    counted = sum(map(memory._numbers, memory._weights(ModelConfig(name=str(folder)))))
    assert abs(counted - known) <= 100  # a buffer of positions is not in the file
    assert sum(map(memory._numbers, memory._weights(ModelConfig(name="no/such")))) == 0


def test_a_model_that_does_not_fit_is_not_loaded(monkeypatch):
    config = ModelConfig(name=str(tiny.small()))
    memory.check_model(config, CPU, torch.float32)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    with pytest.raises(ModelError, match=r"model .*small: needs .* close other programs"):
        memory.check_model(config, CPU, torch.float32)


def test_a_stream_that_does_not_fit_is_refused_before_its_rows_are_laid_out():
    engine = Engine(toy.ToyModel())
    with pytest.raises(ModelError, match=r"stream: needs \d+\.\d GiB on cpu, .* free; use fewer steps"):
        engine.open(StreamConfig(width=4096, height=4096, steps=50, frame_buffer=64, backend="eager"), Params())


def test_a_tick_that_does_not_fit_is_refused(monkeypatch):
    engine = Engine(toy.ToyModel())
    session = engine.open(StreamConfig(width=256, height=256, backend="eager"), Params())
    inputs = memory.Inputs({0: session.pixels}, [session.lane.rows], {})
    form = (session.whole,)
    needed = memory.WORKSPACE * memory.tick_bytes(engine.model, form, inputs)
    assert needed < memory.sure_bytes(form, inputs)
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(needed) + 1)
    memory.check_tick(engine.model, form, inputs, 0, CPU)
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(needed) - 1)
    with pytest.raises(ModelError, match="use fewer steps"):
        memory.check_tick(engine.model, form, inputs, 0, CPU)


MEASURE = """
import gc, sys
import numpy as np, torch
from millstream import Params, StreamConfig, memory
from millstream.engine import Engine, _inputs
from millstream.frame import Frame
from millstream.models import load_model
from millstream.params import ModelConfig

def field(name):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(name))

def play(engine, side, steps):
    session = engine.open(StreamConfig(width=side, height=side, steps=steps, backend="eager"), Params())
    for i in range(steps):
        engine.tick({session: [Frame(i, np.zeros((side, side, 3), np.uint8))]})
    return session

torch.set_num_threads(1)
engine, (side, steps) = Engine(load_model(ModelConfig(name=sys.argv[1]))), map(int, sys.argv[2:])
play(engine, 64, 1)
session = engine.open(StreamConfig(width=side, height=side, steps=steps, backend="eager"), Params())
counted = memory.tick_bytes(engine.model, (session.whole,), _inputs([session]))
gc.collect()
open("/proc/self/clear_refs", "w").write("5")
before = field("VmRSS")
play(engine, side, steps)
print(int(memory.WORKSPACE * counted), field("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads its own peak from Linux's /proc")
@pytest.mark.parametrize(("folder", "side", "steps"), [(tiny.sd1, 512, 2), (tiny.sd_turbo, 640, 4)])
def test_the_estimate_against_the_measured_peak(folder, side, steps):
    """Never under by more than a fifth and 16 MiB, never over by more than twice and 16 MiB."""
    command = [sys.executable, "-c", MEASURE, str(folder()), str(side), str(steps)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280).stdout
    estimate, measured = map(int, out.split())
    assert measured > 16 * MIB
    assert 0.8 * measured - 16 * MIB <= estimate <= 2 * measured + 16 * MIB
