"""A tick in tasks is the tick: as PyTorch computes them one by one, for any lanes."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from millstream.backends.plain import Signature
from millstream.backends.tasks import (
    ENTER,
    GUIDE,
    LATE,
    LATENTS,
    LEAVE,
    PICTURES,
    REFERENCE,
    ROW,
    WHOLE,
    F,
    Place,
    after,
    channels_first,
    channels_last,
    graphs,
    kept,
    run,
    tasks,
    together,
    urgency,
    width,
)
from millstream.core.graph import Inputs, LaneForm, TickGraph
from millstream.core.guidance import Mode
from tests.oracle import MODES, SHAPE, TOLERANCE, Form, Setting, open_lane, prepare
from tests.test_backends_plans import Networks

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


def crossed(form):
    """The form, with cross-frame attention in its last stream."""
    last = form[-1].layout
    return (*form[:-1], form[-1]._replace(layout=replace(last, cross_frame=True)))


def of(form, inputs):
    """The tasks of a tick, and the inputs as plain tensors."""
    signature = Signature.of(inputs)
    return tasks(form, signature, inputs), signature


@given(st.lists(streams(), min_size=1, max_size=3), st.booleans())
def test_the_tasks_together_are_the_tick(streams, cross):
    networks, (form, inputs) = Exact(), case(streams, torch.float64)
    form = crossed(form) if cross else form  # these networks do not look across: the numbers are the same
    made, signature = of(form, inputs)
    written = {}
    for task, _, results in run(made, graphs(networks, form, signature)):
        for place, result in zip(task.writes, results, strict=True):
            if place:
                written |= {(place.name, place.rows.start + i): row for i, row in enumerate(result)}
    expected, rows = TickGraph(networks, form)(inputs), sum(lane.layout.rows for lane in form)
    for lane, own, row in kept(form):
        reference = channels_last(inputs.lanes[lane].reference[own])
        written |= {(REFERENCE, row.start + i): each for i, each in enumerate(reference)}
    for name, wanted in zip(LATENTS, expected[1:], strict=True):
        actual = channels_first(torch.stack([written[name, row] for row in range(rows)]))
        torch.testing.assert_close(actual, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    pictures = [written[key] for key in sorted(written) if key[0] == PICTURES]
    assert len(pictures) == sum(lane.leaving for lane in form)
    if pictures:  # at half a step, either is right
        assert ((torch.stack(pictures).int() - expected.pictures.int()).abs() <= 1).all()


@given(st.lists(streams(), min_size=1, max_size=3), st.booleans())
def test_what_a_task_reads_of_the_inputs_lies_where_it_was(streams, cross):
    form, inputs = case(streams)
    storages = {tensor.untyped_storage().data_ptr() for tensor in inputs.tensors}
    read = [each for task in of(crossed(form) if cross else form, inputs)[0] for each in task.reads]
    assert all(each.untyped_storage().data_ptr() in storages for each in read if not isinstance(each, Place))


@given(st.lists(streams(), min_size=1, max_size=3), st.booleans())
def test_a_task_waits_for_those_before_it_whose_results_it_reads_and_for_no_other(streams, cross):
    form, inputs = case(streams)
    made, _ = of(crossed(form) if cross else form, inputs)
    for i, (task, before) in enumerate(zip(made, after(made), strict=True)):
        reads = {(each.name, row) for each in task.reads if isinstance(each, Place) for row in rows(each)}
        writes = {
            j: {(each.name, row) for each in other.writes if each for row in rows(each)} for j, other in enumerate(made)
        }
        assert before == {j for j in writes if reads & writes[j]}
        assert all(j < i for j in before)
        assert reads <= set().union(*(writes[j] for j in before))


def rows(place):
    return range(place.rows.start, place.rows.stop)


def test_a_task_is_as_urgent_as_what_waits_for_it_is_long():
    made, _ = of(*case([Stream(2, "one-time-negative")]))
    assert [task.graph for task in made] == [ENTER, ROW, ROW, GUIDE, LATE, LEAVE]
    assert urgency(made) == pytest.approx([1.3, 1, 1, 0, 1.5, 0.5])


@pytest.mark.parametrize(("steps", "late"), [(1, 0), (2, 1), (3, 1), (4, 2)])
def test_rows_of_the_later_half_of_the_stages_have_a_graph_apart(steps, late):
    made, _ = of(*case([Stream(steps, "full", frames=2, enter=2, leave=2)]))
    graphs = [task.graph for task in made if task.graph in (ROW, LATE)]
    assert graphs == [ROW] * 4 * (steps - late) + [LATE] * 4 * late


def test_a_task_is_needed_for_its_rows_alone():
    made, _ = of(*case([Stream(2), Stream(1, "full", frames=2, enter=2, leave=1)]))
    marks = [[False, True], [True, False]]
    assert [task.graph for task in made if task.needed(marks)] == [LATE, LEAVE, ENTER, ROW, ROW, GUIDE, LEAVE]
    assert [task.writes[0] for task in made if task.needed(marks) and task.graph == LEAVE] == [
        Place(PICTURES, slice(0, 1)),
        Place(PICTURES, slice(1, 2)),
    ]
    assert not any(task.needed([[False, False], [False, False]]) for task in made)


@pytest.mark.parametrize(
    ("streams", "rows"),
    [([Stream(1)], 1), ([Stream(1, "full")], 2), ([Stream(4, "one-time-negative"), Stream(2, frames=3)], 11)],
)
def test_as_many_tasks_run_side_by_side_as_there_are_rows(streams, rows):
    form, _ = case(streams)
    assert width(form) == rows
    assert width(crossed(form)) == 1


def test_where_rows_need_each_other_they_are_one_task():
    form, inputs = case([Stream(2), Stream(1, frames=2, enter=2, leave=2)])
    assert not together(form) and together(crossed(form))
    made, _ = of(crossed(form), inputs)
    assert [task.graph for task in made] == [WHOLE, LEAVE, LEAVE, LEAVE]
    assert made[0].writes[0] == Place(F, slice(0, 4))
    assert after(made) == [set(), {0}, {0}, {0}]


def test_tensors_stand_in_the_order_of_pytorchs_trees():
    for made in (case([Stream(2, "full")]), case([Stream(2, enter=0), Stream(3, "one-time-negative", frames=2)])):
        inputs = made[1]._replace(attention={"bias": torch.zeros(1), "more": torch.zeros(2)})
        assert [id(each) for each in inputs.tensors] == [id(each) for each in pytree.tree_leaves(inputs)]
