"""A start without the networks: the same conditioning and the same pictures, and no library that it does not need."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from millstream.backends.store import Store
from millstream.engine import Engine
from millstream.frame import Frame
from millstream.models import load_model
from millstream.models.outline import cache_key
from millstream.params import ModelConfig, Params, StreamConfig, WeightedPrompt
from tests import tiny

CPU = torch.device("cpu")
BLEND = (WeightedPrompt(text="a red boat"), WeightedPrompt(text="night", weight=3))
FACTS = ("name", "rule", "width", "height", "channels", "factor", "multiple", "fingerprint", "device", "dtype", "key")


def both(folder, store, **config):
    """The model whole, and as a second start finds it."""
    config = ModelConfig(name=str(folder), device="cpu", **config)
    whole = load_model(config, store)
    whole.keep(store)
    return whole, load_model(config, store)


@pytest.mark.parametrize("make", [tiny.sd1, tiny.sd_turbo, tiny.sd2_v, tiny.sdxl_turbo, tiny.lcm, tiny.small])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_kept_model_knows_the_same_and_conditions_to_the_bit(make, dtype, tmp_path):
    whole, kept = both(make(), Store(tmp_path), dtype=dtype)
    assert not kept.networks.done.done()
    assert all(getattr(kept, name) == getattr(whole, name) for name in FACTS)
    assert kept.schedule.prediction == whole.schedule.prediction
    assert all(torch.equal(getattr(kept.schedule, n), getattr(whole.schedule, n)) for n in ("a", "b", "time"))
    for prompt in (BLEND, BLEND[:1], (WeightedPrompt(text=""),)):
        ours, theirs = kept.condition(prompt, 3.0), whole.condition(prompt, 3.0)
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not kept.networks.done.done()


def test_words_that_a_small_model_does_not_know_are_still_told(tmp_path):
    folder = shutil.copytree(tiny.small(), tmp_path / "model")
    (folder / "vocabulary.json").write_text('["a red boat"]')
    _, kept = both(folder, Store(tmp_path))
    with pytest.warns(UserWarning, match="does not know 'blue'"):
        kept.condition((WeightedPrompt(text="a blue boat"),))


def test_networks_load_when_they_are_needed_and_pictures_are_the_same(tmp_path):
    outputs = []
    for model in both(tiny.small(), Store(tmp_path)):
        session = Engine(model).open(StreamConfig(steps=1, backend="eager"), Params(prompt="a boat"))
        width, height = session.size
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        outputs.append(Engine(model).tick({session: [Frame(0, pixels)]})[session][0].pixels)
        assert model.networks.done.done()
    assert np.array_equal(*outputs)


def test_another_file_number_or_adapter_is_another_model(tmp_path):
    folder = shutil.copytree(tiny.small(), tmp_path / "model")
    plain = ModelConfig(name=str(folder))
    first = cache_key(plain, CPU, torch.float32)
    assert first == cache_key(plain, CPU, torch.float32)
    assert first != cache_key(plain, CPU, torch.bfloat16)
    assert first != cache_key(ModelConfig(name=str(tiny.sd1())), CPU, torch.float32)
    assert first != cache_key(ModelConfig(name=str(folder), vae=str(folder / "vae")), CPU, torch.float32)
    weights = next((folder / "unet").glob("*.safetensors"))
    os.utime(weights, (time.time() + 5, time.time() + 5))
    assert first != cache_key(plain, CPU, torch.float32)


def test_a_model_of_the_hub_has_none():
    assert cache_key(ModelConfig(name="somebody/something"), CPU, torch.float32) is None


START = """
import sys, numpy as np, threading
from millstream import Stream, StreamConfig, Params
from millstream.frame import Frame
with Stream.open({folder!r}, StreamConfig(steps=2, backend="openvino"), Params(prompt=sys.argv[1])) as stream:
    pixels = np.random.default_rng(0).integers(0, 256, (stream.config.height, stream.config.width, 3), np.uint8)
    if {live}:
        stream.submit(pixels)
        picture = stream.poll(60)
    else:
        (picture,) = stream.run([pixels])
print(sum(name in sys.modules for name in ("diffusers", "transformers", "peft", "huggingface_hub")), end=" ")
print(picture.pixels.tobytes().hex())
"""


def start(cache, prompt, live=False):
    """Start a stream in a process of its own; how many of the libraries it took, and its first picture."""
    code = START.format(folder=str(tiny.small()), live=live)
    env = os.environ | {"MILLSTREAM_CACHE": str(cache)}
    run = subprocess.run([sys.executable, "-c", code, prompt], env=env, capture_output=True, text=True, check=True)
    count, picture = run.stdout.split()
    return int(count), picture


def test_a_second_start_takes_no_library_of_networks(tmp_path):
    libraries, first = start(tmp_path, "a boat")
    assert libraries > 0
    assert start(tmp_path, "a boat") == (0, first)
    assert start(tmp_path, "a cat")[0] == 0
    assert start(tmp_path, "a boat", live=True) == (0, first)
