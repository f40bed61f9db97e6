"""A tick in pieces is the tick: as PyTorch computes it, for any lanes, and as OpenVINO's engines side by side."""

import os
import sys
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from millstream.backends import gentle, openvino
from millstream.backends.openvino import OpenVino
from millstream.backends.pieces import count, cut, divided, length
from millstream.backends.plain import Signature
from millstream.backends.workshop import Job
from millstream.core.graph import Inputs, LaneForm, TickGraph
from millstream.core.guidance import Mode
from tests.oracle import MODES, SHAPE, TOLERANCE, Form, Setting, open_lane, prepare
from tests.test_backends_plans import Networks, assert_equal_to_the_graph

C, H, W = SHAPE
LEVELS = (900, 700, 500, 300)


class Stream(NamedTuple):
    """A lane of a tick; where the last groups are incomplete, fewer frames enter or leave than it has place for."""

    steps: int
    mode: Mode = "none"
    frames: int = 1
    enter: int = 1
    leave: int = 1


class Exact(Networks):
    """In float64."""

    def __init__(self):
        super().__init__()
        self.parts[0].double()


@st.composite
def streams(draw):
    frames = draw(st.integers(1, 3))
    enter, leave = (draw(st.integers(0, frames)) for _ in range(2))
    return Stream(draw(st.integers(1, 4)), draw(st.sampled_from(MODES)), frames, enter, leave)


def case(streams, dtype=torch.float32):
    """A form, and inputs with something in them."""
    rng, lanes, form, pixels = np.random.default_rng(0), [], [], {}
    torch.manual_seed(0)
    for place, stream in enumerate(streams):
        prepared = prepare(Form(stream.mode), Setting(LEVELS[: stream.steps]), dtype=dtype)
        lane = open_lane(Form(stream.mode), prepared, stream.frames)
        named = lane.rows.cond, lane.rows.negative
        cond, negative = (
            {name: torch.rand(value.shape, dtype=dtype) for name, value in each.items()} for each in named
        )
        x, reference, noise, entry = (
            torch.randn(each.shape, dtype=dtype).to(memory_format=torch.channels_last) for each in lane.rows[:4]
        )
        lanes.append(
            lane.rows._replace(x=x, reference=reference, noise=noise, entry_noise=entry, cond=cond, negative=negative)
        )
        form.append(LaneForm(lane.layout, stream.enter, stream.leave))
        if stream.enter:
            pixels[place] = torch.from_numpy(rng.integers(0, 256, (stream.frames, H, W, C), np.uint8))
    return tuple(form), Inputs(pixels, lanes, {})


@given(st.lists(streams(), min_size=1, max_size=3), st.integers(1, 6))
def test_the_pieces_together_are_the_tick(streams, threads):
    networks, (form, inputs) = Exact(), case(streams, torch.float64)
    pieces = cut(form, count(form, threads))
    made = [TickGraph(networks, piece.form)(piece.of(inputs)) for piece in pieces]
    expected = TickGraph(networks, form)(inputs)
    for name, wanted in expected._asdict().items():
        parts = [getattr(each, name) for each in made if getattr(each, name) is not None]
        if wanted is None:
            assert not parts
        elif wanted.dtype == torch.uint8:  # at half a step, either is right
            assert ((torch.cat(parts).int() - wanted.int()).abs() <= 1).all()
        else:
            torch.testing.assert_close(torch.cat(parts), wanted, rtol=TOLERANCE, atol=TOLERANCE)
    assert [piece.leaves for piece in pieces] == [each.pictures is not None for each in made]


@given(st.lists(streams(), min_size=1, max_size=3), st.integers(1, 6))
def test_what_a_piece_reads_lies_where_it_was(streams, threads):
    form, inputs = case(streams)
    storages = {tensor.untyped_storage().data_ptr() for tensor in inputs.tensors}
    for piece in cut(form, count(form, threads)):
        assert all(tensor.untyped_storage().data_ptr() in storages for tensor in piece.of(inputs).tensors)
        assert all(
            lane.layout.rows == len(rows.x) for lane, rows in zip(piece.form, piece.of(inputs).lanes, strict=True)
        )


