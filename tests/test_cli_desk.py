"""What a user does to a running `millstream live`: lines that are typed, undo, snapshots and recordings."""

import fcntl
import os
import pty
import shutil
import subprocess
import termios
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from millstream import Params, Stream, StreamConfig
from millstream.cli.desk import Desk
from millstream.cli.takes import Takes
from millstream.media import recording, room
from millstream.media.base import SourceInfo
from tests import tiny, toy, virtual
from tests.test_cli import command, environment, read_until


@pytest.fixture(scope="session")  # made before a test's output is caught: writing a model shows a bar
def small() -> str:
    return str(tiny.small())


class Failing(toy.ToyModel):
    """Gives numbers that are no picture, when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "failing", [])

    def denoise(self, x, t, cond):
        return super().denoise(x, t, cond) * (float("nan") if self.failing else 1)


@pytest.fixture
def desk():
    """A desk, its stream, and what it told."""
    form, told = StreamConfig(width=toy.SIDE, height=toy.SIDE, backend="eager"), []
    with Stream(Failing(), form, Params(prompt="a")) as stream:
        yield Desk(stream, told.append), stream, told


def prompt(stream: Stream) -> str:
    return stream.params.prompt[0].text


def test_a_line_is_a_prompt_and_an_empty_one_is_nothing(desk) -> None:
    desk, stream, told = desk
    desk.obey("a robin: in snow::0.7\n")
    assert (prompt(stream), stream.params.prompt[0].weight) == ("a robin: in snow", 0.7)
    desk.obey(" \n")
    assert prompt(stream) == "a robin: in snow"
    assert told == ["changed: prompt"]


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (":strength 0.6", "strength", 0.6),
        (":similarity-filter on", "similarity_filter", True),
        (":t_index [0, 20]", "t_index", (0, 20)),
        (":max_age 120ms", "max_age", 120),
        (":max_age", "max_age", None),
    ],
)
def test_a_setting_by_its_name(desk, line: str, name: str, value: object) -> None:
    desk, stream, _ = desk
    desk.obey(line)
    assert getattr(stream.params, name) == value


def test_a_setting_that_has_to_be_built(desk) -> None:
    desk, stream, told = desk
    desk.obey(":steps 3")
    virtual.wait_until(lambda: "changed: steps" in told)
    assert stream.config.steps == 3
    desk.undo()
    virtual.wait_until(lambda: told.count("changed: steps") == 2)
    assert stream.config.steps == 2


def test_undo_during_a_build_takes_back_what_is_built(desk) -> None:
    desk, stream, told = desk
    desk.obey("b")
    desk.obey(":steps 3")
    desk.undo()
    virtual.wait_until(lambda: told[-1] == "changed: steps" and stream.config.steps == 2)
    assert prompt(stream) == "b"
    desk.undo()
    assert prompt(stream) == "a"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (":strength 7", "strength: "),
        (":colour red", "no setting is called 'colour'; write a prompt"),
        (":input text", "no setting is called 'input'"),
        (":strength [", "strength: cannot be read"),
        (":seed 2024-99-99", "seed: cannot be read"),
        (":width 17", "multiples"),
        (":frame_buffer 3", "numbers that are no picture"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_to_undo(desk, line: str, message: str) -> None:
    desk, stream, told = desk
    if line.startswith(":frame"):
        stream._engine.model.failing.append(line)
    desk.obey(line)
    virtual.wait_until(lambda: message in told[-1])
    assert "\n" not in told[-1]
    assert stream.params == Params(prompt="a")
    desk.undo()
    assert told[-1] == "nothing to undo"


def test_undo_goes_back_change_by_change(desk) -> None:
    desk, stream, told = desk
    for line in ("b", ":strength 0.9", "c"):
        desk.obey(line)
    seen = []
    for _ in range(3):
        desk.undo()
        seen.append((prompt(stream), stream.params.strength))
    assert seen == [("b", 0.9), ("b", 0.5), ("a", 0.5)]
    desk.undo()
    assert told[-1] == "nothing to undo"


@pytest.fixture
def takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    return Takes(SourceInfo(16, 16), told.append), told


def test_snapshots_are_numbered_and_exact(takes, tmp_path: Path) -> None:
    takes, told = takes
    for number in range(2):
        takes.snapshot(toy.frame(number))
    assert told == ["saved millstream-001.png", "saved millstream-002.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "millstream-002.png")), toy.picture(1))


def test_a_recording_begins_and_ends_beside_the_show(takes, tmp_path: Path) -> None:
    takes, told = takes
    for number in range(3):
        takes.put(toy.frame(number))
    takes.record()
    for number in range(3, 8):
        takes.put(toy.frame(number))
    takes.record()
    takes.put(toy.frame(8))
    assert told == ["recording millstream-001.mp4; R ends it", "recorded millstream-001.mp4"]
    with av.open(str(tmp_path / "millstream-001.mp4")) as video:
        assert len(list(video.decode(video=0))) == 6
    takes.record()
    takes.close()
    assert (tmp_path / "millstream-002.mp4").exists()


def test_what_goes_wrong_is_told_and_the_show_goes_on(takes, tmp_path: Path) -> None:
    takes, told = takes
    takes.put(toy.frame(0))
    tmp_path.rmdir()
    takes.snapshot(toy.frame(0))
    takes.record()
    assert len(told) == 2 and all("millstream-001" in line and "\n" not in line for line in told)
    takes.put(toy.frame(1))
    takes.close()
    assert len(told) == 2


def test_a_recording_that_cannot_be_completed_is_told(takes, tmp_path: Path) -> None:
    takes, told = takes
    takes.put(toy.frame(0))
    takes.record()
    shutil.rmtree(tmp_path)
    takes.record()
    assert len(told) == 2 and "millstream-001.mp4" in told[1] and "recorded" not in told[1]
    takes.put(toy.frame(1))
    takes.close()
    assert len(told) == 2


def test_a_recording_ends_by_itself_before_the_disk_is_full(takes, tmp_path: Path, monkeypatch) -> None:
    takes, told = takes
    takes.put(toy.frame(0))
    takes.record()
    takes.put(toy.frame(1))
    monkeypatch.setattr(recording, "LOOK", -1.0)  # at every picture
    monkeypatch.setattr(room, "RESERVE", shutil.disk_usage(tmp_path).total + 1)
    takes.put(toy.frame(2))
    takes.put(toy.frame(3))
    takes.record()
    assert len(told) == 3 and all("free some space" in line for line in told[1:])
    with av.open(str(tmp_path / "millstream-001.mp4")) as video:
        assert len(list(video.decode(video=0))) == 2
    assert len(list(tmp_path.iterdir())) == 1


@virtual.needs_screen
@virtual.needs_keys
def test_a_show_in_a_window_is_steered(tmp_path: Path, small: str) -> None:
    """Lines from a real terminal, keys from outside, files in the folder it was started in."""
    pytest.importorskip("pygame", reason="needs pygame-ce")
    terminal, screen = pty.openpty()
    with virtual.screen():
        words = command("live", "--source", "demo", "--sink", "window", "--model", small)
        running = subprocess.Popen(
            words,
            stdin=screen,
            stdout=subprocess.PIPE,
            stderr=screen,
            env=environment(),
            cwd=tmp_path,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one call of the system
        )
        os.close(screen)
        virtual.wait_until(lambda: running.poll() is not None or virtual.seen()[200:280, 280:360].any())
        os.write(terminal, b"a robin in snow\n:strength 7\n")
        assert b"changed: prompt" in read_until(terminal, b"strength: ")
        virtual.press("u")
        read_until(terminal, b"changed: prompt")
        virtual.press("s")
        read_until(terminal, b"saved millstream-001.png")
        virtual.press("r")
        read_until(terminal, b"recording millstream-001.mp4")
        virtual.press("q")
        assert b"recorded millstream-001.mp4" in read_until(terminal, None)
        assert running.wait(virtual.LIMIT) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["millstream-001.mp4", "millstream-001.png"]
    os.close(terminal)
