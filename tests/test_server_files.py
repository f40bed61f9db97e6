"""What the server keeps on disk: recordings that play, snapshots, presets; names that it makes itself."""

from pathlib import Path
from queue import Queue
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from millstream.errors import BadInputError, OutputError
from millstream.frame import Frame
from millstream.params import ModelConfig, Params, Settings
from millstream.server.catalogue import Catalogue
from millstream.server.presets import NAME, Presets, name_of
from millstream.server.protocol import ProtocolError
from millstream.server.recordings import Kept, Recording, Shelf, snapshot
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


def test_nothing_recorded_is_nothing_written(tmp_path: Path) -> None:
    assert isinstance(record(tmp_path, []), OutputError)
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
