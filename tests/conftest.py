"""Tests run eager, which is exact and starts at once; those of the back ends name theirs. None sees a user's cache."""

import os
from tempfile import TemporaryDirectory
from threading import Event

import pytest
from hypothesis import HealthCheck, settings

from millstream.backends import gentle
from tests import drawn
from training import objects

# That a machine has other work is no fault.
settings.register_profile("millstream", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("millstream")

_cache = TemporaryDirectory(prefix="millstream-cache-", ignore_cleanup_errors=True)
os.environ["MILLSTREAM_BACKEND"] = "eager"
os.environ["MILLSTREAM_CACHE"] = _cache.name


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    """An engine cache for each file of tests: what one has built would let another start without its networks."""
    os.environ["MILLSTREAM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def no_show(monkeypatch):
    """Each test begins as a process does, no show on: builds that give way to one would starve here."""
    monkeypatch.setattr(gentle, "_showing", Event())


@pytest.fixture
def drawings(tmp_path, monkeypatch):
    """Stand-ins for the objects of the scenes."""
    drawn.write(tmp_path / "objects.npz")
    monkeypatch.setattr(objects, "FILE", tmp_path / "objects.npz")
    drawn.forget()
    yield
    drawn.forget()


@pytest.fixture(scope="module")
def browser():
    """Chromium, or a skip that says what is missing."""
    from tests.page_browser import chromium  # noqa: PLC0415

    with chromium() as running:
        yield running


@pytest.fixture
def echo():
    """A server that sends the page's pictures straight back."""
    from tests.page_server import Echo  # noqa: PLC0415

    return Echo()


@pytest.fixture
def address(echo):
    """Where it answers."""
    from tests.page_server import serving  # noqa: PLC0415

    with serving(echo) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def page(browser, address):
    """The page, live, against it; nothing may be written to its console as an error."""
    from tests.page_browser import live, open_page  # noqa: PLC0415

    opened = open_page(browser, address)
    live(opened)
    yield opened
    opened.context.close()
    assert opened.faults == []


@pytest.fixture
def room(page, echo):
    """The page's session there."""
    return next(iter(echo.rooms.values()))
