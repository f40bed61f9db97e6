"""`bench live`: its rows, its bounds, and short runs of the real server with and without a browser."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import isfinite
from subprocess import PIPE, Popen
from time import monotonic

import numpy as np
import psutil
import pytest

from millstream.bench.cli import add_parser
from millstream.bench.live import browser
from millstream.bench.live.cases import TRANSPORT, Bench, Plan
from millstream.bench.live.client import Stamped, python_client, read_number, write_number
from millstream.bench.live.engine import Straight
from millstream.bench.live.kill import killed
from millstream.bench.live.report import Gate, LiveReport, Row, figures_of
from millstream.bench.live.server import Load, Meter, Server, serving, serving_straight
from millstream.bench.live.soak import Sample, cycles, growth, soak
from millstream.bench.live.swap import Show, swaps
from millstream.bench.live.watch import NUMBERS, Seen, Tally
from millstream.errors import BadInputError, MillstreamError
from millstream.options import Parser
from millstream.params import Params, StreamConfig
from tests import tiny, toy


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving_straight(0.0, "embedded") as running:
        yield running


def parse(*words: str) -> Namespace:
    parser = Parser(prog="millstream")
    add_parser(parser.add_subparsers(required=True))
    return parser.parse_args(["bench", *words])


@pytest.mark.parametrize("number", [0, 1, 21845, NUMBERS - 1])
def test_a_number_in_the_pixels_is_read_back(number: int) -> None:
    picture = np.full((512, 512, 3), 90, np.uint8)
    write_number(picture, number)
    noise = np.random.default_rng(number).integers(-60, 60, picture.shape)
    assert read_number(np.clip(picture + noise, 0, 255).astype(np.uint8)) == number


def test_pictures_are_counted_once_and_told_apart_from_older_ones() -> None:
    tally = Tally()
    for number in (NUMBERS - 2, NUMBERS - 1, NUMBERS - 1, 0, 2, 1, 3):
        tally.note(number, age=float(number), labelled=True)
    tally.note(900, age=1.0, labelled=False)
    assert tally.take(2.0, 8) == Seen(2.0, [NUMBERS - 2, NUMBERS - 1, 0, 2, 1, 3], 8, 1, 1)
    assert tally.take(1.0, 0).ages == []


def test_the_source_moves_everywhere_and_keeps_its_beat() -> None:
    source = Stamped()
    pictures = [picture for picture, _ in zip(source, range(4), strict=False)]
    assert [read_number(picture) for picture in pictures] == [0, 1, 2, 3]
    for one, other in pairwise(pictures):
        assert np.mean(np.any(one != other, axis=-1)) > 0.9
    moments = source.moments[:4]
    assert np.all(np.diff(moments) > 0)
    assert moments[3] - moments[0] > 2.5 / 30


def test_a_row_says_which_bounds_it_keeps() -> None:
    figures = figures_of(Seen(2.0, [float(age) for age in range(1, 62)], 63, 1, 0), Load(12.3, 45.6))
    assert (figures["fps"], figures["age_ms_p50"], figures["age_ms_p95"]) == (30.5, 31.0, 58.0)
    assert (figures["not_shown"], figures["cpu_server"], figures["cpu_client"]) == (2, 12.3, 45.6)
    row = Row("transport", "page", "vp8", figures, [Gate("fps", ">=", 30), Gate("out_of_order", "<=", 0)])
    report = LiveReport({"cores": 2}, "How.", [row], [], ["a remark"])
    (found,) = json.loads(report.json())["rows"]
    assert {name: found[name] for name in ("case", "codec", "age_ms_p99")} == {
        "case": "transport",
        "codec": "vp8",
        "age_ms_p99": 60.4,
    }
    assert [gate["met"] for gate in found["gates"]] == [True, False]
    assert "fps >= 30: met; out_of_order <= 0: MISSED |" in report.markdown()


@pytest.mark.parametrize("case", ["transport", "python"])
def test_a_stream_that_stumbles_misses_a_bound(case: str) -> None:
    seen = Seen(20.0, [10.0] * 300, 600, 0, 0)
    row = Row(case, "page", "vp8", figures_of(seen, Load(1.0, 1.0)), TRANSPORT)
    assert [gate.figure for gate in row.gates if not gate.met(row.figures)] == ["fps"]


def test_no_picture_at_all_is_an_error_and_no_row() -> None:
    with pytest.raises(MillstreamError, match=r"no picture was shown in 20\.0 s.*doctor"):
        figures_of(Seen(20.0, [], 600, 0, 0), Load(1.0, 1.0))


class Blind:
    """A watch that never sees a picture."""

    codec, backend = "jpeg", "eager"

    def see(self, seconds: float) -> Seen:
        return Seen(seconds, [], 5, 0, 0)


def test_a_soak_without_pictures_is_an_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.bench.live.soak.SAMPLE", 0.01)
    with pytest.raises(MillstreamError, match="no picture was shown"):
        soak("transport", Blind(), server, 0.001)


def test_a_missed_bound_is_in_the_report_and_the_command_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Row("python", "python", "jpeg", {"fps": 12.0}, [Gate("fps", ">=", 29)])
    monkeypatch.setattr("millstream.bench.live.cases.measure", lambda plan: LiveReport({}, "How.", [row], [], []))
    options = parse("live", "--quick")
    assert options.run(options) == 0
    assert "fps >= 29: MISSED" in capsys.readouterr().out


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_pictures_come_back_to_the_python_client_with_their_numbers(server: Server, codec: str) -> None:
    with python_client(server.url, codec, stamped=True) as watch:
        watch.see(0.3)
        meter = Meter(server)
        seen = watch.see(1.0)
        assert watch.codec == codec
    load = meter.read()
    assert len(seen.ages) >= 3
    assert min(seen.ages) > 0
    assert (seen.out_of_order, seen.mislabelled) == (0, 0)
    assert load.server > 0
    assert load.client > 0


def test_a_process_that_ends_takes_nothing_back(server: Server) -> None:
    busy = "from time import process_time\nwhile process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    with Popen([sys.executable, "-c", busy], stdin=PIPE, stdout=PIPE, text=True) as child:
        assert child.stdout
        child.stdout.readline()
        meter = Meter(server)
        child.communicate("\n")
    assert meter.read().client >= 0
    assert meter.read().server >= 0


def test_the_straight_engine_takes_its_time_and_gives_every_picture_back() -> None:
    engine = Straight(toy.ToyModel(), seconds=0.05)
    session = engine.open(StreamConfig(steps=3, backend="eager"), Params(), version=7)
    begun = monotonic()
    (shown,) = engine.tick({session: [toy.frame(4)]})[session]
    assert monotonic() - begun >= 0.05
    assert (shown.id, shown.version) == (4, 7)
    assert np.array_equal(shown.pixels, toy.picture(4))
    assert engine.tick({session: []}) == {session: []}
    assert not session.busy


def test_clients_that_leave_or_are_cut_off_leave_nothing(server: Server) -> None:
    row = cycles(server, 3)
    assert row.figures["cycles"] == 3
    assert row.figures["sessions"] == 1
    assert all(gate.met(row.figures) for gate in row.gates), row.told()


def test_a_soak_tells_slopes_and_what_each_holds(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.bench.live.soak.SAMPLE", 0.5)
    with python_client(server.url, "jpeg", stamped=True) as watch:
        row = soak("transport", watch, server, 0.001)
    assert row.case == "soak, transport"
    assert {f"{who}_mib_a_minute" for who in ("server", "worker", "client")} <= set(row.figures)
    assert row.figures["server_mib"] > 20
    assert row.figures["worker_mib"] > 20
    assert row.figures["client_mib"] >= 0.9 * psutil.Process().memory_info().rss / 2**20
    assert isfinite(row.figures["age_ms_growth"])
    assert row.figures["age_ms_growth_error"] > 0
    assert isfinite(row.figures["paced_ms_growth"])
    assert [gate.figure for gate in row.gates] == [
        "server_mib_a_minute", "worker_mib_a_minute", "age_ms_growth", "paced_ms_growth", "out_of_order"
    ]  # fmt: skip


@pytest.mark.parametrize("slope", [-3.0, 0.0, 7.0])
def test_growth_of_a_line_is_its_own_and_without_error(slope: float) -> None:
    found = growth(list(90 + slope * np.linspace(0, 1, 144)))
    assert found.whole == pytest.approx(slope, abs=1e-9)
    assert found.error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dwell", [1, 12])
def test_the_error_of_growth_is_about_what_chance_brings(dwell: int) -> None:
    """Of a thousand runs without growth, of independent samples, or that dwell in two states as a full machine does."""
    rng = np.random.default_rng(0)
    runs = [np.repeat(rng.choice([92, 115], 144 // dwell), dwell) + rng.normal(0, 2, 144) for _ in range(1000)]
    found = [growth(list(run)) for run in runs]
    spread = np.std([each.whole for each in found])
    assert 0.6 * spread < np.median([each.error for each in found]) < 1.1 * spread


def test_a_queue_that_grows_shows_whatever_state_the_machine_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of a picture more in a quarter of an hour, and none: ages alone, 92 and 115 ms, would not tell."""
    for more in (0.0, 0.3):
        rng = np.random.default_rng(0)
        fps = np.repeat(rng.choice([20.4, 16.0], 15), 12)
        under_way = 1.87 + more * np.arange(180) / 180 + rng.normal(0, 0.03, 180)
        samples = iter([Sample((0.0, 0.0, 0.0), 1000 * w / f, f, 0) for w, f in zip(under_way, fps, strict=True)])
        monkeypatch.setattr("millstream.bench.live.soak._sample", lambda *_, samples=samples: next(samples))
        row = soak("a machine", Blind(), None, 15)  # type: ignore[arg-type]
        assert row.gates[3].met(row.figures) == (more == 0)
        assert row.figures["paced_ms_growth"] == pytest.approx(1000 * 0.8 * more / fps[36:].mean(), abs=1.5)


