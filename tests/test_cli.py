"""The command line as a user meets it: real files, tiny models, real processes where a signal or a limit matters."""

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from PIL import Image

from millstream.cli import main
from tests import tiny

SMALL_DISK = 512  # bytes that one file may have


@pytest.fixture(scope="session")
def small() -> str:
    return str(tiny.small())


@pytest.fixture(scope="session")  # made before a test's output is caught: writing a model shows a bar
def broken() -> str:
    return str(tiny.broken())


def write_video(path: Path, frames: int = 12, width: int = 96, height: int = 48) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            pixels = np.full((height, width, 3), i * 7 % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode(None))
    return path


def shape_of(path: Path) -> tuple[int, int, int]:
    """Frames, width and height of a video, by decoding it."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return len(frames), frames[0].width, frames[0].height


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "millstream", *map(str, words)]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm"}


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Run a command that must fail: one line, an exit code, and the folder as it was."""

    def run(*words: object, code: int = 2) -> str:
        before = contents(tmp_path)
        assert main([*map(str, words)]) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert contents(tmp_path) == before
        return one_line(err)

    return run


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def one_line(err: str) -> str:
    assert err.startswith("millstream: ")
    assert err.endswith("\n") and err.count("\n") == 1
    return err


def test_a_video_keeps_its_frames_and_its_aspect(
    tmp_path: Path, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = write_video(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    assert main(["convert", str(source), str(target), "--model", small, "--prompt", "ink"]) == 0
    out, err = capsys.readouterr()
    speed = r"\d+\.\d s, \d+\.\d frames a second, eager in float32"
    assert re.fullmatch(rf"12 frames in {speed}: {re.escape(str(target))}\n", out)
    assert err == ""
    assert shape_of(target) == (12, 48, 24)  # 2:1, about the 32x32 pixels of the model, in multiples of 8


def test_json_tells_what_was_done(tmp_path: Path, small: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write_video(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    words = ["convert", source, target, "--json", "--model", small, "--t-index", "5", "20", "40", "--width", "64"]
    assert main([*map(str, words)]) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert err == ""
    assert (facts["frames"], facts["width"], facts["height"]) == shape_of(target) == (12, 64, 32)
    assert facts["frames_per_second"] == pytest.approx(facts["frames"] / facts["seconds"], rel=0.01)
    assert facts["model"] == small
    assert facts["output"] == str(target)
    assert facts["steps"] == 3
    assert facts["t_index"] == [5, 20, 40]
    assert facts["interrupted"] is False


def test_the_demo_needs_no_file(tmp_path: Path, small: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "frames"
    assert main(["convert", "demo", str(target), "--model", small, "--steps", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == len(list(target.glob("*.png"))) > 1


def test_options_win_over_the_preset(tmp_path: Path, small: str, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump({"model": {"name": small}, "config": {"steps": 3}, "params": {"seed": 7}}))
    source = write_video(tmp_path / "in.mp4")
    words = ["convert", source, tmp_path / "out.gif", "--json", "--preset", preset, "--steps", "1"]
    assert main([*map(str, words)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["model"], facts["steps"], facts["seed"]) == (small, 1, 7)


@pytest.mark.parametrize("form", [[], ["--steps", "3"], ["--steps", "2", "--guidance", "one-time-negative"]])
def test_picture_k_is_what_its_seed_alone_gives(tmp_path: Path, small: str, form: list[str]) -> None:
    words = ["--model", small, "--prompt", "a robin", *form]
    assert main(["txt2img", str(tmp_path / "set"), "--count", "4", "--seed", "5", *words]) == 0
    together = [np.array(Image.open(path)) for path in sorted((tmp_path / "set").iterdir())]
    assert len(together) == 4
    for k, picture in enumerate(together):
        alone = tmp_path / f"{k}.png"
        assert main(["txt2img", str(alone), "--seed", str(5 + k), *words]) == 0
        np.testing.assert_array_equal(picture, np.array(Image.open(alone)))
    assert len({picture.tobytes() for picture in together}) == 4


@pytest.mark.parametrize("name", ["set.gif", "set.mp4"])
def test_several_pictures_from_text_become_a_video(tmp_path: Path, small: str, name: str) -> None:
    words = ["--count", "3", "--model", small, "--width", "48"]
    assert main(["txt2img", str(tmp_path / name), *words]) == 0
    assert shape_of(tmp_path / name) == (3, 48, 32)


def test_text_ignores_what_a_preset_says_of_pictures(tmp_path: Path, small: str) -> None:
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump({"config": {"input": "image", "frame_buffer": 3}, "params": {"strength": 0.2}}))
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    assert main(["txt2img", str(first), "--model", small, "--preset", str(preset)]) == 0
    assert main(["txt2img", str(second), "--model", small]) == 0
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated"])
def test_an_input_that_is_no_picture(tmp_path: Path, refused, kind: str) -> None:
    source = tmp_path / "in.mp4"
    if kind == "truncated":
        whole = write_video(source).read_bytes()
        source.write_bytes(whole[: len(whole) // 2])
    elif kind != "missing":
        source.write_text("" if kind == "empty" else "dear diary, " * 100)
    assert str(source) in refused("convert", source, tmp_path / "out.mp4", "--model", "nowhere")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "steps"),
        (["--t-index", "10", "50"], "0..49"),
        (["--t-index", "10", "10"], "increase"),
        (["--strength", "1.1"], "strength"),
        (["--strength", "-0.1"], "strength"),
        (["--input", "text", "--guidance", "self-negative"], "self-negative"),
        (["--strenght", "0.5"], "unrecognized arguments: --strenght 0.5"),
        (["--preset", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_bad_parameter_is_refused_before_the_model_is_loaded(
    tmp_path: Path, refused, words: list[str], message: str
) -> None:
    assert message in refused("convert", "demo", tmp_path / "out.mp4", "--model", "nowhere", *words)


def test_an_unknown_preset_key(tmp_path: Path, refused) -> None:
    preset = tmp_path / "preset.yaml"
    preset.write_text("params: {strenght: 0.5}")
    assert "unknown key 'params.strenght'" in refused("convert", "demo", tmp_path / "o.mp4", "--preset", preset)


def test_an_output_that_cannot_be(tmp_path: Path, refused, small: str) -> None:
    assert ".xyz" in refused("convert", "demo", tmp_path / "out.xyz", "--model", "nowhere", code=4)
    assert "one picture" in refused("convert", "demo", tmp_path / "out.png", "--model", "nowhere")
    assert "one picture" in refused("txt2img", tmp_path / "out.png", "--count", 2, "--model", "nowhere")
    assert "make it first" in refused("txt2img", tmp_path / "no" / "out.png", "--model", small, code=4)


def test_the_input_is_not_overwritten(tmp_path: Path, refused) -> None:
    source = write_video(tmp_path / "in.mp4")
    (tmp_path / "link.mp4").symlink_to(source)
    assert "the same" in refused("convert", source, source, "--model", "nowhere")
    assert "the same" in refused("convert", source, tmp_path / "link.mp4", "--model", "nowhere")


def test_what_only_the_model_can_refuse(tmp_path: Path, refused, small: str) -> None:
    words = "convert", "demo", tmp_path / "out.mp4", "--model"
    assert "multiples of 8" in refused(*words, small, "--width", "36")
    assert "give 3 values" in refused(*words, small, "--t-index", "3", "4", "--steps", "3")
    refused(*words, tmp_path / "no-model", code=3)


def test_a_side_that_follows_from_the_other_has_its_bounds(tmp_path: Path, refused, small: str) -> None:
    source = tmp_path / "tall.png"
    Image.new("RGB", (20, 2000)).save(source)
    assert "height: " in refused("convert", source, tmp_path / "out.png", "--model", small, "--width", "4096")


def test_text_has_nothing_to_be_steered_away_from(tmp_path: Path, refused) -> None:
    words = ["--guidance", "self-negative", "--model", "nowhere"]
    assert "self-negative needs an input picture" in refused("txt2img", tmp_path / "out.png", *words)


@pytest.mark.parametrize("count", ["0", "-1", "many", "10001"])
def test_a_count_out_of_bounds(tmp_path: Path, refused, count: str) -> None:
    assert "--count" in refused("txt2img", tmp_path / "out", f"--count={count}")


def test_the_last_seed_of_a_count_is_checked_first(tmp_path: Path, refused) -> None:
    last = 2**32 - 1
    assert f"(got {last + 1})" in refused("txt2img", tmp_path / "out", "--seed", last, "--count", 2, "--model", "none")


@pytest.mark.parametrize("words", [[], ["paint"], ["convert"], ["convert", "demo"], ["doctor", "now"]])
def test_an_incomplete_command_points_to_the_help(refused, words: list[str]) -> None:
    assert "--help`" in refused(*words)


def test_numbers_that_are_no_picture_leave_the_old_file(tmp_path: Path, refused, broken: str) -> None:
    target = write_video(tmp_path / "out.mp4")
    assert "float32" in refused("convert", "demo", target, "--model", broken, code=3)
    assert "float32" in refused("txt2img", tmp_path / "out.png", "--model", broken, code=3)


@pytest.mark.parametrize("name", ["out.mp4", "frames"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, small: str, name: str) -> None:
    if name == "out.mp4":
        (tmp_path / name).write_bytes(b"what stood here before")
    before = contents(tmp_path)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK, SMALL_DISK))

    words = command("convert", "demo", tmp_path / name, "--model", small, "--json")
    ended = subprocess.run(words, preexec_fn=fill, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 4
    assert ended.stdout == ""
    assert f"{tmp_path / name}: File too large" in one_line(ended.stderr)
    assert contents(tmp_path) == before
    assert not [path for path in tmp_path.iterdir() if path.name != name]


def test_ctrl_c_leaves_a_playable_file_and_says_how_far_it_came(tmp_path: Path, small: str) -> None:
    source, target = write_video(tmp_path / "in.mp4", frames=2000), tmp_path / "out.mp4"
    terminal, screen = pty.openpty()
    words = command("convert", source, target, "--model", small, "--json")
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=screen, env=environment())
    os.close(screen)
    shown = read_until(terminal, b"frames/s")
    running.send_signal(signal.SIGINT)
    shown += read_until(terminal, None)
    assert running.stdout is not None
    facts = json.loads(running.stdout.read())
    assert running.wait() == 130
    assert facts["interrupted"] is True
    assert 2 <= facts["frames"] < 2000
    assert shape_of(target)[0] == facts["frames"]
    assert f"millstream: stopped: {target} holds the first {facts['frames']} frames\r\n" in shown.decode()
    assert b"Traceback" not in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def read_until(terminal: int, mark: bytes | None) -> bytes:
    """What the terminal shows, up to `mark` or until the process has gone."""
    shown = b""
    while mark is None or mark not in shown:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # how a terminal says that nobody writes to it any more
            break
    return shown


def test_help_and_version_do_not_wait_for_torch() -> None:
    code = (
        "import sys, millstream.cli as c; c.make_parser(); sys.exit(not {'torch', 'diffusers'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    ended = subprocess.run(command("--version"), capture_output=True, text=True, check=True)
    assert re.fullmatch(r"millstream \d+\.\d+\.\d+\S*\n", ended.stdout)


@pytest.mark.parametrize("name", ["serve", "live", "convert", "txt2img", "doctor", "cache", "bench"])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: millstream {name}" in capsys.readouterr().out


def test_pictures_from_text_have_no_options_of_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["txt2img", "--help"])
    shown = capsys.readouterr().out
    assert "--guidance " in shown
    assert not {"--strength", "--input", "--frame-buffer", "--stall"} & set(shown.split())
