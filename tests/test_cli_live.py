"""`millstream live` as a user meets it: real files, a real pipe, a virtual screen, real signals."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic

import av
import numpy as np
import pytest

from millstream.cli import main, player
from millstream.cli.player import Player, describe
from millstream.frame import Frame
from millstream.live.stats import LiveStats
from millstream.media.base import Source, SourceInfo
from millstream.params import StreamConfig
from millstream.pipeline import Stream
from tests import tiny, virtual
from tests.test_cli import command, contents, environment, one_line, read_until, write_video


@pytest.fixture(scope="session")
def small() -> str:
    return str(tiny.small())


@pytest.fixture(scope="session")  # made before a test's output is caught: writing a model shows a bar
def broken() -> str:
    return str(tiny.broken())


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Run a command that must fail before a model is loaded: one line, an exit code, and the folder as it was."""

    def run(*words: object, code: int = 2) -> str:
        before = contents(tmp_path)
        assert main(["live", *map(str, words), "--model", "nowhere"]) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert contents(tmp_path) == before
        return one_line(err)

    return run


def shown(path: Path) -> list[float]:
    """The times of a video's pictures, by decoding it."""
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def test_a_file_is_recorded_in_its_own_time(tmp_path: Path, small: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write_video(tmp_path / "in.mp4", frames=24), tmp_path / "out.mkv"
    words = ["live", "--source", source, "--no-loop", "--sink", target, "--model", small, "--steps", "1", "--json"]
    words += ["--stall", "hold"]  # else the last frame may be sent again before the end is noticed
    assert main([*map(str, words)]) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    times = shown(target)
    assert err == ""
    assert 1 <= facts["frames"] == len(times) <= 24
    assert facts["seconds"] >= 24 / 24 - 0.01
    assert times == sorted(set(times)) and times[0] == 0
    assert (facts["source"], facts["output"], facts["width"], facts["height"]) == (str(source), str(target), 48, 24)
    assert facts["finished"] >= facts["frames"]
    assert facts["age_ms_p50"] > 0


def test_a_file_goes_into_a_pipe(tmp_path: Path, small: str) -> None:
    source = write_video(tmp_path / "in.mp4", frames=12)
    words = command("live", "--source", source, "--no-loop", "--sink", "-", "--model", small)
    ended = subprocess.run(words, env=environment(), capture_output=True, check=True)
    with av.open(io.BytesIO(ended.stdout), format="nut") as container:
        frames = list(container.decode(video=0))
    assert frames
    assert {(frame.width, frame.height, frame.format.name) for frame in frames} == {(48, 24, "rgb24")}
    assert ended.stderr.decode().startswith(f"{len(frames)} frame")


def test_a_reader_that_leaves_ends_it(small: str) -> None:
    words = command("live", "--source", "demo", "--sink", "-", "--model", small)
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False, env=environment())
    assert running.stdout is not None and running.stderr is not None
    assert len(running.stdout.read(5000)) == 5000
    running.stdout.close()
    assert running.wait(virtual.LIMIT) == 141
    assert "has gone" in one_line(running.stderr.read().decode())


def test_ctrl_c_leaves_a_playable_recording(tmp_path: Path, small: str) -> None:
    target = tmp_path / "out.mp4"
    terminal, screen = pty.openpty()
    words = command("live", "--source", "demo", "--sink", target, "--model", small, "--json")
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=screen, env=environment())
    os.close(screen)
    told = read_until(terminal, b"frames/s")
    running.send_signal(signal.SIGINT)
    told += read_until(terminal, None)
    assert running.stdout is not None
    facts = json.loads(running.stdout.read())
    assert running.wait() == 130
    assert facts["interrupted"] is True
    assert len(shown(target)) == facts["frames"] >= 2
    assert f"millstream: stopped: {target} was given {facts['frames']} frames\r\n" in told.decode()
    assert b"Traceback" not in told
    assert list(tmp_path.iterdir()) == [target]


