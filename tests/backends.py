"""A stream through every change that it can meet, for comparing back ends with eager."""

import numpy as np

from millstream.engine import Engine
from millstream.frame import NO_PIXELS, Frame
from millstream.models import load_model
from millstream.params import ModelConfig, Params, StreamConfig

WIDTH, HEIGHT = 48, 32
TINY = {"width": WIDTH, "height": HEIGHT}
CHANGES = {  # by tick: what changes before it
    3: {"prompt": "blue", "seed": 9},
    5: {"strength": 0.4, "guidance_scale": 1.8, "delta": 0.9},
    6: {"negative_prompt": "a dog", "noise_correlation": 0.5},
    8: {"prompt": [{"text": "a", "weight": 1}, {"text": "b", "weight": 2}], "noise_correlation": 1.0},
}
BUBBLES = (2, 7)


def load(folder):
    return load_model(ModelConfig(name=str(folder), device="cpu"))


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def frames(config, group):
    """The frames of a group: none in a bubble, and one too few in the fifth."""
    m = config.frame_buffer
    count = 0 if group in BUBBLES else max(1, m - (group == 4))
    return [Frame(i, NO_PIXELS if config.input == "text" else picture(i)) for i in range(group * m, group * m + count)]


def play(model, forms, ticks=10, **config):
    """Run streams of these forms in one engine, to the end; give the engine and what came out of each."""
    engine = Engine(model)
    start = Params(prompt="a red boat", strength=0.8, seed=5, guidance_scale=1.3)
    sessions = [engine.open(StreamConfig(**{**TINY, **form, **config}), start) for form in forms]
    outputs = {session: [] for session in sessions}
    for now in range(ticks):
        for session in sessions:
            session.update(CHANGES.get(now, {}), in_flight=now == 8)
        for session, left in engine.tick({session: frames(session.config, now) for session in sessions}).items():
            outputs[session] += left
    while any(session.busy for session in sessions):
        for session, left in engine.tick(dict.fromkeys(sessions, ())).items():
            outputs[session] += left
    return engine, list(outputs.values())


def assert_alike(outputs, expected, off_by, decibels):
    """The same frames under the same versions, no value off by more, and the whole at least this near."""
    for ours, theirs in zip(outputs, expected, strict=True):
        assert [(f.id, f.version, f.time) for f in ours] == [(f.id, f.version, f.time) for f in theirs]
        error = np.stack([a.pixels.astype(float) - b.pixels for a, b in zip(ours, theirs, strict=True)])
        assert np.abs(error).max() <= off_by
        assert 20 * np.log10(255) - 10 * np.log10((error**2).mean() + 1e-12) >= decibels
        assert np.std([f.pixels for f in theirs]) > 5  # flat pictures would prove nothing
