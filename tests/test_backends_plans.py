"""Plans: built once, bounded, kept on disk under everything they depend on, and honest where they fail."""

import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from millstream.backends import plans as plans_room
from millstream.backends.cudagraph import CudaGraph
from millstream.backends.inductor import Inductor
from millstream.backends.openvino import OpenVino
from millstream.backends.plain import Signature
from millstream.backends.plans import Base, Order, Plans, describe, engine_key, first_call
from millstream.backends.store import Store
from millstream.core.graph import Inputs, LaneForm, Outputs, TickGraph
from millstream.core.rows import Lane
from millstream.errors import ModelError
from tests.oracle import SHAPE, Form, Setting, open_lane, prepare

C, H, W = SHAPE
BACKEND = OpenVino("float32", 1)
SETTING = Setting((700, 300))


class Networks:
    """One convolution; pictures are latents in 8 bits."""

    name = "one convolution"

    def __init__(self, fingerprint="a"):
        self.fingerprint = fingerprint
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.parts = (nn.Conv2d(C, C, 3, padding=1).requires_grad_(False),)

    def networks(self):
        return self

    def keep(self, store):
        """A start needs nothing else of it."""

    def encode(self, pixels):
        return pixels.permute(0, 3, 1, 2).float() / 128 - 1

    def denoise(self, x, t, cond):
        return self.parts[0](x) + cond["tokens"].mean((1, 2))[:, None, None, None] + t[:, None, None, None] / 1000

    def decode(self, latents):
        return (latents * 40 + 128).round().clamp(0, 255).permute(0, 2, 3, 1).byte()


def lazily(form, inputs, played=tuple):
    """A form for plans, with an engine of its own."""
    return form, lambda: inputs, lambda: Base(form, lambda: inputs, played)


def order(form, inputs, backend=BACKEND):
    return Order(backend, form, Signature.of(inputs), tuple)


def key_of(networks, made):
    return engine_key(networks, made.backend, made)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def case(frames=1, mode="none"):
    """A form, and inputs with something in them."""
    lane: Lane[int] = open_lane(Form(mode), prepare(Form(mode), SETTING, dtype=torch.float32), frames)
    for tensor in (*lane.rows.cond.values(), *lane.rows.negative.values()):
        tensor.data = tensor.float()
    cond, negative = ({k: v.float() for k, v in each.items()} for each in (lane.rows.cond, lane.rows.negative))
    rows = lane.rows._replace(
        x=torch.randn(lane.rows.x.shape).to(memory_format=torch.channels_last), cond=cond, negative=negative
    )
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (frames, H, W, C), np.uint8))
    return (LaneForm(lane.layout, frames, frames),), Inputs({0: pixels}, [rows], {})


def assert_equal_to_the_graph(run, networks, form, inputs):
    expected = TickGraph(networks, form)(inputs)
    for actual, wanted in zip(run(inputs), expected, strict=True):
        assert torch.allclose(actual.float(), wanted.float(), atol=1 if wanted.dtype == torch.uint8 else 1e-4)
    assert expected.pictures is not None and expected.pictures.float().std() > 5


class Uncaptured(CudaGraph):
    """Runs the tick that a card would record."""

    def record(self, plain, signature):
        assert not torch.is_grad_enabled()
        return lambda inputs, occupied=None: Outputs(*plain(*signature.flatten(inputs)))


def test_a_plan_is_the_graph(store):
    networks, (form, inputs) = Networks(), case(frames=2, mode="full")
    run = Plans(networks, store).prepare(BACKEND, *lazily(form, inputs)).result(60)
    assert_equal_to_the_graph(run, networks, form, inputs)
    other = inputs._replace(entering={0: 255 - inputs.entering[0]})  # at other addresses
    assert_equal_to_the_graph(run, networks, form, other)
    inputs.entering[0].zero_()  # and in place
    run(inputs)
    assert torch.equal(run(inputs).latents, run(inputs).latents)