def test_a_source_that_breaks_leaves_what_came_before(
    tmp_path: Path, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Matroska file cut short, whose source fails behind its last picture, as a camera does that is unplugged."""
    whole = write_video(tmp_path / "whole.mkv", frames=48).read_bytes()
    source, target = tmp_path / "in.mkv", tmp_path / "out.mp4"
    source.write_bytes(whole[: len(whole) * 2 // 3])
    assert main(["live", "--source", str(source), "--sink", str(target), "--model", small]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "ends too early" in one_line(err)
    assert shown(target)


def test_a_model_that_breaks_is_said_and_nothing_is_written(
    tmp_path: Path, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.mp4"
    assert main(["live", "--source", "demo", "--sink", str(target), "--model", broken]) == 3
    assert "float32" in one_line(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@virtual.needs_screen
@virtual.needs_keys
def test_the_screen_in_a_window_until_q(small: str) -> None:
    pytest.importorskip("pygame", reason="needs pygame-ce")
    with virtual.screen():
        words = command("live", "--source", "screen:0,0,64,64", "--sink", "window", "--model", small)
        running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        virtual.wait_until(lambda: running.poll() is not None or virtual.seen()[100:380, 150:490].any())
        virtual.press("q")
        out, err = running.communicate(timeout=virtual.LIMIT)
    assert err == b""
    assert running.returncode == 0
    assert out.decode().endswith(": window\n")


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["--source", "nowhere.mp4", "--sink", "out.mp4"], "no such file", 2),
        (["--source", "camera:77", "--sink", "out.mp4"], "plug one in", 2),
        (["--source", "demo", "--sink", "out.gif"], "live pictures go to", 4),
        (["--source", "demo", "--sink", "-", "--json"], "--json", 2),
        (["--source", "demo", "--sink", "no/out.mp4"], "make it first", 4),
        (["--source", "demo", "--sink", "out.mp4", "--strength", "2"], "strength", 2),
        (["--source", "demo", "--sink", "out.mp4", "--input", "text"], "--help`", 2),
    ],
)
def test_what_is_refused_before_the_model_is_loaded(
    tmp_path: Path, refused, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str, code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(*words, code=code)


def test_the_source_is_not_written_over(tmp_path: Path, refused) -> None:
    source = write_video(tmp_path / "in.mp4")
    assert "the same" in refused("--source", source, "--sink", source)


def test_without_a_display_there_is_no_window(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame", reason="needs pygame-ce")
    virtual.forget(monkeypatch)
    assert "there is no display" in refused("--source", "demo", code=4)


def test_a_terminal_is_no_place_for_pictures() -> None:
    terminal, screen = pty.openpty()
    words = command("live", "--source", "demo", "--sink", "-", "--model", "nowhere")
    running = subprocess.Popen(words, stdout=screen, stderr=subprocess.PIPE, env=environment())
    os.close(screen)
    assert running.stderr is not None
    assert "ffplay" in one_line(running.stderr.read().decode())
    assert running.wait() == 4
    os.close(terminal)


@pytest.mark.parametrize("name", ["mss", "pygame"])
def test_a_library_that_is_not_there_is_one_line(name: str) -> None:
    words = ["--source", "screen", "--sink", "out.mp4"] if name == "mss" else ["--source", "demo"]
    code = (
        f"import sys; sys.modules[{name!r}] = None\nfrom millstream.cli import main\nsys.exit(main({['live', *words]}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == (2 if name == "mss" else 4)
    assert "pip install 'millstream[live]'" in one_line(ended.stderr)


WAITING = ["millstream: the source gives no pictures; waiting for it"]
AGAIN = ["millstream: pictures come again"]


class Stuck(Source):
    """One picture, and then nothing until it is let go on."""

    info = SourceInfo(32, 32)

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __iter__(self):
        yield Frame(0, np.zeros((32, 32, 3), np.uint8), monotonic())
        self.go_on.wait(virtual.LIMIT)
        yield Frame(1, np.zeros((32, 32, 3), np.uint8), monotonic())

    def close(self) -> None:
        self.go_on.set()


def test_a_source_that_stalls_is_said_once_and_that_it_is_back(
    small: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(player, "SILENT", 0.2)
    monkeypatch.setattr(player, "LOOK", 0.05)
    source, asked = Stuck(), threading.Event()
    with Stream.open(small, StreamConfig(width=32, height=32)) as stream:
        with Player(stream, source, asked, lambda: None) as play:
            notices = set()
            for _ in play.pictures():  # the stream sends the last picture again while nothing comes
                notices.add(play.status(1.0).notice)
                if play.notice:
                    source.go_on.set()
        assert play.error is None
    assert notices == {"", "the source gives no pictures; waiting for it"}
    lines = capsys.readouterr().err.splitlines()
    assert lines in (WAITING, WAITING + AGAIN)  # it may end before it is seen to be back


def test_nothing_young_enough_is_said(
    tmp_path: Path, small: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(player, "SILENT", 0.5)
    source, target = write_video(tmp_path / "in.mp4", frames=48), tmp_path / "out.mp4"
    words = ["--source", source, "--no-loop", "--sink", target, "--max-age", "1", "--model", small]
    main(["live", *map(str, words)])
    assert "every picture is older than --max-age allows" in capsys.readouterr().err.splitlines()[0]


def test_statistics_in_words() -> None:
    stats = LiveStats(
        submitted=100,
        finished=90,
        skipped=1,
        dropped_before=7,
        dropped_after=2,
        age_ms_p50=49.6,
        age_ms_p95=80.0,
        age_ms_p99=None,
        aged=3,
        backend="eager",
        width=512,
        height=256,
        steps=2,
        version=4,
        stalled=False,
        building=True,
        traded=("1 step",),
    )
    assert describe(stats, 24.04) == (
        "24.0 pictures a second",
        "age 50 / 80 / - ms",
        "skipped 1, dropped 9, too old 3",
        "eager, 512x256, steps 2",
        "given up: 1 step",
    )
