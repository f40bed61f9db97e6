import io
import json
import tarfile

import numpy as np
import pytest

from tests import drawn
from training import objects
from training.things import THINGS

pytest.importorskip("resvg_py", reason="the drawing of icons needs the extra 'train'")
from training import icons, sources


def package(path, svgs):
    text = json.dumps({"icons": {name: {"body": body} for name, body in svgs.items()}}).encode()
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("package/icons.json")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return path


def test_icons_are_read_from_their_package_and_trimmed(tmp_path):
    bar = '<rect x="4" y="10" width="20" height="5" fill="#ff0000"/>'
    found = icons.bodies(package(tmp_path / "icons.tgz", {"bar": bar, "other": "<g/>"}))
    assert found == {"bar": bar, "other": "<g/>"}
    made = icons.trimmed(objects.premultiplied(sources.draw(icons.FRAME.format(found["bar"]), 512)))
    assert made.shape == (64, 256, 4)
    assert tuple(made[32, 128]) == (255, 0, 0, 255)


def test_colours_times_alpha_never_exceed_alpha():
    rng = np.random.default_rng(0)
    made = objects.premultiplied(rng.integers(0, 256, (40, 30, 4), np.uint8))
    assert (made[..., :3] <= made[..., 3:]).all()


def test_objects_are_kept_at_shrinking_sizes(tmp_path, monkeypatch):
    drawn.write(tmp_path / "objects.npz")
    monkeypatch.setattr(objects, "FILE", tmp_path / "objects.npz")
    drawn.forget()
    loaded = objects.load()
    drawn.forget()
    assert list(loaded) == list(THINGS)
    assert [level.shape[1] for level in loaded["cat"]] == [256, 181, 128, 91]
    assert np.array_equal(loaded["cat"][0], drawn.drawing(0))
