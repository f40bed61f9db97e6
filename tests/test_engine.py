"""The engine against a plain loop over the same model's parts, picture by picture."""

import numpy as np
import pytest
import torch

from millstream.core.noise import stage_noise
from millstream.core.schedule import levels_from_strength
from millstream.engine import Engine, resolve
from millstream.errors import BadInputError, ModelError
from millstream.frame import NO_PIXELS, Frame
from millstream.models import load_model
from millstream.params import ModelConfig, Params, StreamConfig
from tests import tiny

WIDTH, HEIGHT = 48, 32
TINY = {"width": WIDTH, "height": HEIGHT}


@pytest.fixture(scope="module")
def model():
    return load_model(ModelConfig(name=str(tiny.small())))


def picture(seed, width=WIDTH, height=HEIGHT):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def frames(count, start=0):
    return [Frame(i, picture(i)) for i in range(start, start + count)]


def play(engine, session, items):
    m = session.config.frame_buffer
    outputs = []
    for start in range(0, len(items), m):
        outputs += engine.tick({session: items[start : start + m]})[session]
    while session.busy:
        outputs += engine.tick({session: []})[session]
    return outputs


def one_alone(model, frame, params, steps):
    """One frame through all its stages by the equations of LCM, without rows or coefficients."""
    noise = stage_noise(params.seed, steps, (model.channels, HEIGHT // model.factor, WIDTH // model.factor))
    levels = levels_from_strength(steps, params.strength, "lcm")
    cond = model.condition(params.prompt, 1.0)
    z = model.encode(torch.from_numpy(frame.pixels)[None])[0]
    for i, level in enumerate(levels):
        a, b = float(model.schedule.a[level]), float(model.schedule.b[level])
        x = a * z + b * noise[i]
        clean = model.denoise(x[None], torch.tensor([float(level)]), cond)[0]  # this model predicts the sample
        scaled = 10.0 * level
        z = scaled / (scaled**2 + 0.25) ** 0.5 * clean + 0.25 / (scaled**2 + 0.25) * x
    return model.decode(z[None])[0].numpy()


@torch.inference_mode()
def assert_alone(model, outputs, inputs, params, steps):
    assert [o.id for o in outputs] == [f.id for f in inputs]
    for output, frame in zip(outputs, inputs, strict=True):
        expected = one_alone(model, frame, params[frame.id], steps)
        assert np.abs(output.pixels.astype(int) - expected).max() <= 1  # rounding to 8 bits at a float's edge


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("frame_buffer", [1, 2, 3])
def test_pictures_equal_a_plain_loop(model, steps, frame_buffer):
    engine = Engine(model)
    params = Params(prompt="a red boat", strength=0.8, seed=5)
    session = engine.open(StreamConfig(**TINY, steps=steps, frame_buffer=frame_buffer), params)
    inputs = frames(7)
    assert_alone(model, play(engine, session, inputs), inputs, [params] * 7, steps)


def test_a_frame_keeps_what_it_entered_with(model):
    engine = Engine(model)
    first = Params(prompt="a red boat", strength=0.8, seed=5)
    session = engine.open(StreamConfig(**TINY, steps=3), first)
    inputs, outputs = frames(6), []
    for frame in inputs[:3]:
        outputs += engine.tick({session: [frame]})[session]
    assert session.update({"prompt": "blue", "seed": 9, "strength": 0.4}) == 2
    for frame in inputs[3:]:
        outputs += engine.tick({session: [frame]})[session]
    outputs += play(engine, session, [])
    assert_alone(model, outputs, inputs, [first] * 3 + [session.params] * 3, 3)
    assert [o.version for o in outputs] == [1, 1, 1, 2, 2, 2]


def test_in_flight_reaches_the_frames_in_flight(model):
    def last_frame(in_flight):
        engine = Engine(model)
        session = engine.open(StreamConfig(**TINY, steps=3), Params(prompt="a red boat", strength=1))
        engine.tick({session: frames(1)})
        session.update({"prompt": "blue"}, in_flight)
        return play(engine, session, [])[0]

    kept, steered = last_frame(False), last_frame(True)
    assert (kept.version, steered.version) == (1, 2)
    assert not np.array_equal(kept.pixels, steered.pixels)


def test_sessions_in_one_tick_get_what_they_get_alone(model):
    forms = [
        (StreamConfig(**TINY, steps=2), Params(prompt="a", seed=1)),
        (StreamConfig(**TINY, steps=3, frame_buffer=2, guidance="full"), Params(prompt="b", guidance_scale=1.7)),
        (StreamConfig(**TINY, steps=1, guidance="self-negative"), Params(guidance_scale=1.4, delta=0.8, strength=1)),
        (StreamConfig(width=32, height=32, steps=2), Params(prompt="another size", seed=7)),
    ]

    def inputs(config):
        return [Frame(i, picture(i, config.width, config.height)) for i in range(6)]

    alone = []
    for config, params in forms:
        engine = Engine(model)
        alone.append(play(engine, engine.open(config, params), inputs(config)))

    engine = Engine(model)
    sessions = [engine.open(config, params) for config, params in forms]
    waiting = {s: inputs(s.config) for s in sessions}
    together = {s: [] for s in sessions}
    while any(waiting.values()) or any(s.busy for s in sessions):
        entering = {s: [waiting[s].pop(0) for _ in range(s.config.frame_buffer) if waiting[s]] for s in sessions}
        for s, outputs in engine.tick(entering).items():
            together[s] += outputs
    for session, expected in zip(sessions, alone, strict=True):
        assert [o.id for o in together[session]] == [o.id for o in expected]
        for ours, theirs in zip(together[session], expected, strict=True):
            assert np.abs(ours.pixels.astype(int) - theirs.pixels).max() <= 1


def test_a_refused_change_changes_nothing(model):
    session = Engine(model).open(StreamConfig(**TINY, steps=2), Params(prompt="kept"))
    for change in ({"strength": 2}, {"t_index": (1,)}, {"t_index": (5, 3)}, {"colour": "red"}, {"seed": -1}):
        with pytest.raises(BadInputError):
            session.update(change)
    assert session.params == Params(prompt="kept")
    assert session.version == 1


def test_the_noise_follows_the_seed(model):
    def result(seed):
        engine = Engine(model)
        session = engine.open(StreamConfig(**TINY, steps=2), Params(seed=seed, strength=1))
        return play(engine, session, frames(1))[0].pixels

    assert np.array_equal(result(3), result(3))
    assert not np.array_equal(result(3), result(4))


def test_text_to_image_begins_at_pure_noise(model):
    engine = Engine(model)
    session = engine.open(StreamConfig(**TINY, steps=2, input="text"), Params(prompt="a boat", strength=0.1))
    assert float(session.prepared.stages.t[0]) == 999
    one, two = play(engine, session, [Frame(0, NO_PIXELS), Frame(1, NO_PIXELS)])
    assert np.array_equal(one.pixels, two.pixels)
    assert one.pixels.shape == (HEIGHT, WIDTH, 3)


def test_text_has_no_picture_to_be_filtered(model):
    with pytest.raises(BadInputError, match="similarity_filter"):
        Engine(model).open(StreamConfig(**TINY, input="text"), Params(similarity_filter=True))


def test_a_prompt_is_encoded_once_and_not_per_frame(model):
    engine = Engine(model)
    session = engine.open(StreamConfig(**TINY, steps=2, guidance="full"), Params(prompt="encoded once"))
    calls = []
    hook = model.conditioner.networks.reader.register_forward_hook(lambda *_: calls.append(1))
    play(engine, session, frames(5))
    session.update({"seed": 7, "strength": 0.7})
    play(engine, session, frames(5))
    assert calls == []
    session.update({"prompt": "another"})
    hook.remove()
    assert calls == [1]


def test_bright_and_dark_pictures_are_normalised_alike(model):
    """Upstream normalises twice where no pixel is below mid-grey, so bright frames jump in contrast."""
    bright = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    mixed = bright.copy()
    mixed[:, -1] = 0  # one dark column must change nothing far from it
    one, other = (model.encode(torch.from_numpy(p)[None])[0, :, :, 0] for p in (bright, mixed))
    assert torch.allclose(one, other, atol=1e-6)


def test_conditioning_stays_where_it_is_when_a_prompt_changes(model):
    """Caches have fixed addresses, so that a captured graph survives a change."""
    engine = Engine(model)
    session = engine.open(StreamConfig(**TINY, steps=2, guidance="full"), Params(prompt="a"))
    rows = session.lane.rows

    def addresses():
        tensors = [rows.x, rows.reference, rows.noise, rows.t, rows.coefficients]
        return [t.data_ptr() for t in (*tensors, *rows.cond.values(), *rows.negative.values())]

    before = addresses()
    session.update({"prompt": "b", "seed": 3, "strength": 0.9, "guidance_scale": 2.0, "negative_prompt": "c"})
    play(engine, session, frames(3))
    assert addresses() == before
    assert session.lane.rows is rows


def test_a_bubble_encodes_and_decodes_nothing(model):
    engine, calls = Engine(model), []
    session = engine.open(StreamConfig(**TINY, steps=3, frame_buffer=2), Params())
    parts = {"encode": model.codec.vae.encoder, "denoise": model.denoiser, "decode": model.codec.vae.decoder}
    hooks = [
        part.register_forward_hook(lambda _, given, __, name=name: calls.append((name, len(given[0]))))
        for name, part in parts.items()
    ]
    for entering in (frames(2), [], frames(1, start=2), [], []):
        engine.tick({session: entering})
        calls.append(None)
    for hook in hooks:
        hook.remove()
    ticks = [dict(filter(None, part)) for part in split(calls, None)]
    assert ticks == [
        {"encode": 2, "denoise": 6},
        {"denoise": 6},
        {"encode": 1, "denoise": 6, "decode": 2},
        {"denoise": 6},
        {"denoise": 6, "decode": 1},
    ]


def split(items, mark):
    ends = [i for i, item in enumerate(items) if item is mark]
    return [items[start:end] for start, end in zip([0, *(end + 1 for end in ends)], ends, strict=False)]


def test_sizes_the_model_cannot_take_name_their_neighbours(model):
    with pytest.raises(BadInputError, match=r"width: this model takes multiples of 8; use 48 or 56 \(got 50\)"):
        resolve(StreamConfig(width=50, height=32), model)
    assert resolve(StreamConfig(), model).width == model.width


def test_pixels_of_another_size_are_refused(model):
    engine = Engine(model)
    session = engine.open(StreamConfig(**TINY), Params())
    with pytest.raises(BadInputError, match="frame 0: expected 48x32"):
        engine.tick({session: [Frame(0, picture(0, 32, 32))]})


def test_a_model_that_gives_nan_is_named():
    engine = Engine(load_model(ModelConfig(name=str(tiny.broken()))))
    session = engine.open(StreamConfig(**TINY, steps=1), Params())
    with pytest.raises(ModelError, match=r"NaN.*--dtype float32"):
        engine.tick({session: frames(1)})


def test_delta_at_zero_terminal_snr_is_refused_at_once():
    model = load_model(ModelConfig(name=str(tiny.sd2_v())))
    config = StreamConfig(width=32, height=32, steps=1, guidance="one-time-negative")
    Engine(model).open(config, Params(strength=1, guidance_scale=2))
    with pytest.raises(BadInputError, match="delta"):
        Engine(model).open(config, Params(strength=1, guidance_scale=2, delta=0.5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
def test_a_card_is_not_waited_for_while_a_tick_is_begun():
    engine = Engine(load_model(ModelConfig(name=str(tiny.small()), device="cuda", dtype="float32")))
    session = engine.open(StreamConfig(**TINY, steps=2, backend="eager"), Params(noise_correlation=0.5))
    engine.tick({session: frames(1)})
    torch.cuda.set_sync_debug_mode("error")
    try:
        begun = [engine.begin({session: frames(1, start)}) for start in range(1, 4)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [len(wait()[session]) for wait in begun] == [1, 1, 1]