def test_a_tick_in_which_nothing_leaves_is_the_graph_without_its_pictures(store):
    networks, (form, inputs) = Networks(), case(frames=2, mode="full")
    run = Plans(networks, store).prepare(BACKEND, *lazily(form, inputs)).result(60)
    frames, rows = form[0].layout.frames, form[0].layout.rows
    made, expected = run(inputs, [[row < rows - frames for row in range(rows)]]), TickGraph(networks, form)(inputs)
    assert made.pictures is None
    for actual, wanted in zip(made[1:], expected[1:], strict=True):
        assert torch.allclose(actual[:-frames], wanted[:-frames], atol=1e-4)
    assert_equal_to_the_graph(run, networks, form, inputs)


@pytest.mark.parametrize(("steps", "calls"), [(1, []), (2, [None])])
def test_a_first_call_is_made_where_first_ticks_run_beside_others(steps, calls):
    (lane,), inputs = case()
    made = []
    form = (lane._replace(layout=replace(lane.layout, stages=steps)),)
    first_call(lambda given, occupied=None: made.append(occupied), Order(BACKEND, form, Signature.of(inputs), tuple))
    assert made == calls


def test_what_is_recorded_is_the_graph_and_leaves_nothing_on_disk(store):
    networks, (form, inputs) = Networks(), case(frames=2, mode="full")
    run = Plans(networks, store).prepare(Uncaptured("float32"), *lazily(form, inputs)).result(60)
    assert all(map(torch.equal, run(inputs), TickGraph(networks, form)(inputs)))
    assert store.entries() == []


def test_what_a_plan_gave_is_the_callers_own(store):
    form, inputs = case()
    run = Plans(Networks(), store).prepare(BACKEND, *lazily(form, inputs)).result(60)
    first = run(inputs)
    kept = [each.clone() for each in first]
    run(inputs._replace(entering={0: 255 - inputs.entering[0]}))
    assert all(map(torch.equal, first, kept))


def test_plans_of_several_models_are_built_at_once(tmp_path):
    cases = [case(frames) for frames in (1, 2, 3, 4)]
    models = [Networks(f"model {i}") for i in range(len(cases))]
    plans = [Plans(model, Store(tmp_path)) for model in models]
    runs = [each.prepare(BACKEND, *lazily(*one)) for each, one in zip(plans, cases, strict=True)]
    for run, model, one in zip(runs, models, cases, strict=True):
        assert_equal_to_the_graph(run.result(60), model, *one)


def test_what_is_recorded_is_so_alone_and_gives_the_interpreter_up_soon(tmp_path):
    usual, intervals, recording = sys.getswitchinterval(), set(), []

    class Watched(Uncaptured):
        def record(self, *given):
            intervals.add(round(sys.getswitchinterval(), 5))
            recording.append(1)
            time.sleep(0.05)
            assert recording.pop() and not recording
            return super().record(*given)

    cases = [case(frames) for frames in (1, 2, 3, 4)]
    plans = [Plans(Networks(), Store(tmp_path)) for _ in cases]
    for run in [each.prepare(Watched("float32"), *lazily(*one)) for each, one in zip(plans, cases, strict=True)]:
        run.result(60)
    assert intervals == {1e-4}
    assert sys.getswitchinterval() == usual


def test_a_form_that_an_engine_serves_is_ready_at_once(store, caplog):
    caplog.set_level("INFO")
    networks, (form, inputs), plans = Networks(), case(mode="one-time-negative"), Plans(Networks(), store)
    plans.prepare(BACKEND, *lazily(form, inputs)).result(60)
    for other, read in (case(frames=3), case(frames=2, mode="full")):
        run = plans.prepare(BACKEND, other, lambda read=read: read, lambda: Base(form, pytest.fail, pytest.fail))
        assert run.done()
        assert_equal_to_the_graph(run.result(), networks, other, read)
        assert plans.prepare(BACKEND, other, pytest.fail, pytest.fail) is run
    assert len(plans) == 1
    assert caplog.text.count("building an engine") == 1