def test_a_soak_watches_the_transport_and_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.bench.live.soak.SAMPLE", 0.5)
    bench = Bench(Plan(1.0, 1, codecs=("jpeg",)), python_client, "python")
    bench.soak(0.001)
    transport, embedded = bench.trials
    assert [transport.case, embedded.case] == ["soak, transport", "soak, embedded"]
    assert embedded.figures["worker_mib"] > transport.figures["worker_mib"]  # it runs the model


def test_a_worker_that_is_killed_is_waited_for_no_longer_than_told() -> None:
    with serving("embedded", 64, 1) as server:
        row = killed(server)
        figures = row.figures
    assert 0 < figures["back_s"] <= figures["picture_s"]
    assert figures["load_s"] > 0
    assert figures["beyond_load_s"] == pytest.approx(max(0.0, figures["picture_s"] - figures["load_s"]), abs=0.02)
    assert [gate.figure for gate in row.gates] == ["beyond_load_s"]


def kept(monkeypatch: pytest.MonkeyPatch, measure: Callable[..., float]) -> list[float]:
    """What this method of Show gives from now on."""
    given: list[float] = []

    def noted(show: Show, *times: float) -> float:
        given.append(measure(show, *times))
        return given[-1]

    monkeypatch.setattr(Show, measure.__name__, noted)
    return given


