"""A tick in parts is the tick: to the last bit as PyTorch computes it, and as OpenVINO's engines side by side."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from millstream.backends import gentle, openvino
from millstream.backends.apart import DECODE, DENOISE, ENCODE, ENTER, STEP, TICK, Apart, shares
from millstream.backends.openvino import OpenVino, split
from millstream.backends.plain import Signature
from millstream.backends.shares import Request, SharedRequest
from millstream.backends.workshop import Job
from millstream.core.graph import Inputs, LaneForm, TickGraph
from millstream.core.rows import Layout
from tests.oracle import SHAPE, Form, Setting, open_lane, prepare
from tests.test_backends_plans import Networks, assert_equal_to_the_graph

C, H, W = SHAPE
LEVELS = (900, 700, 500, 300)


class Stream(NamedTuple):
    """A lane of a tick."""

    steps: int
    mode: str = "none"
    frames: int = 1
    enters: bool = True


CASES = {  # the lanes of a tick, and how many shares their rows make for three threads
    "one row": ([Stream(1)], 1),
    "two rows": ([Stream(2)], 2),
    "three rows": ([Stream(3)], 3),
    "five rows": ([Stream(2), Stream(3)], 1),
    "text": ([Stream(2, enters=False)], 2),
    "full guidance": ([Stream(2, "full")], 2),
    "full guidance, three steps": ([Stream(3, "full")], 3),
    "one-time negative, frames together": ([Stream(2, "one-time-negative", frames=2)], 3),
    "many": ([Stream(2, "full"), Stream(3, "self-negative", frames=2), Stream(2, enters=False)], 3),
}


def case(streams):
    """A form, and inputs with something in them."""
    rng, lanes, form, pixels = np.random.default_rng(0), [], [], {}
    for place, (steps, mode, frames, enters) in enumerate(streams):
        lane = open_lane(Form(mode), prepare(Form(mode), Setting(LEVELS[:steps]), dtype=torch.float32), frames)
        named = lane.rows.cond, lane.rows.negative
        cond, negative = ({name: torch.rand(value.shape) for name, value in each.items()} for each in named)
        x, reference = (torch.randn(lane.rows.x.shape).to(memory_format=torch.channels_last) for _ in range(2))
        lanes.append(lane.rows._replace(x=x, reference=reference, cond=cond, negative=negative))
        form.append(LaneForm(lane.layout, frames if enters else 0, frames))
        if enters:
            pixels[place] = torch.from_numpy(rng.integers(0, 256, (frames, H, W, C), np.uint8))
    return tuple(form), Inputs(pixels, lanes, {})


@pytest.mark.parametrize(("streams", "count"), CASES.values(), ids=CASES)
def test_the_parts_one_after_another_are_the_tick(streams, count):
    networks, (form, inputs) = Networks(), case(streams)
    signature = Signature.of(inputs)
    assert shares(form, 3) == count
    apart, plain = Apart(form, signature, count), signature.flatten(inputs)
    given, expected = apart.given(networks, tuple(plain)), TickGraph(networks, form)(inputs)
    assert list(given) == list(apart.names)
    latents = apart.part(apart.names[-2], networks)(*given[apart.names[-2]])
    for actual, wanted in zip(latents, expected[1:], strict=True):
        assert torch.equal(actual.permute(0, 3, 1, 2), wanted)
    assert torch.equal(apart.part(DECODE, networks)(*given[DECODE])[0], expected.pictures)
    if count > 1:
        made = [apart.part(DENOISE, networks)(*share)[0] for share in split(given[DENOISE], count)]
        assert len({len(share) for share in made}) == 1
        torch.testing.assert_close(torch.cat(made), given[STEP][0])


def test_only_ticks_whose_rows_come_out_even_are_cut_around_the_denoiser():
    for name, (streams, count) in CASES.items():
        form, inputs = case(streams)
        names = list(Apart(form, Signature.of(inputs), count).names)
        cut = [ENTER, DENOISE, STEP, DECODE] if name == "text" else [ENCODE, ENTER, DENOISE, STEP, DECODE]
        assert names == (cut if count > 1 else [TICK, DECODE])


@pytest.mark.parametrize("threads", range(1, 9))
def test_shares_are_as_large_and_as_many_as_threads_and_rows_allow(threads):
    for rows in range(1, 14):
        layout = Layout(rows, 1, SHAPE)
        count = shares((LaneForm(layout, 1, 1),), threads)
        assert count <= threads and rows % count == 0
        assert not [more for more in range(count + 1, min(rows, threads) + 1) if rows % more == 0]
        assert shares((LaneForm(Layout(rows, 1, SHAPE, cross_frame=True), 1, 1),), threads) == 1
    companions = LaneForm(Layout(2, 1, SHAPE, "one-time-negative"), 1, 1)
    assert shares((companions,), threads) == (3 if threads >= 3 else 1)


def test_what_is_passed_on_as_it_is_is_read_where_it_lies():
    """All of a single stream's conditioning; of several streams, or with companions, it is put together first."""
    for streams, conditioning in (([Stream(2)], True), ([Stream(2, "full")], False), ([Stream(2), Stream(2)], False)):
        form, inputs = case(streams)
        signature = Signature.of(inputs)
        apart, plain = Apart(form, signature, 2), signature.flatten(inputs)
        z = torch.zeros(sum(lane.entering for lane in form), H, W, C)
        entered = apart.entered(z, *plain)
        assert [place for _, place in entered] == apart.passed()
        for tensor, place in entered:
            assert place is None or torch.equal(tensor, plain[place])
        asked = apart.passed()[2 : 2 + len(inputs.lanes[0].cond)]
        assert all(place is not None for place in asked) == conditioning


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("streams", [streams for streams, _ in CASES.values()], ids=CASES)
def test_engines_side_by_side_are_the_graph(streams, threads):
    networks, (form, inputs), backend = Networks(), case(streams), OpenVino("float32", threads)
    signature = Signature.of(inputs)
    run = backend.load(Job(backend, networks, form, signature, ()).build(), form, signature, pytest.fail)
    assert type(run) is (Request if shares(form, threads) == 1 else SharedRequest)
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


def test_large_networks_stay_whole(monkeypatch):
    networks, (form, inputs), backend = Networks(), case([Stream(2)]), OpenVino("float32", 2)
    signature = Signature.of(inputs)
    weights = sum(weight.nbytes for weight in networks.parts[0].parameters())
    for limit, kind in ((weights, SharedRequest), (weights - 1, Request)):
        monkeypatch.setattr(openvino, "LIGHT", limit)
        run = backend.load(Job(backend, networks, form, signature, ()).build(), form, signature, pytest.fail)
        assert type(run) is kind
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
