"""OpenVINO's engines as ticks: one engine for every form, its tasks side by side, and idle where there is no frame."""

import os
import sys
from pathlib import Path
from threading import Barrier, Thread

import numpy as np
import pytest
import torch

from millstream.backends import gentle, openvino
from millstream.backends.openvino import OpenVino
from millstream.backends.plain import Signature
from millstream.backends.request import Todo, Turn
from millstream.backends.tasks import LEAVE, after, urgency
from millstream.backends.workshop import Job
from millstream.core.graph import TickGraph
from tests.test_backends_plans import Networks, assert_equal_to_the_graph
from tests.test_backends_tasks import Stream, case, crossed, of

STANDING = [Stream(2, "one-time-negative")]  # has tasks of every kind


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


def engine(threads=2, streams=STANDING, change=tuple, networks=None):
    """An engine of rows, loaded."""
    form, inputs = case(streams)
    backend, signature = OpenVino("float32", threads), Signature.of(inputs)
    made = Job(backend, networks or Networks(), change(form), signature, ()).build()
    return backend.load(made, change(form), signature, pytest.fail)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_one_engine_is_the_graph_of_every_form(threads):
    networks, ticks = Networks(), engine(threads)
    for streams in ENGINES.values():
        form, inputs = case(streams)
        run = ticks(form, Signature.of(inputs))
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


def test_an_engine_of_rows_that_need_each_other_is_their_graph():
    networks, streams = Networks(), ENGINES["many"]
    form, inputs = case(streams)
    run = engine(2, streams, crossed)(crossed(form), Signature.of(inputs))
    assert_equal_to_the_graph(run, networks, form, inputs)


@pytest.mark.parametrize("streams", ENGINES.values(), ids=ENGINES)
def test_engines_compute_what_is_occupied_and_leave_the_rest(streams):
    networks, (form, inputs) = Networks(), case(streams)
    run = engine(3)(form, Signature.of(inputs))
    expected, random = TickGraph(networks, form)(inputs), np.random.default_rng(1)
    counts = [lane.layout.rows for lane in form]
    for share in (0, 0.2, 0.2, 0.5, 0.5, 0.8, 1):
        for array in run.shared.values():  # what is not computed is seen
            array[:] = 77
        occupied = [random.random(rows) < share for rows in counts]
        made = run(inputs, occupied)
        rows = np.concatenate(occupied)
        for actual, wanted in zip(made[1:], expected[1:], strict=True):
            torch.testing.assert_close(actual[rows], wanted[rows], rtol=1e-4, atol=1e-4)
        assert bool((torch.stack((made.latents, made.x_next))[:, ~rows] == 77).all())
        leaves = np.concatenate(
            [each[len(each) - lane.layout.frames :] for each, lane in zip(occupied, form, strict=True)]
        )
        assert (made.pictures is None) == (not leaves.any())
        if made.pictures is not None:
            assert ((made.pictures[leaves].int() - expected.pictures[leaves].int()).abs() <= 1).all()
            assert (made.pictures[~leaves] == 77).all()


@pytest.mark.parametrize(
    ("threads", "streams", "workers"),
    [
        (1, [Stream(4)], 1),
        (2, [Stream(1)], 1),
        (2, [Stream(1, "full")], 2),
        (4, [Stream(3)], 2),  # of two cores each: three would leave one idle
        (4, [Stream(4, "full")], 4),
        (6, [Stream(3), Stream(2)], 3),
    ],
)
def test_as_many_threads_work_as_can_be_busy_each_with_as_many_cores(threads, streams, workers):
    ticks, (form, inputs) = engine(threads), case(streams)
    assert not ticks.ready(form)
    run = ticks(form, Signature.of(inputs))
    assert ticks.ready(form)
    assert len(run.requests) == workers + (workers > 1)  # and what is alone has all cores


def test_large_networks_have_all_cores_in_each_task(monkeypatch):
    networks, (form, inputs) = Networks(), case([Stream(2)])
    weights = sum(weight.nbytes for weight in networks.parts[0].parameters())
    for limit, sets in ((weights, 3), (weights - 1, 1)):
        monkeypatch.setattr(openvino, "LIGHT", limit)
        run = engine()(form, Signature.of(inputs))
        assert len(run.requests) == sets
        assert_equal_to_the_graph(run, networks, form, inputs)


def test_an_engine_takes_memory_for_each_thread_that_has_its_graphs():
    ticks, (form, inputs) = engine(), case([Stream(2)])
    alone = ticks.nbytes
    ticks(form, Signature.of(inputs))
    assert ticks.nbytes == 4 * alone > 0


def todo(streams):
    """What there is to do in a tick, and what its tasks are."""
    made, _ = of(*case(streams))
    urgent = urgency(made)
    return Todo(sorted(range(len(made)), key=lambda i: -urgent[i]), after(made)), [task.graph for task in made]


def test_the_most_urgent_task_that_is_ready_is_first_and_knows_whether_it_is_alone():
    left, graphs = todo([Stream(2)])
    assert graphs == ["enter", "row", "late row", "leave"]
    assert left.take() == Turn(2, alone=False)  # a row and the picture that leaves
    assert left.take() == Turn(0, alone=False)
    left.done(0)
    assert left.take() == Turn(1, alone=False)
    left.done(2)
    left.done(1)
    assert left.take() == Turn(3, alone=True)
    assert left.take() is None


def test_a_thread_waits_until_something_is_ready_and_none_waits_for_ever():
    left, _ = todo([Stream(1)])
    assert left.take() == Turn(0, alone=True)
    taken, waiting = [], [Thread(target=lambda: taken.append(left.take())) for _ in range(2)]
    for thread in waiting:
        thread.start()
    assert taken == []
    left.done(0)
    waiting[0].join(0.2)  # whichever of them has it
    left.give_up()
    for thread in waiting:
        thread.join(10)
    assert sorted(taken, key=str) == [None, Turn(1, alone=True)]


def test_what_is_not_to_be_done_nobody_waits_for():
    made, _ = of(*case([Stream(2)]))
    left = Todo([3], after(made))
    assert left.take() == Turn(3, alone=True)


def test_a_task_that_fails_ends_the_tick_and_the_next_is_whole():
    networks, (form, inputs) = Networks(), case([Stream(4)])
    run = engine()(form, Signature.of(inputs))
    infer, both = run._infer, Barrier(2, timeout=10)

    def fail(worker, task):
        both.wait()
        raise ValueError("no more memory")

    run._infer = fail
    with pytest.raises(ValueError, match="no more memory"):
        run(inputs)
    run._infer = infer
    assert_equal_to_the_graph(run, networks, form, inputs)


def test_nothing_is_decoded_where_nothing_leaves():
    (form, inputs), ran = case([Stream(3)]), []
    run = engine()(form, Signature.of(inputs))
    infer = run._infer
    run._infer = lambda worker, task: ran.append(run.tasks[task].graph) or infer(worker, task)
    assert run(inputs, [[True, False, False]]).pictures is None
    assert LEAVE not in ran and len(ran) == 2
    assert run(inputs, [[False, False, True]]).pictures is not None


@pytest.mark.skipif(sys.platform != "linux", reason="threads give way on Linux alone")
def test_what_is_loaded_beside_a_show_does_not_give_way_for_ever(monkeypatch):
    form, inputs = case([Stream(2)])
    for beside in (False, True):  # the first time OpenVINO begins its threads
        monkeypatch.setattr(gentle, "asked", lambda beside=beside: beside)
        run = engine()(form, Signature.of(inputs))
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