def test_ticks_go_with_their_engine_and_are_bounded_too(store):
    (form, inputs), cases = case(mode="one-time-negative"), [case(frames) for frames in (1, 2, 3)]
    plans = Plans(Networks(), store, kept=3)
    plans.prepare(BACKEND, *lazily(form, inputs)).result(60)
    base, (first, *others) = (
        Base(form, pytest.fail, pytest.fail),
        [(each, lambda read=read: read) for each, read in cases],
    )
    kept = plans.prepare(BACKEND, *first, lambda: base)
    for one in others:
        assert plans.prepare(BACKEND, *one, lambda: base) is not kept
    assert plans.prepare(BACKEND, *first, lambda: base) is kept  # three are kept, that of the engine's own form is not
    tight = Plans(Networks(), store, kept=1)
    before = tight.prepare(BACKEND, *lazily(form, inputs))
    before.result(60)
    tight.prepare(OpenVino("float32", 2), *lazily(form, inputs)).result(60)
    assert len(tight) == 1
    assert tight.prepare(BACKEND, *lazily(form, inputs)) is not before


def test_plans_are_bounded_and_the_one_used_last_stays(store):
    plans, cases = Plans(Networks(), store, kept=2), [case(frames) for frames in (1, 2, 3)]
    first, second = (plans.prepare(BACKEND, *lazily(*each)) for each in cases[:2])
    assert plans.prepare(BACKEND, *lazily(*cases[0])) is first
    plans.prepare(BACKEND, *lazily(*cases[2])).result(60)
    assert len(plans) == 2
    assert plans.prepare(BACKEND, *lazily(*cases[0])) is first
    assert plans.prepare(BACKEND, *lazily(*cases[1])) is not second


def test_plans_are_bounded_in_memory_and_the_one_used_last_stays(store):
    form, inputs = case(1)
    Plans(Networks(), store).prepare(BACKEND, *lazily(form, inputs)).result(60)
    size = 2 * store.entries()[0].size  # what lies on disk, and weights in the compiler's own order
    plans, cases = Plans(Networks(), store, limit=2.5 * size), [case(frames) for frames in (1, 2, 3)]
    for each in cases:
        plans.prepare(BACKEND, *lazily(*each)).result(60)
    kept = plans.prepare(BACKEND, *lazily(*cases[2]))
    assert len(plans) == 2
    assert plans.prepare(BACKEND, *lazily(*cases[2])) is kept
    tight = Plans(Networks(), store, limit=1)
    for each in cases[:2]:
        tight.prepare(BACKEND, *lazily(*each)).result(60)
    tight.prepare(BACKEND, *lazily(*cases[1]))
    assert len(tight) == 1


def test_a_second_start_compiles_nothing(store, caplog):
    caplog.set_level("INFO")
    networks, (form, inputs) = Networks(), case()
    for _ in range(2):
        run = Plans(networks, store).prepare(BACKEND, *lazily(form, inputs)).result(60)
        assert_equal_to_the_graph(run, networks, form, inputs)
    assert caplog.text.count("building an engine") == 1
    Plans(Networks("other weights"), store).prepare(BACKEND, *lazily(form, inputs)).result(60)
    assert caplog.text.count("building an engine") == 2


def test_an_engine_that_is_whole_and_none_of_this_machine_is_built_anew(store):
    networks, (form, inputs) = Networks(), case()
    key = key_of(networks, order(form, inputs))
    store.get(key, "", lambda: b"of another time")
    with pytest.warns(UserWarning, match="built anew"):
        run = Plans(networks, store).prepare(BACKEND, *lazily(form, inputs)).result(60)
    assert_equal_to_the_graph(run, networks, form, inputs)


