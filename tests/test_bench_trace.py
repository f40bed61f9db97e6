"""Where a frame's time goes: the parts sum to the whole, and nothing is split that was not measured."""

import json
from argparse import Namespace
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image

from millstream.backends.openvino import OpenVino
from millstream.bench.cli import add_parser
from millstream.bench.setup import Plan, Setup
from millstream.bench.spans import Span, Spans, by_network, inside, watched
from millstream.bench.trace import ORDER, Trace, divide, trace
from millstream.engine import Engine
from millstream.errors import MillstreamError
from millstream.options import Parser
from tests import tiny
from tests.media_files import clip

FRAMES = 6
PICTURE = str(tiny.ROOT / "picture.png")


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup.load(Plan(str(tiny.small()), FRAMES, source=str(clip("bikes"))))


@pytest.fixture(scope="module", params=["eager", "openvino"])
def seen(request: pytest.FixtureRequest, setup: Setup) -> Trace:
    return trace(setup, 3, request.param)


def parse(*words: str) -> Namespace:
    parser = Parser(prog="millstream")
    add_parser(parser.add_subparsers(required=True))
    return parser.parse_args(["bench", "trace", *words])


def test_the_parts_sum_to_the_whole(seen: Trace):
    parts = seen.parts()
    assert list(parts) == [name for name in ORDER if name != "tick"]
    assert len(seen.frames) == FRAMES
    for frame, *split in zip(seen.frames, *parts.values(), strict=True):
        assert sum(split) == pytest.approx(frame.end - frame.start, abs=1e-9)
        assert all(part > 0 for part in split)


def test_the_denoiser_is_most_of_a_tick_of_the_tiny_model(seen: Trace):
    parts = {name: sum(seconds) for name, seconds in seen.parts().items()}
    assert parts["denoise"] > parts["encode"] + parts["decode"]


def test_frames_follow_one_another_without_a_gap(seen: Trace):
    assert all(one.end == other.start for one, other in pairwise(seen.frames))


def test_a_back_end_that_does_not_tell_is_one_part():
    spans = [Span("waiting", 0.5, 1.0), Span("tick", 2.0, 5.0)]
    assert divide(Span("frame", 0.0, 6.0), spans) == {"waiting": 0.5, "tick": 3.0, "pre": 1.5, "post": 1.0}


def test_networks_within_a_tick_leave_the_step():
    spans = [Span("tick", 2.0, 12.0), *inside(Span("tick", 2.0, 12.0), {"encode": 0.1, "denoise": 0.6, "decode": 0.2})]
    assert [span.start for span in spans[1:]] == pytest.approx([2, 3, 9])
    parts = divide(Span("frame", 0.0, 13.0), spans)
    assert parts == pytest.approx({"encode": 1, "denoise": 6, "decode": 2, "step": 1, "pre": 2, "post": 1})


def test_spans_of_an_eager_tick():
    spans = [Span("waiting", 0.0, 1.0), Span("encode", 2.0, 3.0), Span("denoise", 4.0, 7.0), Span("decode", 7.5, 8.0)]
    assert divide(Span("frame", 0.0, 9.0), spans) == pytest.approx(
        {"waiting": 1, "encode": 1, "denoise": 3, "decode": 0.5, "step": 1.5, "pre": 1, "post": 1}
    )


def test_nodes_belong_where_their_names_say():
    nodes = [
        ("aten::to/Convert", 1.0),
        ("Reshape_1", 2.0),
        ("__module.parts.1.encoder.layers.0/aten::_convolution/Convolution", 4.0),
        ("MVN_2", 8.0),
        ("aten::add/Add", 16.0),
        ("__module.parts.0.unet.conv_in/aten::_convolution/Convolution", 32.0),
        ("Multiply_3", 64.0),
        ("aten::mul/Multiply_9", 128.0),
        ("__module.parts.1.decoder/aten::tanh/Tanh", 256.0),
        ("Convert_4", 512.0),
        ("__module.parts.1.quant_conv/aten::_convolution/Convolution", 1024.0),
        ("__module.parts.1.post_quant_conv/aten::_convolution/Convolution", 2048.0),
    ]
    assert by_network(nodes) == {"encode": 4 + 8 + 1024, "denoise": 32 + 64, "decode": 256 + 512 + 2048}


def test_what_runs_in_a_tick_is_counted_and_what_does_not_is_not(setup: Setup):
    """One frame on its way through eight stages, of which the build's call had them all."""
    spans, case = Spans(torch.device("cpu")), setup.case(8, "openvino")
    engine = Engine(case.model)
    session = engine.open(case.config, case.params)
    session.backend = watched(OpenVino("float32", threads=2), spans)
    engine.prepare(session).result()
    engine.tick({session: list(setup.moving(1))})
    while session.busy:
        engine.tick({session: ()})
    run = engine.prepare(session).result()
    assert len(run.ticks) == 9
    ran = Counter(
        run.run.tasks[requests.index(one)].graph
        for requests in run.run.requests
        for one in requests
        if one in run.run.runs
        for _ in range(run.run.runs[one])
    )
    assert ran == {"enter": 2, "row": 8, "late row": 8, "leave": 2}
    assert all(share > 0 for share in run.shares().values())
    assert sum(run.shares().values()) <= 1


def test_chromes_form(seen: Trace):
    events = json.loads(seen.chrome())["traceEvents"]
    names = [event["args"]["name"] for event in events if event["ph"] == "M"]
    assert names == ["engine", "source", *(f"frames in flight, {lane}" for lane in (1, 2, 3))]
    spans = [event for event in events if event["ph"] == "X"]
    assert {"frame", "waiting", "encode", "denoise", "decode", "reading", "in flight"} <= {e["name"] for e in spans}
    assert all(event["dur"] >= 0 and set(event) == {"ph", "name", "pid", "tid", "ts", "dur"} for event in spans)
    flights = [event for event in spans if event["name"] == "in flight"]
    assert len(flights) == FRAMES - 2
    for lane in {event["tid"] for event in flights}:
        mine = [event for event in flights if event["tid"] == lane]
        assert all(a["ts"] + a["dur"] <= b["ts"] + 1 for a, b in pairwise(mine))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options = parse(
        "--model", str(tiny.small()), "--frames", "3", "--backend", "eager", f"--chrome={tmp_path / 't.json'}"
    )
    assert options.run(options) == 0
    shown = capsys.readouterr().out
    assert "millstream eager float32, 2 steps, 32x32" in shown
    assert [line.split("|")[1].strip() for line in shown.splitlines() if line.startswith("|")][2:] == [
        *(name for name in ORDER if name != "tick"),
        "whole",
    ]
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--chrome", "no/such/folder/t.json"], "no such folder"),
        (["--frames", "3", "--backend", "eager", "--source", PICTURE], "picture.png: has 1 frames of 9"),
        (["--steps", "0"], "give 1 to 25"),
    ],
)
def test_faults_are_one_line(words: list[str], fault: str):
    Image.new("RGB", (32, 32)).save(PICTURE)
    with pytest.raises(MillstreamError, match=fault) as caught:
        options = parse("--model", str(tiny.small()), *words)
        options.run(options)
    assert "\n" not in str(caught.value)
