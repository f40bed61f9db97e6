import json
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC

from millstream.bench import peers, systems, timing
from millstream.bench.cli import FRAMES, STEPS, add_parser
from millstream.bench.compare import compare, psnr
from millstream.bench.report import Report, Row, Table, write
from millstream.bench.setup import Plan
from millstream.bench.streamdiffusion_worker import to_epsilon
from millstream.core.schedule import levels_from_strength, levels_from_t_index
from millstream.errors import BadInputError, MillstreamError, ModelError, OutputError
from millstream.models import Model, load_model
from millstream.options import Parser
from millstream.params import ModelConfig, Params, StreamConfig
from tests import tiny

FIELDS = {"table", "system", "steps", "case", "ms_median", "ms_p25", "ms_p75", "fps"}
UPSTREAM = os.environ.get("MILLSTREAM_STREAMDIFFUSION")


def parse(*words: str) -> Namespace:
    parser = Parser(prog="millstream")
    add_parser(parser.add_subparsers(required=True))
    return parser.parse_args(["bench", *words])


def bench(*words: str) -> int:
    options = parse(*words)
    code: int = options.run(options)
    return code


def make_case(model: Model, steps: int) -> systems.Case:
    config = StreamConfig(width=model.width, height=model.height, steps=steps, backend="eager")
    return systems.Case(model, config, Params(prompt="night", strength=0.5))


def pictures(count: int, side: int = 32) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8))


@torch.no_grad()
def write_lively(root: Path) -> Path:
    """A small-latent model with weights so large that picture, prompt and seed all show in what comes out."""
    vae = tiny.autoencoder_tiny(channels=6, levels=3)
    vae.encoder.layers[-1].weight *= 30
    vae.decoder.layers[-1].weight *= 30
    unet = tiny.unet(in_channels=6, out_channels=6, sample_size=8)
    unet.conv_in.weight *= 3
    unet.conv_out.weight *= 3
    return tiny.make("lively", unet, vae, tiny.text_encoder(max_position_embeddings=24), tiny.GENTLE, root)


