"""Tests run eager, which is exact and starts at once; those of the back ends name theirs. None sees a user's cache."""

import os
from tempfile import TemporaryDirectory

import pytest

from tests import drawn
from training import objects

_cache = TemporaryDirectory(prefix="millstream-cache-", ignore_cleanup_errors=True)
os.environ["MILLSTREAM_BACKEND"] = "eager"
os.environ["MILLSTREAM_CACHE"] = _cache.name


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    """An engine cache for each file of tests: what one has built would let another start without its networks."""
    os.environ["MILLSTREAM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def drawings(tmp_path, monkeypatch):
    """Stand-ins for the objects of the scenes."""
    drawn.write(tmp_path / "objects.npz")
    monkeypatch.setattr(objects, "FILE", tmp_path / "objects.npz")
    drawn.forget()
    yield
    drawn.forget()