def test_tensors_stand_in_the_order_of_pytorchs_trees():
    for made in (case([Stream(2, "full")]), case([Stream(2, enter=0), Stream(3, "one-time-negative", frames=2)])):
        inputs = made[1]._replace(attention={"bias": torch.zeros(1), "more": torch.zeros(2)})
        assert [id(each) for each in inputs.tensors] == [id(each) for each in pytree.tree_leaves(inputs)]


@given(st.lists(st.floats(0.1, 9), min_size=1, max_size=8), st.integers(1, 8))
def test_costs_are_divided_as_evenly_as_they_can_be(costs, most):
    runs = min(most, len(costs))

    def dearest(ends):
        return max(sum(costs[begin:end]) for begin, end in pairwise([0, *ends]))

    ways = [(*ends, len(costs)) for ends in combinations(range(1, len(costs)), runs - 1)]
    ends = divided(costs, runs)
    assert ends in ways
    assert dearest(ends) == min(map(dearest, ways))


@pytest.mark.parametrize(
    ("streams", "threads", "rows"),
    [
        ([Stream(1)], 2, [1]),
        ([Stream(2)], 2, [1, 1]),
        ([Stream(2)], 8, [1, 1]),
        ([Stream(3)], 2, [2, 1]),  # a decoder is dearer than an encoder
        ([Stream(3, enter=0)], 2, [2, 1]),
        ([Stream(2, "one-time-negative")], 2, [2, 1]),
        ([Stream(4, "one-time-negative")], 2, [3, 2]),
        ([Stream(2, "full")], 2, [2, 2]),
        ([Stream(1, frames=4, enter=4, leave=4)], 2, [2, 2]),
        ([Stream(1), Stream(1)], 2, [1, 1]),
        ([Stream(2), Stream(2), Stream(2)], 2, [3, 3]),
        ([Stream(4)], 3, [1, 2, 1]),
    ],
)
def test_no_thread_waits_longer_than_it_must(streams, threads, rows):
    form, _ = case(streams)
    pieces = cut(form, count(form, threads))
    assert [sum(length(each.rows) + length(each.negative) for each in piece.stretches) for piece in pieces] == rows


def test_where_rows_need_each_other_there_is_one_piece():
    form, _ = case([Stream(2), Stream(3)])
    layout = form[1].layout
    assert count((form[0], form[1]._replace(layout=layout.__class__(3, 1, SHAPE, cross_frame=True))), 4) == 1


ENGINES = {
    "one row": [Stream(1)],
    "two rows": [Stream(2)],
    "three rows": [Stream(3)],
    "five rows": [Stream(2), Stream(3)],
    "text": [Stream(2, enter=0)],
    "full guidance": [Stream(2, "full")],
    "frames of one stage": [Stream(1, "full", frames=3, enter=3, leave=3)],
    "one-time negative, frames together": [Stream(2, "one-time-negative", frames=2, enter=2, leave=2)],
    "many": [Stream(2, "full"), Stream(3, "self-negative", frames=2, enter=2, leave=2), Stream(2, enter=0)],
}


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("streams", ENGINES.values(), ids=ENGINES)
def test_engines_side_by_side_are_the_graph(streams, threads):
    networks, (form, inputs), backend = Networks(), case(streams), OpenVino("float32", threads)
    signature = Signature.of(inputs)
    run = backend.load(Job(backend, networks, form, signature, ()).build(), form, signature, pytest.fail)
    assert len(run.requests) == count(form, threads)
    assert_equal_to_the_graph(run, networks, form, inputs)
    _, other = case(streams)  # at other addresses
    other.lanes[0].cond["tokens"].mul_(-1)
    assert_equal_to_the_graph(run, networks, form, other)
    other.lanes[-1].x.add_(1)  # and in place
    assert_equal_to_the_graph(run, networks, form, other)
    kept = run(other)
    again = [each.clone() for each in kept]
    run(inputs)
    assert all(map(torch.equal, kept, again))  # what it gave is the caller's