def test_the_key_holds_everything_an_engine_depends_on():
    networks, (form, inputs) = Networks(), case()
    keys = [
        key_of(networks, order(form, inputs)),
        key_of(Networks("b"), order(form, inputs)),
        key_of(networks, order(form, inputs, replace(BACKEND, threads=2))),
        key_of(networks, order(form, inputs, replace(BACKEND, precision="bfloat16"))),
        key_of(networks, order(form, inputs, Inductor("float32", 1))),
        key_of(networks, order(case(mode="self-negative")[0], inputs)),
        key_of(networks, order(form, case(frames=2)[1])),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(Networks(), order(*case(), OpenVino("float32", 1))) == keys[0]


def test_what_is_played_is_computed_where_ranges_are_measured_and_nowhere_else(store):
    networks, (form, inputs) = Networks(), case()
    asked = []

    def played():
        for level in (0, 80, 160, 255):
            asked.append(level)
            pixels = torch.full_like(inputs.entering[0], level) // 2 + inputs.entering[0] // 2
            yield inputs._replace(entering={0: pixels})

    plans, expected = Plans(networks, store), TickGraph(networks, form)(inputs)
    plans.prepare(BACKEND, *lazily(form, inputs, played)).result(60)
    assert not asked
    run = plans.prepare(OpenVino("int8", 1), *lazily(form, inputs, played)).result(60)
    assert len(asked) == 4
    error = run(inputs).latents - expected.latents
    assert 0 < error.square().mean().sqrt() < 0.08 * expected.latents.std()  # 8 bits, and what the steps make of them


def test_what_is_played_is_kept_as_it_was_though_the_next_lies_where_it_lay(store, monkeypatch):
    """As a stream's inputs do: of 12 scenes the last would be measured 12 times."""
    form, inputs = case()
    place, given = torch.zeros_like(inputs.entering[0]), []

    def played():
        for level in (10, 80, 160):
            yield inputs._replace(entering={0: place.fill_(level)})

    def build(job):
        given.extend(
            max(int(tensor.max()) for tensor in tensors if tensor.dtype == torch.uint8) for tensors in job.played
        )
        raise RuntimeError("seen")

    monkeypatch.setattr(plans_room, "build", build)
    with pytest.raises(ModelError, match="seen"):
        Plans(Networks(), store).prepare(OpenVino("int8", 1), *lazily(form, inputs, played)).result(60)
    assert given == [10, 80, 160]


def test_what_it_is_called():
    form, _ = case(mode="full")
    assert describe(Networks(), BACKEND, form) == f"one convolution, openvino float32, latents {W}x{H}, any streams"
    own = f"latents {W}x{H}, 2 steps, 1 a tick, guidance full"
    assert describe(Networks(), Inductor("float32", 1), form) == f"one convolution, inductor float32, {own}"
    across = (form[0]._replace(layout=replace(form[0].layout, cross_frame=True)),)
    assert describe(Networks(), BACKEND, across) == f"one convolution, openvino float32, {own}"


class Impossible(Networks):
    """Networks with what no compiler of ticks knows."""

    def denoise(self, x, t, cond):
        return torch.linalg.svd(x)[0] @ x


def test_what_cannot_be_built_is_said_in_one_line_with_the_cure(store):
    building = Plans(Impossible(), store).prepare(BACKEND, *lazily(*case()))
    for _ in range(2):
        with pytest.raises(
            ModelError, match=r"backend openvino: cannot build this model \(.+\); use --backend eager"
        ) as e:
            building.result(60)
        assert "\n" not in str(e.value)
    assert store.entries() == []


def test_a_signature_gives_the_inputs_back():
    _, inputs = case(frames=2, mode="full")
    x = inputs.lanes[0].x.contiguous(memory_format=torch.channels_last)
    inputs = inputs._replace(lanes=[inputs.lanes[0]._replace(x=x)])
    signature = Signature.of(inputs)
    plain = signature.flatten(inputs)
    assert all(tensor.is_contiguous() for tensor in plain)
    assert [tuple(tensor.shape) for tensor in signature.zeros()] == [tuple(tensor.shape) for tensor in plain]
    again = signature.unflatten(plain)
    assert torch.equal(again.lanes[0].x, x) and again.lanes[0].x.data_ptr() == x.data_ptr()
    assert list(again.lanes[0].cond) == list(inputs.lanes[0].cond)
