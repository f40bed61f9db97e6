"""The engine cache: damage, several processes, bounds, and the command that shows it."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millstream.backends.store import Store, cache_folder
from millstream.cli import main


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def never():
    raise AssertionError("built though it was there")


def engine_of(store, key):
    return store.folder / f"{key}.engine"


def test_an_engine_is_built_once_and_kept(store):
    assert store.get("k", "what it is", lambda: b"engine") == b"engine"
    assert store.get("k", "what it is", never) == b"engine"
    (entry,) = store.entries()
    assert (entry.key, entry.what) == ("k", "what it is")
    assert entry.size == engine_of(store, "k").stat().st_size > len(b"engine")
    assert abs(entry.used - time.time()) < 60


def test_keys_are_kept_apart(store):
    for key in ("a", "b"):
        store.get(key, "", key.encode)
    assert [store.get(key, "", never) for key in ("a", "b")] == [b"a", b"b"]


@pytest.mark.parametrize("size", [0, 1, 30, -1])
def test_a_file_cut_short_is_built_anew_with_a_notice(store, size):
    store.get("k", "", lambda: bytes(1000))
    file = engine_of(store, "k")
    file.write_bytes(file.read_bytes()[:size])
    with pytest.warns(UserWarning, match=r"k\.engine cannot be used and is built anew"):
        assert store.get("k", "", lambda: b"new") == b"new"
    assert store.get("k", "", never) == b"new"


@pytest.mark.parametrize("place", [3, 100, -1])
def test_a_changed_byte_is_seen(store, place):
    store.get("k", "", lambda: bytes(1000))
    damaged = bytearray(engine_of(store, "k").read_bytes())
    damaged[place] ^= 1
    engine_of(store, "k").write_bytes(damaged)
    with pytest.warns(UserWarning, match="built anew"):
        assert store.get("k", "", lambda: b"new") == b"new"


def test_a_build_that_fails_leaves_nothing(store):
    with pytest.raises(ZeroDivisionError):
        store.get("k", "", lambda: 1 // 0)
    assert store.entries() == []
    assert store.get("k", "", lambda: b"engine") == b"engine"


BUILD = """
import sys, time
from pathlib import Path
from millstream.backends.store import Store
def build():
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")
    time.sleep(0.5)
    return b"engine" * 1000
assert Store(Path(sys.argv[1])).get("k", "", build) == b"engine" * 1000
"""


def test_of_processes_that_build_at_once_the_others_wait_for_the_first(store, tmp_path):
    log = tmp_path / "log"
    words = [sys.executable, "-c", BUILD, str(tmp_path), str(log)]
    processes = [subprocess.Popen(words) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert log.read_text() == "built\n"


def test_a_process_that_died_while_building_blocks_nobody(store, tmp_path):
    code = "import os; from pathlib import Path; from millstream.backends.store import Store\n"
    code += f"Store(Path({str(tmp_path)!r})).get('k', '', lambda: os._exit(9))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert store.get("k", "", lambda: b"engine") == b"engine"


def test_what_was_used_longest_ago_goes_first(tmp_path):
    store = Store(tmp_path, limit=4000)
    for age, key in enumerate("abc"):
        store.get(key, "", lambda: bytes(1000))
        os.utime(engine_of(store, key), (1000 + age, 1000 + age))
    store.get("a", "", never)  # used again
    store.get("d", "", lambda: bytes(1000))
    assert {entry.key for entry in store.entries()} == {"d", "a", "c"}
    store.get("big", "", lambda: bytes(9000))
    assert [entry.key for entry in store.entries()] == ["big"]  # what was just built is kept, whatever its size


@pytest.mark.skipif(sys.platform == "win32", reason="needs a folder without a right to write")
def test_a_folder_that_cannot_be_used_is_said_and_costs_the_cache_alone(tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file")
    for _ in range(2):
        with pytest.warns(UserWarning, match="set MILLSTREAM_CACHE to a folder"):
            assert store.get("k", "", lambda: b"engine") == b"engine"
    assert store.entries() == [] == store.clear()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_full_disk_costs_the_cache_alone(store):
    store.get("other", "", lambda: b"engine")
    (store.folder / "k.part").symlink_to("/dev/full")
    with pytest.warns(UserWarning, match="not kept"):
        assert store.get("k", "", lambda: b"engine") == b"engine"
    assert [entry.key for entry in store.entries()] == ["other"]


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("MILLSTREAM_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("MILLSTREAM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "millstream"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "millstream"


@pytest.fixture
def shown(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MILLSTREAM_CACHE", str(tmp_path))

    def run(*words):
        assert main(["cache", *words]) == 0
        return capsys.readouterr().out

    return run


def test_the_command_lists_and_clears(shown, store):
    store.get("a", "small, openvino float32", lambda: bytes(3 * 2**20))
    store.get("b", "other", lambda: bytes(2**20))
    os.utime(engine_of(store, "b"), (1000, 1000))
    first, second, total = shown("list").splitlines()
    assert re.fullmatch(r" +3\.0 MiB  \d{4}-\d\d-\d\d \d\d:\d\d  small, openvino float32", first)
    assert second.endswith("other")
    assert total == f"2 engines, 4.0 MiB, kept: {store.folder}"
    facts = json.loads(shown("list", "--json"))
    assert [entry["key"] for entry in facts["engines"]] == ["a", "b"]
    assert shown("clear").endswith(f"2 engines, 4.0 MiB, cleared: {store.folder}\n")
    assert shown("list") == f"0 engines, 0.0 MiB, kept: {store.folder}\n"
    assert list(store.folder.iterdir()) == []


def test_a_damaged_file_is_listed_as_such(shown, store):
    store.get("a", "", lambda: b"engine")
    engine_of(store, "a").write_bytes(b"no head")
    assert "damaged" in shown("list")
