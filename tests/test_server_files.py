"""What the server keeps on disk: recordings that play, snapshots, presets; names that it makes itself."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from time import monotonic, sleep, time
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from millstream.errors import BadInputError, OutputError
from millstream.frame import Frame, Pixels
from millstream.params import ModelConfig, Params, Settings
from millstream.server import demo
from millstream.server.catalogue import Catalogue
from millstream.server.presets import NAME, Presets, name_of
from millstream.server.protocol import ProtocolError
from millstream.server.recordings import STALE, Kept, Recording, Shelf, snapshot
from millstream.server.refused import RefusedError
from tests.serving import picture

ROOMY = 2**40


def record(tmp_path: Path, frames: list[Frame], seconds: float = 60.0) -> Any:
    shelf, results = Shelf("recording", tmp_path, ROOMY), Queue[Any]()
    recording = Recording(shelf, shelf.new(), seconds, results.put)
    for frame in frames:
        recording.put(frame)
        while recording._queue.qsize() > 8:  # not faster than the disk, so that all are there to count
            pass
    recording.stop()
    return results.get(timeout=60)


def moments(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def test_a_recording_has_every_result_at_the_time_of_its_capture(tmp_path: Path) -> None:
    times = [100.0, 100.04, 100.05, 100.2, 101.0]
    kept = record(tmp_path, [Frame(k, picture(k), time, 1) for k, time in enumerate(times)])
    assert isinstance(kept, Kept)
    path = Shelf("recording", tmp_path, ROOMY).find(kept.name)
    assert moments(path) == pytest.approx([time - 100.0 for time in times], abs=2e-4)
    assert kept.seconds == pytest.approx(1.0)
    assert kept.bytes == path.stat().st_size > 0


def test_a_change_of_size_and_a_step_back_in_time_leave_it_playable(tmp_path: Path) -> None:
    sizes, times = [32, 48, 32, 32], [5.0, 5.1, 5.05, 5.2]
    frames = [Frame(k, picture(k, side), time) for k, (side, time) in enumerate(zip(sizes, times, strict=True))]
    kept = record(tmp_path, frames)
    assert moments(tmp_path / "recordings" / kept.name) == pytest.approx([0.0, 0.1, 0.2], abs=2e-4)


def test_a_picture_that_is_sent_again_is_recorded_when_it_comes(tmp_path: Path) -> None:
    kept = record(tmp_path, [Frame(3, picture(k), 5.0) for k in range(3)])
    found = moments(tmp_path / "recordings" / kept.name)
    assert found[0] == 0.0
    assert found == sorted(set(found))


def test_a_recording_ends_by_itself(tmp_path: Path) -> None:
    shelf, results = Shelf("recording", tmp_path, ROOMY), Queue[Any]()
    recording = Recording(shelf, shelf.new(), 1.0, results.put)
    for k in range(5):
        recording.put(Frame(k, picture(k), 0.5 * k))
    assert results.get(timeout=60).seconds == pytest.approx(1.0)
    recording.stop()


def test_recordings_together_end_where_the_shelf_is_full(tmp_path: Path) -> None:
    shelf, results = Shelf("recording", tmp_path, 20_000), Queue[Any]()
    recordings = [Recording(shelf, shelf.new(), 600.0, results.put) for _ in range(2)]
    end, k = monotonic() + 60, 0
    while results.qsize() < 2:
        assert monotonic() < end, "they never ended"
        for recording in recordings:
            recording.put(Frame(k, noise(k), k / 30))
        k += 1
        sleep(0.01)
    for kept in (results.get(), results.get()):
        assert kept.seconds < 600
        assert len(moments(shelf.find(kept.name))) > 1
    with pytest.raises(OutputError, match="no room"):
        shelf.new()


def noise(k: int) -> Pixels:
    return np.random.default_rng(k).integers(0, 256, (64, 64, 3), np.uint8)


def test_what_a_killed_server_left_half_written_is_removed_and_what_is_being_written_stays(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name, age in ((".left.mp4", 2 * STALE), (".under-way.mp4", 0.0), ("20261121-101010-00000000.mp4", 2 * STALE)):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (time() - age, time() - age))
    Shelf("recording", tmp_path, ROOMY)
    assert sorted(path.name for path in folder.iterdir()) == [".under-way.mp4", "20261121-101010-00000000.mp4"]


def test_a_shelf_that_cannot_be_is_one_line_that_names_the_cure(tmp_path: Path) -> None:
    (tmp_path / "recordings").touch()
    shelf = Shelf("recording", tmp_path, ROOMY)
    with pytest.raises(OutputError, match="--data") as refused:
        shelf.new()
    assert "\n" not in str(refused.value)
    assert shelf.files() == []
    (tmp_path / "clips").touch()
    with pytest.raises(OutputError, match="--data"):
        demo.clip(tmp_path / "clips")
    (tmp_path / "snapshots").touch()
    with pytest.raises(OutputError, match="--data"):
        snapshot(Shelf("snapshot", tmp_path, ROOMY), Frame(0, picture(0)))


def test_files_that_vanish_while_they_are_counted_are_not_counted(tmp_path: Path) -> None:
    shelf = Shelf("recording", tmp_path, ROOMY)
    shelf.new()
    (shelf.folder / "20261121-101010-00000000.mp4").symlink_to(tmp_path / "gone")
    assert shelf.new().parent == shelf.folder
    assert shelf.files() == []


def test_whatever_ends_a_recording_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, results = Shelf("recording", tmp_path, ROOMY), Queue[Any]()
    recording = Recording(shelf, shelf.new(), 60.0, results.put)

    def broken(path: Path) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(shutil, "disk_usage", broken)
    recording.put(Frame(0, picture(0)))
    told = results.get(timeout=60)
    assert isinstance(told, OutputError)
    assert "the disk is gone" in str(told)
    results.put("what `done` is told comes once")
    assert results.qsize() == 1


def test_nothing_recorded_is_nothing_written(tmp_path: Path) -> None:
    told = record(tmp_path, [])
    assert isinstance(told, RefusedError) and told.status == 409
    assert list((tmp_path / "recordings").iterdir()) == []


def test_a_full_shelf_takes_no_more(tmp_path: Path) -> None:
    shelf = Shelf("snapshot", tmp_path, 100)
    kept = snapshot(shelf, Frame(0, picture(0)))
    assert kept.bytes > 100
    with pytest.raises(OutputError, match="no room"):
        snapshot(shelf, Frame(1, picture(1)))


def test_a_snapshot_is_exact(tmp_path: Path) -> None:
    shelf = Shelf("snapshot", tmp_path, ROOMY)
    kept = snapshot(shelf, Frame(0, picture(3)))
    assert np.array_equal(np.array(Image.open(shelf.find(kept.name))), picture(3))
    assert shelf.files() == [kept]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "", ".", "20261121-101010-00000000.png", "a\0b"])
def test_other_files_are_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    shelf = Shelf("snapshot", tmp_path, ROOMY)
    shelf.new()
    with pytest.raises(BadInputError, match="no snapshot"):
        shelf.find(name)


def test_presets_come_back(tmp_path: Path) -> None:
    presets = Presets(tmp_path / "presets", 3)
    settings = Settings(params=Params(prompt=["gold::0.7", "früh"], seed=5))
    assert presets.names() == []
    assert presets.save("Gold & Früh!", settings) == "gold-fruh"
    assert presets.load("gold-fruh") == settings
    presets.save("gold fruh", Settings())
    assert presets.load("gold-fruh") == Settings()
    for title in ("b", "c"):
        presets.save(title, settings)
    with pytest.raises(OutputError, match="delete one"):
        presets.save("d", settings)
    presets.delete("b")
    assert presets.names() == ["c", "gold-fruh"]
    with pytest.raises(BadInputError, match="no preset"):
        presets.load("b")


def test_presets_of_one_name_that_are_saved_at_once_are_each_whole(tmp_path: Path) -> None:
    presets = Presets(tmp_path / "presets", 3)
    wanted = [Settings(params=Params(prompt="x" * 1500, seed=seed)) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda each: presets.save("same", each), wanted)) == {"same"}
    assert presets.load("same") in wanted
    assert [path.name for path in (tmp_path / "presets").iterdir()] == ["same.yaml"]


def test_presets_without_a_folder_are_one_line_that_names_the_cure(tmp_path: Path) -> None:
    (tmp_path / "presets").touch()
    with pytest.raises(OutputError, match="--data"):
        Presets(tmp_path / "presets", 3).save("gold", Settings())


@given(st.text(max_size=300))
def test_any_title_becomes_a_safe_name_or_is_refused(title: str) -> None:
    try:
        name = name_of(title)
    except BadInputError:
        return
    assert NAME.fullmatch(name)
    assert name_of(name) == name


def test_a_client_names_models_and_gives_no_paths(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "weights.safetensors").touch()
    (tmp_path / "notes.txt").touch()
    catalogue = Catalogue(tmp_path, ModelConfig(name="/models/sd", vae="/models/vae"))
    assert catalogue.names() == ["/models/sd", "/models/vae", "embedded", "own", "weights.safetensors"]
    assert catalogue.resolve({"name": "own"}) == {"name": str(tmp_path / "own")}
    assert catalogue.resolve({"name": "/models/sd", "device": "cpu"}) == {"name": "/models/sd", "device": "cpu"}
    found = catalogue.resolve({"lora": ["weights.safetensors::0.5"]})
    assert found == {"lora": [{"path": str(tmp_path / "weights.safetensors"), "scale": 0.5}]}
    for wanted in (
        {"name": "/etc"},
        {"name": "someone/model"},
        {"vae": "../own"},
        {"lora": ["/x"]},
        {"name": "notes.txt"},
    ):
        with pytest.raises(ProtocolError) as refused:
            catalogue.resolve(wanted)
        assert refused.value.field == next(iter(wanted))