@torch.no_grad()
def write_deep(root: Path) -> Path:
    """The lively model with an AutoencoderDC, which older libraries do not know."""
    widths, deep = (8, 8, 16), ((),) * 3
    with tiny.seeded(4):
        vae = AutoencoderDC(
            latent_channels=8,
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            encoder_layers_per_block=(0, 1, 1),
            decoder_layers_per_block=(0, 1, 1),
            encoder_qkv_multiscales=deep,
            decoder_qkv_multiscales=deep,
            scaling_factor=0.7,
        ).eval()
    vae.register_to_config(block_out_channels=widths)
    unet = tiny.unet(in_channels=8, out_channels=8, sample_size=8)
    return tiny.make("deep", unet, vae, tiny.text_encoder(max_position_embeddings=24), tiny.GENTLE, root)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_deep(tmp_path_factory.mktemp("deep")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_lively(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def model(folder: str) -> Model:
    return load_model(ModelConfig(name=folder))


def loop(case: systems.Case, given: list[np.ndarray]) -> list[np.ndarray]:
    """The plain loop's pictures, which must tell the given ones apart if a comparison with them is to say anything."""
    looped = timing.warm_up(systems.sequential(case), given)
    assert psnr(looped[0], looped[1]) < 20
    return looped


def worst(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    return min(psnr(a, b) for a, b in zip(some, others, strict=True))


class TestStatistics:
    def test_an_even_ladder(self):
        summary = timing.summarise([0.04, 0.01, 0.02, 0.03, 0.05])
        assert summary == pytest.approx((30.0, 20.0, 40.0, 1000 / 30))

    def test_quartiles_between_two_values(self):
        assert timing.summarise([0.010, 0.020]) == pytest.approx((15.0, 12.5, 17.5, 1000 / 15))

    def test_one_frame(self):
        assert timing.summarise([0.25]) == pytest.approx((250.0, 250.0, 250.0, 4.0))

    def test_psnr(self):
        flat = np.full((4, 4, 3), 100, np.uint8)
        assert psnr(flat, flat) == float("inf")
        assert psnr(flat, flat + 1) == pytest.approx(20 * np.log10(255))
        assert psnr(flat * 0, flat * 0 + 255) == pytest.approx(0)


class TestTurns:
    @pytest.mark.parametrize("count", [1, timing.TURN, 2 * timing.TURN + 1])
    def test_every_system_is_timed_as_often_and_takes_turns(self, count: int):
        order: list[str] = []
        field = [timing.Local(name, lambda pixels, name=name: order.append(name)) for name in "ab"]
        seconds = timing.measure(field, pictures(3), count)
        assert {name: len(times) for name, times in seconds.items()} == {"a": count, "b": count}
        first = min(count, timing.TURN) + timing.LEAD
        assert order[: 2 * first] == ["a"] * first + ["b"] * first
        assert len(order) == 2 * (count + timing.LEAD * -(-count // timing.TURN))

    @pytest.mark.parametrize("delay", [0, 1, 3])
    def test_warm_up_gives_each_picture_its_own_output(self, delay: int):
        given = pictures(5)
        seen: list[np.ndarray] = []

        def late(pixels: np.ndarray) -> np.ndarray | None:
            seen.append(pixels)
            return 255 - seen[-1 - delay] if len(seen) > delay else None

        outputs = timing.warm_up(timing.Local("late", late, delay), given)
        assert [255 - out for out in outputs] == pytest.approx(np.array(given))


class TestReport:
    rows = (
        Row("img2img", "millstream", 2, "64x64", 10.0, 9.0, 12.0, 100.0),
        Row("img2img", "diffusers", 2, "64x64", 25.0, 24.0, 26.5, 40.0),
        Row("img2img", "millstream", 4, "64x64", 20.0, 19.0, 21.0, 50.0),
    )
    more = (
        Row("parity", "eager", 2, "64x64", 10.0, 9.0, 12.0, 100.0, {"psnr_db": None, "largest_error": 0}),
        Row("parity", "other", 2, "64x64", 5.0, 4.0, 6.0, 200.0, {"psnr_db": 41.25, "largest_error": 9}),
    )
    tables = (
        Table("img2img", "Pictures.", "diffusers", rows, ["A note."]),
        Table("parity", "Likeness.", "nobody", more),
    )
    report = Report({"cpu": "some cpu", "cores": 2}, "The setting.", tables)

    def test_json(self):
        written = json.loads(self.report.json())
        assert written["machine"] == {"cpu": "some cpu", "cores": 2}
        assert [set(row) for row in written["rows"]] == [FIELDS] * 3 + [FIELDS | {"psnr_db", "largest_error"}] * 2
        assert [Row(**row) for row in written["rows"][:3]] == list(self.rows)
        assert [row["psnr_db"] for row in written["rows"][3:]] == [None, 41.25]

    def test_markdown(self):
        lines = self.report.markdown().splitlines()
        assert "## img2img" in lines
        assert "| case | steps | millstream | diffusers |" in lines
        assert "| 64x64 | 2 | 10.0 (9.0-12.0); 100.0/s; 2.50x | 25.0 (24.0-26.5); 40.0/s; 1.00x |" in lines
        assert "| 64x64 | 4 | 20.0 (19.0-21.0); 50.0/s |  |" in lines
        assert "- A note." in lines
        assert "Machine: cpu some cpu, cores 2." in lines
        infinite = "10.0 (9.0-12.0); 100.0/s; psnr_db infinite; largest_error 0"
        assert f"| 64x64 | 2 | {infinite} | 5.0 (4.0-6.0); 200.0/s; psnr_db 41.25; largest_error 9 |" in lines
        assert "frames a second; speed relative to diffusers." in next(line for line in lines if "Pictures." in line)
        assert "relative" not in next(line for line in lines if "Likeness." in line)

    def test_plots_stand_behind_their_tables(self):
        lines = self.report.markdown({"img2img": "some.svg"}).splitlines()
        assert lines.index("- A note.") < lines.index("![img2img](some.svg)") < lines.index("## parity")

    def test_a_file_that_cannot_be_written(self, tmp_path: Path):
        with pytest.raises(OutputError, match="can be written"):
            write(tmp_path, "text")


class TestSystems:
    @pytest.mark.parametrize("steps", [1, 2, 3, 4])
    def test_the_engine_gives_the_pictures_of_the_plain_loop(self, model: Model, steps: int):
        case, given = make_case(model, steps), pictures(4)
        assert worst(timing.warm_up(systems.millstream(case), given), loop(case, given)) > 60

    @pytest.mark.parametrize("steps", [1, 2, 3, 4, 25])
    def test_diffusers_gives_the_pictures_of_the_plain_loop(self, folder: str, model: Model, steps: int):
        case, given = make_case(model, steps), pictures(3)
        piped = systems.diffusers(case, systems.load_pipeline(folder, model))
        assert worst(timing.warm_up(piped, given), loop(case, given)) > 60

    def test_diffusers_takes_an_autoencoder_that_its_pipelines_do_not_know(self, deep: str):
        model = load_model(ModelConfig(name=deep))
        case, given = make_case(model, 2), pictures(3)
        piped = timing.warm_up(systems.diffusers(case, systems.load_pipeline(deep, model)), given)
        looped = timing.warm_up(systems.sequential(case), given)
        assert worst(piped, looped) > 60
        assert psnr(looped[0], looped[1]) < 40

    @pytest.mark.parametrize("form", [tiny.small, tiny.sd1, tiny.sd_turbo, tiny.sdxl_turbo])
    @pytest.mark.parametrize("steps", [1, 2, 4])
    def test_every_system_makes_as_many_unet_calls_as_there_are_steps(self, form: Callable[[], Path], steps: int):
        model = load_model(ModelConfig(name=str(form())))
        pipeline = systems.load_pipeline(str(form()), model)
        case = make_case(model, steps)
        rows: list[int] = []
        for unet in (model.denoiser.unet, pipeline.unet):
            unet.register_forward_pre_hook(lambda unet, inputs: rows.append(len(inputs[0])))
        for system, expected in (
            (systems.millstream(case), [steps]),
            (systems.sequential(case), [1] * steps),
            (systems.diffusers(case, pipeline), [1] * steps),
        ):
            rows.clear()
            system.process(pictures(1, model.width)[0])
            assert rows == expected, system.name


class TestCommand:
    def test_rows_of_every_system(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        rows, text = tmp_path / "rows.json", tmp_path / "report.md"
        size = ["--size", "48", "32"]
        code = bench("--model", str(tiny.small()), "--steps", "1", "2", "--frames", "3", *size, f"--json={rows}",
                     f"--output={text}")  # fmt: skip
        assert code == 0
        written = json.loads(rows.read_text())
        assert set(written["machine"]) >= {"cpu", "cores", "threads", "memory", "torch", "python", "os"}
        shown = [(row["table"], row["case"], row["steps"], row["system"]) for row in written["rows"]]
        here = ("millstream", "sequential", "diffusers")
        assert shown == [("img2img", "48x32", steps, system) for steps in (1, 2) for system in here]
        for row in written["rows"]:
            assert set(row) == FIELDS
            assert 0 < row["ms_p25"] <= row["ms_median"] <= row["ms_p75"]
            assert row["fps"] * row["ms_median"] == pytest.approx(1000)
        assert text.read_text() == capsys.readouterr().out
        assert "streamdiffusion was not measured: give --streamdiffusion PYTHON" in text.read_text()

    def test_defaults(self):
        options = parse()
        assert (options.model, STEPS, FRAMES) == ("embedded", (1, 2, 4), 100)
        assert options.steps is options.frames is options.size is options.streamdiffusion is None
        assert options.json is options.output is options.random is None

    @pytest.mark.parametrize(
        ("words", "fault"),
        [
            (["--steps", "0"], "give 1 to 25"),
            (["--steps", "26"], "give 1 to 25"),
            (["--frames", "0"], "give 1 to 10000"),
            (["--frames", "many"], "give 1 to 10000"),
            (["--json", "no/such/folder/rows.json"], "no such folder"),
            (["--model", __file__], "diffusers folder or a hub id"),
            (["--model", str(tiny.ROOT / "none")], "no such file or folder"),
        ],
    )
    def test_faults_are_one_line(self, words: list[str], fault: str):
        with pytest.raises(MillstreamError, match=fault) as caught:
            bench(*words)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(("size", "fault"), [((33, 32), "multiples of 8"), ((8, 8), "width")])
    def test_a_size_that_the_model_cannot_take(self, size: tuple[int, int], fault: str):
        with pytest.raises(BadInputError, match=fault):
            compare(Plan(str(tiny.small()), 1, size), [1])


class TestUpstream:
    @pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 25])
    def test_consistency_models_levels_have_exact_places(self, steps: int):
        levels = levels_from_strength(steps, 0.5, "lcm")
        places = peers.t_index_list(levels)
        assert levels_from_t_index(places) == levels
        assert [999 - 20 * place for place in places] == levels

    def test_other_levels_go_to_the_nearest_place(self):
        assert peers.t_index_list([999, 504, 250, 19]) == [0, 25, 37, 49]

    @pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
    def test_predictions_become_noise(self, prediction: str):
        clean, noise = torch.randn(2, 3, 24, 5, 5, generator=torch.Generator().manual_seed(1))
        a, b = torch.tensor(0.8), torch.tensor(0.6)
        output = {"sample": clean, "v_prediction": a * noise - b * clean}[prediction]
        torch.testing.assert_close(to_epsilon(prediction, a * clean + b * noise, output, a, b), noise)

    def test_an_interpreter_that_is_not_there(self):
        with pytest.raises(ModelError, match=r"cannot start .*docs/benchmarks"), peers.open_worker("no-such-python"):
            pass

    @pytest.mark.parametrize("before", [True, False], ids=["before it is asked", "while it is asked"])
    def test_an_interpreter_that_ends_at_once(self, folder: str, model: Model, before: bool):
        with pytest.raises(ModelError, match="process ended"), peers.open_worker("true") as worker:
            if before:
                worker._process.wait(10)
            worker.load(folder, model, (32, 32))

    @pytest.mark.skipif(UPSTREAM is None, reason="MILLSTREAM_STREAMDIFFUSION names no interpreter that has it")
    def test_upstream_gives_the_pictures_of_the_plain_loop(self, folder: str, model: Model):
        given = pictures(4)
        with peers.open_worker(str(UPSTREAM)) as worker:
            worker.load(folder, model, (32, 32))
            for steps in (1, 2, 4):
                case = make_case(model, steps)
                streamed = timing.warm_up(peers.streamdiffusion(case, worker), given)
                assert worst(streamed, loop(case, given)) > 50
        assert "sample prediction turned into the noise it assumes" in worker.notes

    def test_an_autoencoder_travels_as_code(self, deep: str, tmp_path: Path):
        vae = AutoencoderDC.from_pretrained(f"{deep}/vae").eval()
        sent = peers.script(vae, (48, 32), tmp_path)
        signal = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
        code = torch.jit.load(sent["encoder"])(signal)
        torch.testing.assert_close(code, vae.encode(signal).latent)
        torch.testing.assert_close(torch.jit.load(sent["decoder"])(code), vae.decode(code).sample)
        assert sent["config"] == {"block_out_channels": [8, 8, 16], "latent_channels": 8, "scaling_factor": 0.7}

    @pytest.mark.skipif(UPSTREAM is None, reason="MILLSTREAM_STREAMDIFFUSION names no interpreter that has it")
    def test_upstream_takes_an_autoencoder_as_code(self, deep: str):
        model, given = load_model(ModelConfig(name=deep)), pictures(4)
        with peers.open_worker(str(UPSTREAM)) as worker:
            worker.load(deep, model, (32, 32))
            case = make_case(model, 2)
            streamed = timing.warm_up(peers.streamdiffusion(case, worker), given)
        assert worst(streamed, timing.warm_up(systems.sequential(case), given)) > 50
        assert "autoencoder given as TorchScript" in worker.notes

    @pytest.mark.skipif(UPSTREAM is None, reason="MILLSTREAM_STREAMDIFFUSION names no interpreter that has it")
    def test_upstream_has_its_rows(self, folder: str):
        report = compare(Plan(folder, 2, python=UPSTREAM), [1, 2])
        here = ["millstream", "sequential", "diffusers", "streamdiffusion"]
        (table,) = report.tables
        assert [(row.steps, row.system) for row in table.rows] == [(n, system) for n in (1, 2) for system in here]
        assert any("streamdiffusion 0.1.1" in note for note in table.notes)

    @pytest.mark.skipif(UPSTREAM is None, reason="MILLSTREAM_STREAMDIFFUSION names no interpreter that has it")
    def test_a_fault_there_is_one_line_here(self, model: Model):
        with peers.open_worker(str(UPSTREAM)) as worker, pytest.raises(ModelError, match="streamdiffusion: ") as caught:
            worker.load(str(tiny.ROOT / "none"), model, (32, 32))
        assert "\n" not in str(caught.value)