@pytest.mark.parametrize("streams", ENGINES.values(), ids=ENGINES)
def test_engines_compute_what_is_occupied_and_leave_the_rest(streams):
    networks, (form, inputs), backend = Networks(), case(streams), OpenVino("float32", 3)
    signature = Signature.of(inputs)
    run = backend.load(Job(backend, networks, form, signature, ()).build(), form, signature, pytest.fail)
    expected, random = TickGraph(networks, form)(inputs), np.random.default_rng(1)
    counts = [lane.layout.rows for lane in form]
    for share in (0, 0.2, 0.2, 0.5, 0.5, 0.8, 1):
        for requests in run.requests:  # what is not computed is seen
            for output in (output for request in requests for output in request.output_tensors):
                output.data[:] = 77
        occupied = [random.random(rows) < share for rows in counts]
        made = run(inputs, occupied)
        rows = np.concatenate(occupied)
        for actual, wanted in zip(made[1:], expected[1:], strict=True):
            torch.testing.assert_close(actual[rows], wanted[rows], rtol=1e-4, atol=1e-4)
        idle = [not any(stretch_rows(piece, occupied)) for piece in cut(form, len(run.requests))]
        ends = np.cumsum([0, *(sum(lane.layout.rows for lane in piece.form) for piece in cut(form, len(idle)))])
        for is_idle, (begin, end) in zip(idle, pairwise(ends), strict=True):
            assert bool((made.latents[begin:end] == 77).all()) == is_idle
        leaves = np.concatenate(
            [each[len(each) - lane.layout.frames :] for each, lane in zip(occupied, form, strict=True)]
        )
        assert (made.pictures is None) == (not leaves.any())
        if made.pictures is not None:
            assert ((made.pictures[leaves].int() - expected.pictures[leaves].int()).abs() <= 1).all()


def stretch_rows(piece, occupied):
    """The marks of a piece's rows."""
    return [mark for stretch in piece.stretches for mark in occupied[stretch.place][stretch.rows]]


def test_large_networks_stay_whole(monkeypatch):
    networks, (form, inputs), backend = Networks(), case([Stream(2)]), OpenVino("float32", 2)
    signature = Signature.of(inputs)
    weights = sum(weight.nbytes for weight in networks.parts[0].parameters())
    for limit, pieces in ((weights, 2), (weights - 1, 1)):
        monkeypatch.setattr(openvino, "LIGHT", limit)
        run = backend.load(Job(backend, networks, form, signature, ()).build(), form, signature, pytest.fail)
        assert len(run.requests) == pieces
        assert_equal_to_the_graph(run, networks, form, inputs)


@pytest.mark.skipif(sys.platform != "linux", reason="threads give way on Linux alone")
def test_what_is_loaded_beside_a_show_does_not_give_way_for_ever(monkeypatch):
    networks, (form, inputs), backend = Networks(), case([Stream(2)]), OpenVino("float32", 2)
    signature = Signature.of(inputs)
    engine = Job(backend, networks, form, signature, ()).build()
    for beside in (False, True):  # the first time OpenVINO begins its threads
        monkeypatch.setattr(gentle, "asked", lambda beside=beside: beside)
        run = backend.load(engine, form, signature, pytest.fail)
        run(inputs)
    before = ran()
    for _ in range(50):
        run(inputs)
    worked = [task for task, time in ran().items() if time > before[task]]
    assert len(worked) > 1
    assert os.SCHED_IDLE not in [os.sched_getscheduler(task) for task in worked]


def ran():
    """Nanoseconds that every thread of this process has run."""
    return {
        int(task.name): int((task / "schedstat").read_text().split()[0]) for task in Path("/proc/self/task").iterdir()
    }