def test_a_swap_tells_how_long_a_picture_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.bench.live.swap.SIDE", 32)
    monkeypatch.setattr("millstream.bench.live.swap.STEADY", 0.5)
    changes = {"up": {"steps": 4, "width": 48}, "back": {"steps": 2, "width": 32}}
    monkeypatch.setattr("millstream.bench.live.swap.CHANGES", changes)
    own, waits = kept(monkeypatch, Show.own_time), kept(monkeypatch, Show.longest)
    up, back = swaps(str(tiny.small()))
    assert [up.case, back.case] == ["swap, up", "swap, back"]
    for number, row in enumerate((up, back)):
        figures, (gap, building) = row.figures, waits[2 * number :][:2]
        frame = max(own[2 * number :][:2])  # before the change and after it
        assert figures["frame_ms"] == round(1e3 * frame, 1) > 0
        assert (figures["gap_ms"], figures["building_gap_ms"]) == (round(1e3 * gap, 1), round(1e3 * building, 1))
        assert figures["frames"] == pytest.approx(gap / frame, abs=0.01)
        assert figures["built_s"] >= 0


def test_the_longest_wait_is_that_which_falls_into_the_time() -> None:
    show = Show.__new__(Show)
    show.moments = [0.0, 1.0, 1.2, 3.2, 3.3]
    assert show.longest(1.0, 1.3) == pytest.approx(2.0)  # in part
    assert show.longest(3.25, 4.0) == pytest.approx(0.1)


@pytest.mark.skipif(browser.lacking() is not None, reason=f"{browser.lacking()}")
def test_the_page_is_read_back_from_its_canvas(server: Server) -> None:
    with browser.chromium() as chromium, browser.page(chromium, server.url, "vp8", stamped=True) as watch:
        watch.see(0.5)
        seen = watch.see(1.0)
        assert watch.codec == "vp8"
    assert len(seen.ages) >= 3
    assert min(seen.ages) > 0
    assert (seen.out_of_order, seen.mislabelled) == (0, 0)


def test_without_a_browser_it_is_said_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "NAMES", ("no-such-browser",))
    assert "install" in (browser.lacking() or "")


def test_options_of_other_kinds_are_refused() -> None:
    options = parse("--frames", "2", "live", "--quick")
    with pytest.raises(BadInputError, match="--frames"):
        options.run(options)


@pytest.mark.parametrize("minutes", ["0", "-1", "soon", "100000"])
def test_a_soak_of_no_length_is_refused(minutes: str) -> None:
    with pytest.raises(BadInputError, match="--soak"):
        parse("live", "--soak", minutes)
