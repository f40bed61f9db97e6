"""The paper's tables: complete, side by side, and their ratios right."""

import json
import sys
from argparse import Namespace
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from millstream.bench import ablation, energy, figure5, meters, paper, parity, scaling, systems, table1, table2
from millstream.bench.cli import PAPER_FRAMES, QUICK_FRAMES, RANDOM, add_parser
from millstream.bench.random_model import FORMS
from millstream.bench.report import Row
from millstream.bench.setup import Plan, Setup
from millstream.bench.timing import LEAD, TURN, Batch, Place, race
from millstream.engine import Engine
from millstream.errors import MillstreamError
from millstream.feed import Feed
from millstream.frame import Frame
from millstream.models.text import KEPT_PROMPTS
from millstream.options import Parser
from millstream.params import StreamConfig
from tests import tiny

FIELDS = {"table", "system", "steps", "case", "ms_median", "ms_p25", "ms_p75", "fps"}


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup.load(Plan(str(tiny.small()), 2))


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that no back end is for."""
    monkeypatch.setattr(Setup, "fastest", "eager")


def made(name: str, milliseconds: float) -> Row:
    return Row("any", name, 1, "any", milliseconds, milliseconds, milliseconds, 1000 / milliseconds)


def shape(rows: list[Row]) -> list[tuple[int, str]]:
    return [(row.steps, row.system) for row in rows]


def parse(*words: str) -> Namespace:
    parser = Parser(prog="millstream")
    add_parser(parser.add_subparsers(required=True))
    return parser.parse_args(["bench", *words])


class TestTables:
    def test_what_cannot_run_is_said_once(self, setup: Setup):
        forms = [("eager", "auto"), ("eager", "float16"), ("openvino", "float16")]
        found, left_out = table1.own_systems(setup, 1, forms)
        assert [system.name for system in found] == ["millstream eager float32"]
        assert [note.split(":")[1].split(" ")[2] for note in left_out] == ["float16", "float16"]
        assert all(note.startswith("Left out: ") and "\n" not in note for note in left_out)

    @pytest.mark.usefixtures("eager")
    def test_table2_runs_the_rows_that_its_modes_have(self, setup: Setup, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(table2, "STEPS", (1, 3))
        seen: list[int] = []
        hook = setup.model.denoiser.unet.register_forward_pre_hook(lambda unet, inputs: seen.append(len(inputs[0])))
        table = table2.measure(setup)
        hook.remove()
        modes = ["full", "one-time-negative", "self-negative", "none", "none, twice the rows"]
        assert shape(table.rows) == [(steps, mode) for steps in (1, 3) for mode in modes]
        assert set(seen) == {1, 2, 3, 4, 6}
        by_place = {(row.steps, row.system): row for row in table.rows}
        for steps in (1, 3):
            full, own = by_place[steps, "full"], by_place[steps, "self-negative"]
            assert own.figures["ratio"] == pytest.approx(full.ms_median / own.ms_median)
            assert own.figures["share"] == pytest.approx(own.figures["ratio"] / own.figures["allowed"])

    def test_figure5_is_eager_on_both_sides(self, setup: Setup, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(figure5, "STEPS", (1, 3))
        cases: list[systems.Case] = []
        whole = systems.millstream
        monkeypatch.setattr(systems, "millstream", lambda case, *name: cases.append(case) or whole(case, *name))
        table = figure5.measure(setup)
        assert shape(table.rows) == [(steps, name) for steps in (1, 3) for name in ("stream batch", "sequential")]
        assert [case.config.backend for case in cases] == ["eager"] * 2

    @pytest.mark.usefixtures("eager")
    def test_scaling_sends_so_many_rows_together(self, setup: Setup, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(scaling, "ROWS", (1, 2, 4))
        seen: list[int] = []
        hook = setup.model.denoiser.unet.register_forward_pre_hook(lambda unet, inputs: seen.append(len(inputs[0])))
        table = scaling.measure(setup)
        hook.remove()
        assert set(seen) == {1, 2, 4}
        assert [(row.case, row.figures["rows"]) for row in table.rows] == [("1 row", 1), ("2 rows", 2), ("4 rows", 4)]

    def test_parity_of_every_precision(self, setup: Setup, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(parity, "KINDS", ("openvino",))
        table = parity.measure(setup)
        figures = {row.system: row.figures for row in table.rows}
        assert figures.pop("millstream eager float32") == {"psnr_db": None, "largest_error": 0}
        exact = figures.pop("millstream openvino float32")
        assert exact["psnr_db"] is None or exact["psnr_db"] > 60
        assert exact["largest_error"] <= 1
        assert all(other["psnr_db"] > 25 for other in figures.values())
        assert any("precision float16" in note for note in table.notes)

    def test_every_table_has_its_name_in_the_report(self):
        rooms = (table1, table2, figure5, ablation, energy, scaling, parity)
        names = ["table1", "table2", "figure5", "ablation", "energy", "scaling", "parity"]
        assert [room.NAME for room in rooms] == names
        assert [room.measure for room in rooms] == list(paper.ALL)


class TestClosedForms:
    @pytest.mark.parametrize("steps", [1, 2, 3, 5])
    @pytest.mark.parametrize(("fixed", "row"), [(0.0, 2.0), (5.0, 1.0), (7.0, 0.0)])
    def test_what_guidance_can_gain(self, steps: int, fixed: float, row: float):
        few, many = (steps, fixed + steps * row), (2 * steps, fixed + 2 * steps * row)
        cost = table2.Cost.between(few, many)
        assert cost == pytest.approx((row, fixed))
        full = fixed + 2 * steps * row
        assert cost.allowed(steps, "self-negative") == pytest.approx(full / (fixed + steps * row))
        assert cost.allowed(steps, "one-time-negative") == pytest.approx(full / (fixed + (steps + 1) * row))
        assert cost.allowed(steps, "full") == 1

    def test_the_papers_own_rows(self):
        """Without a fixed cost, five steps allow 2 and 10/6."""
        cost = table2.Cost(row=1.0, fixed=0.0)
        assert (cost.allowed(5, "self-negative"), cost.allowed(5, "one-time-negative")) == pytest.approx((2, 10 / 6))

    def test_ratios_of_a_tick_that_costs_what_its_rows_do(self):
        rows = {"full": 8, "one-time-negative": 5, "self-negative": 4, "none": 4, "none, twice the rows": 8}
        raced = {name: made(name, 10.0 + 3 * count) for name, count in rows.items()}
        for row in table2.with_ratios(4, raced):
            if row.system in table2.MODES:
                assert row.figures["share"] == pytest.approx(1)
                assert row.figures["ratio"] == pytest.approx(34 / row.ms_median)
        assert table2.with_ratios(4, raced)[3].figures == pytest.approx({"row_ms": 3, "fixed_ms": 10})

    def test_gains_of_scaling(self):
        raced = [made(f"{rows} rows", 20 / (1 + place)) for place, rows in enumerate(scaling.ROWS)]
        rows = scaling.with_gains(raced, "label")
        assert [row.figures["gain"] for row in rows] == pytest.approx([1, 2, 3, 4, 5])
        assert {row.system for row in rows} == {"label"}

    def test_savings_of_the_filter(self):
        on, off = (replace(made("any", 1.0), figures={"cpu_ms": spent, "skipped": 0.5}) for spent in (2.0, 7.0))
        saved, rest = energy.with_savings([on, off], "cpu_ms")
        assert saved.figures == {"cpu_ms": 2.0, "skipped": 0.5, "saved": 3.5}
        assert rest == off

    def test_differences_of_pictures(self):
        flat = np.full((4, 4, 3), 100, np.uint8)
        assert parity.differences([flat, flat], [flat, flat]) == {"psnr_db": None, "largest_error": 0}
        off = flat.copy()
        off[0, 0, 0] -= 7
        assert parity.differences([flat, off], [flat, flat]) == {
            "psnr_db": pytest.approx(10 * np.log10(255**2 * 48 / 49)),
            "largest_error": 7,
        }


class TestAblation:
    @pytest.mark.usefixtures("eager")
    def test_every_part_with_and_without(self, setup: Setup, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(ablation, "KL_WIDTHS", (32,) * 4)  # so that it is quick
        table = ablation.measure(setup)
        parts = ["stream batch, eager", "residual guidance", "cached keys and values", "prompt embedding"]
        parts += ["coefficients and noise", "queues", "tiny autoencoder, eager", "similarity filter"]
        assert [(row.case, row.system) for row in table.rows] == [(p, s) for p in parts for s in ("with", "without")]
        assert ablation.NO_BACK_END in table.notes
        assert ablation.NO_TINY not in table.notes

    def test_a_model_with_a_full_autoencoder_has_no_tiny_one_to_take_away(self):
        other = Setup.load(Plan(str(tiny.sd1()), 1))
        assert ablation._left_out(other) == [ablation.NO_TINY]

    def test_the_compiled_back_end_is_one_of_the_parts(self, setup: Setup):
        third = next(islice(ablation.pairs(setup), 2, None))
        assert third.part == "compiled back end"
        assert third.having.process(setup.pictures[0]).seconds > 0

    def test_keys_and_values_are_computed_in_every_call_and_alike(self, setup: Setup):
        case = setup.case(2, "eager")
        computing = ablation._computing_keys(case)
        assert not any(name.startswith("keys.") for name in computing.prepared.cond)
        assert any(name.startswith("keys.") for name in case.prepared.cond)
        pair = [systems.millstream(case, "with"), systems.millstream(computing, "without")]
        _, outputs = race(Place("any", 2, "any"), pair, setup.pictures, 1)
        for one, other in zip(*outputs.values(), strict=True):
            assert np.abs(one.astype(int) - other).max() <= 1

    def test_no_prompt_is_one_of_those_kept(self, setup: Setup):
        prompts = ablation._prompts()
        texts = [next(prompts)["prompt"] for _ in range(4 * KEPT_PROMPTS)]
        for place in range(KEPT_PROMPTS, len(texts)):
            assert texts[place] not in texts[place - KEPT_PROMPTS : place]
        assert {word for text in texts for word in text.split()} == {"ink", "drawing"}

    @pytest.mark.usefixtures("eager")
    def test_the_filter_skips_what_stands_still(self, setup: Setup):
        seen: list[int] = []
        hook = setup.model.denoiser.unet.register_forward_pre_hook(lambda unet, inputs: seen.append(len(inputs[0])))
        having, lacking = ablation._still(setup, "with"), ablation._still(setup, "without")
        having.process(setup.pictures[0])
        with_filter = len(seen)
        lacking.process(setup.pictures[0])
        hook.remove()
        assert with_filter == 2 * 2  # of 22 frames two are processed, and each is pushed out by a bubble
        assert len(seen) - with_filter == 22 + 1


class TestEnergy:
    @pytest.mark.usefixtures("eager")
    def test_both_scenes_with_and_without_the_filter(self, setup: Setup, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(energy, "RATE", 1e6)
        table = energy.measure(setup)
        assert [(row.case, row.system) for row in table.rows] == [
            (scene, name) for scene in ("still", "moving, demo") for name in ("filter on", "filter off")
        ]
        still, unfiltered, moving, _ = (row.figures for row in table.rows)
        assert still["skipped"] == pytest.approx(40 / 44)
        assert unfiltered["skipped"] == 0
        assert moving["skipped"] < still["skipped"]
        assert still["saved"] == pytest.approx(unfiltered["cpu_ms"] / still["cpu_ms"])
        assert energy.NO_CLIP in table.notes

    def test_the_pace_is_kept(self):
        now = [0.0]
        slept: list[float] = []
        energy_sleep, energy_clock = energy.sleep, energy.monotonic
        try:
            energy.sleep, energy.monotonic = slept.append, lambda: now[0]
            for _ in energy.paced([None] * 3, 4.0):
                now[0] += 0.4 if len(slept) == 2 else 0.1
        finally:
            energy.sleep, energy.monotonic = energy_sleep, energy_clock
        assert slept == pytest.approx([0.0, 0.15, 0.0])  # the second was 0.1 s early by the clock, the third late

    def test_a_processor_is_metered_by_its_seconds(self):
        meter = meters.choose_meter(torch.device("cpu"))
        before = meter.read()
        sum(range(2_000_000))
        assert meter.unit == "cpu_ms"
        assert 0 < meter.read() - before < 60_000

    def test_a_card_without_nvml_is_said_to_be_so(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(meters, "find_spec", lambda name: None)
        meter = meters.choose_meter(torch.device("cuda"))
        assert (meter.unit, meter.note) == ("cpu_ms", meters.NO_NVML)


class TestTiming:
    def test_a_batch_gives_the_time_of_one_frame(self):
        calls: list[int] = []
        timed = Batch("any", lambda pixels: calls.append(sum(range(100_000))), 1000).process(np.zeros((1, 1, 3)))
        assert (len(calls), timed.pixels) == (1, None)
        assert 0 < timed.seconds < 1

    def test_a_race_is_warmed_up_and_interleaved(self):
        order: list[str] = []
        field = [Batch(name, lambda pixels, name=name: order.append(name), 1) for name in "ab"]
        rows, _ = race(Place("t", 3, "c"), field, [np.zeros((1, 1, 3), np.uint8)] * 2, 2 * TURN)
        turn = ["a"] * (LEAD + TURN) + ["b"] * (LEAD + TURN)
        assert order == ["a"] * 2 + ["b"] * 2 + turn * 2
        assert [(row.table, row.steps, row.case, row.system) for row in rows] == [
            ("t", 3, "c", "a"),
            ("t", 3, "c", "b"),
        ]

    def test_what_a_back_end_builds_is_built_before_the_first_frame(self, setup: Setup):
        engine, session = systems.opened(setup.case(1, "openvino", precision="float32"))
        assert engine.prepare(session).done()

    def test_changes_come_one_before_every_frame(self, setup: Setup):
        case = setup.case(1, "eager")
        changes = iter([{"seed": 1}, {"seed": 2}])
        changed = systems.millstream(case, "any", changes)
        first, second = (changed.process(setup.pictures[0]).pixels for _ in range(2))
        plain = Engine(case.model)
        for seed, picture in ((1, first), (2, second)):
            session = plain.open(
                StreamConfig(**case.config.model_dump()), case.params.model_copy(update={"seed": seed})
            )
            feed = Feed(plain, session)
            assert np.array_equal(feed.take(Frame(0, setup.pictures[0]))[0].pixels, picture)


class TestCommand:
    def test_quick_is_table1_with_its_plot(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        assert table1.STEPS == (1, 2, 4, 10)
        monkeypatch.setattr(table1, "STEPS", (1, 2))  # each number of steps is two builds; those of 2 are parity's
        options = parse("paper", "--quick", "--model", str(tiny.small()), "--frames", "1",
                        f"--json={tmp_path / 'rows.json'}", f"--output={tmp_path / 'report.md'}")  # fmt: skip
        assert options.run(options) == 0
        written = json.loads((tmp_path / "rows.json").read_text())
        compiled = Setup.load(Plan(str(tiny.small()), 1)).case(1, "openvino").label
        columns = ("millstream eager float32", compiled, "millstream openvino int8", "diffusers")
        shown = [(row["table"], row["case"], row["steps"], row["system"]) for row in written["rows"]]
        assert shown == [("table1", "32x32", steps, name) for steps in (1, 2) for name in columns]
        own = FIELDS | {"of_limit"}
        assert [set(row) for row in written["rows"]] == [own, own, own, FIELDS] * 2
        assert all(row.get("of_limit", 1) > 0 for row in written["rows"])
        assert written["machine"]["matrix product"].endswith(" TFLOP/s in float32")
        assert written["machine"]["openvino"]
        report = (tmp_path / "report.md").read_text()
        assert "![table1](report-table1.svg)" in report
        assert report.count("Agreement with millstream eager float32") == 2
        assert "speed relative to diffusers" in report
        assert (tmp_path / "report-table1.svg").read_text().startswith("<svg")
        shown = capsys.readouterr().out
        assert "## table1" in shown
        assert "![" not in shown

    def test_options_before_and_after_the_kind(self):
        options = parse("--model", "some", "--size", "64", "32", "paper", "--quick")
        assert (options.model, options.size, options.quick) == ("some", [64, 32], True)
        assert parse("paper").model == "embedded"
        assert (parse("paper").frames, PAPER_FRAMES, QUICK_FRAMES) == (None, 40, 12)
        assert parse("--frames", "5", "paper").frames == 5
        assert parse("paper", "--random", "sd15").random == "sd15"

    @pytest.mark.parametrize(
        ("words", "fault"),
        [
            (["--random", "sdxl"], r"give one of sd15, sd-turbo, sdxl-turbo \(got 'sdxl'\)"),
            (["--random", "sd15", "--model", "some"], "not allowed with"),
            (["--source", "no-such-clip.mp4"], "no such file"),
            (["--frames", "0"], "give 1 to 10000"),
            (["--output", "no/such/folder/report.md"], "no such folder"),
            (["--streamdiffusion", "no-such-python", "--quick"], "cannot start no-such-python"),
        ],
    )
    def test_faults_are_one_line(self, words: list[str], fault: str):
        with pytest.raises(MillstreamError, match=fault) as caught:
            options = parse("paper", *words)
            options.model = str(tiny.small()) if options.model == "embedded" else options.model
            options.run(options)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("words", "fault"),
        [
            (["--model", "some", "paper", "--random", "sd15"], "leave --model out"),
            (["--steps", "1", "--frames", "2", "paper"], "--steps: is not of this kind"),
            (["--json", "rows.json", "trace"], "--json: is not of this kind"),
        ],
    )
    def test_what_was_given_for_another_kind(self, words: list[str], fault: str):
        options = parse(*words)
        with pytest.raises(MillstreamError, match=fault):
            options.run(options)

    def test_upstream_is_not_asked_for_what_it_does_not_know(self):
        options = parse("--model", str(tiny.sdxl_turbo()), "paper", "--quick", "--streamdiffusion", sys.executable)
        with pytest.raises(MillstreamError, match="does not know Stable Diffusion XL"):
            options.run(options)

    def test_the_random_forms_are_those_there_are(self):
        assert tuple(FORMS) == RANDOM
