"""The doctor on the machine that the tests run on."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import av
import pytest
import torch

from millstream.cli import main
from millstream.doctor import Finding, codec, library, screen, window
from tests import virtual


def test_it_finds_what_the_main_job_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    found = {finding["name"]: finding["found"] for finding in report["findings"]}
    assert report["ok"] is True
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert found["av"] == av.__version__
    assert f"{os.cpu_count()} cores" in found["cpu"]
    assert found["embedded model"].startswith("loads, ")
    assert found["back end"] == "eager in float32, by --backend auto for the embedded model"  # as the tests have it
    assert found["openvino"] == found["inductor"] == "can run"
    assert found["engine cache"].startswith(os.environ["MILLSTREAM_CACHE"])
    assert {"camera", "screen", "window", "browser page"} <= found.keys()
    assert {"libx264 encoder", "libvpx-vp9 encoder", "aac encoder", "libopus encoder"} <= found.keys()
    assert found.get("cuda:0") is not None if torch.cuda.is_available() else found["cuda"] is None


def test_every_missing_thing_has_a_cure(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    for finding in json.loads(capsys.readouterr().out)["findings"]:
        assert finding["found"] or finding["cure"], finding["name"]


def test_the_page_for_people_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "ready"
    assert any(line.split()[:3] == ["ok", "python", platform.python_version()] for line in lines)
    assert all(line.split()[0] in ("ok", "optional") for line in lines[:-1])


@virtual.needs_screen
def test_a_display_is_found_for_the_screen_and_the_window() -> None:
    pytest.importorskip("pygame", reason="needs pygame-ce")
    with virtual.screen():
        assert screen() == Finding("screen", f"{virtual.WIDTH}x{virtual.HEIGHT}")
        assert window() == Finding("window", "x11")


def test_without_a_display_both_say_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    virtual.forget(monkeypatch)
    for finding in (screen(), window()):
        assert finding.found is None and finding.fine
        assert "start from a desktop" in finding.cure or "millstream[live]" in finding.cure


def test_a_library_that_is_not_there() -> None:
    missing = library("no-such-library")
    assert missing.found is None
    assert missing.cure == f"{sys.executable} -m pip install no-such-library"
    assert not missing.fine


def test_an_encoder_that_is_not_there() -> None:
    missing = codec("no-such-codec", required=True)
    assert missing.found is None and not missing.fine
    assert "pip install" in missing.cure


def test_what_is_found_is_fine() -> None:
    assert Finding("python", "3.13", required=True).fine


def test_without_torch_it_says_so_and_fails(tmp_path: Path) -> None:
    """A Python that sees everything that is installed here but torch."""
    for entry in Path(av.__file__).parents[1].iterdir():
        if not entry.name.startswith("torch"):
            (tmp_path / entry.name).symlink_to(entry)
    source = Path(__file__).parents[1] / "src"
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(source)!r}]\n"
    code += "from millstream.cli import main; sys.exit(main(['doctor']))"
    ended = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "MISSING   torch" in ended.stdout
    assert ended.stdout.endswith("not ready: see what is missing above\n")


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = "from millstream.doctor import hub_cache; found = hub_cache(); print(found.found, found.cure)"
    place = {"HF_HUB_CACHE": str(tmp_path / "file" / "hub")}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | place, capture_output=True, text=True, check=True
    )
    assert ended.stdout.startswith("None export HF_HUB_CACHE=")
