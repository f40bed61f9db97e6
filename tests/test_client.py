"""The Python client: what it yields, and that each failure is one line."""

import threading

import pytest

from millstream.client import Client
from millstream.errors import BadInputError, MillstreamError
from millstream.frame import Frame
from millstream.params import Params, Settings
from tests.serving import closes_with, picture, shared, wait_for

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def empty(pytestconfig: pytest.Config) -> None:
    closes_with(pytestconfig)
    wait_for(lambda: not shared().house.sessions, 60)


def test_it_yields_results_of_frames_and_arrays_in_order() -> None:
    with shared().client.open(Settings(params=Params(prompt="b", seed=5))) as stream:
        assert stream.welcome["settings"]["params"]["seed"] == 5
        frames = [picture(0), Frame(9, picture(1), 3.0), picture(2) / 255]
        results = list(stream.run(frames))
        assert [result.id for result in results] == sorted({result.id for result in results})
        assert results[-1].id == 2
        again = list(stream.run([picture(3)]))  # numbers go on, and old results are not given again
        assert [result.id for result in again][-1] == 3


def test_an_error_of_the_frames_is_raised_where_the_results_are_taken() -> None:
    def failing():
        yield picture(0)
        raise ValueError("the camera is gone")

    with shared().client.open() as stream, pytest.raises(ValueError, match="the camera is gone"):
        list(stream.run(failing()))


def test_stopping_half_way_leaves_no_thread() -> None:
    before = threading.active_count()
    with shared().client.open() as stream:
        for _ in stream.run(picture(k) for k in range(10_000)):
            break
    wait_for(lambda: threading.active_count() <= before + 2, 60)


def test_refusals_are_one_line() -> None:
    with shared().client.open() as stream:
        with pytest.raises(BadInputError, match="strength"):
            stream.set(strength=7)
        with pytest.raises(BadInputError, match="not a model"):
            stream.change(model={"name": "/etc"})
        with pytest.raises(BadInputError, match="no picture yet"):
            stream.snapshot()
    elsewhere = Settings.model_validate({"model": {"name": "/x"}})
    with pytest.raises(BadInputError, match="not a model"), shared().client.open(elsewhere):
        pass


def test_a_viewer_gets_every_new_result() -> None:
    with shared().client.open() as stream, shared().client.join(stream.session) as viewer:
        list(stream.run([picture(0)]))
        results = viewer.results()
        assert next(results).version == 1
        stream.set(seed=3)
        assert next(result for result in results if result.version == 2).pixels.shape == (32, 32, 3)


def test_a_session_that_ends_says_so() -> None:
    with shared().client.open() as stream:
        shared().client.call(f"sessions/{stream.session}", "DELETE")
        with pytest.raises(MillstreamError, match="the session was ended"):
            list(stream.run(picture(k) for k in range(1000)))


def test_no_server() -> None:
    with pytest.raises(MillstreamError, match="is the server running"), Client("http://127.0.0.1:9").open():
        pass
    with pytest.raises(MillstreamError, match="is it running"), Client("http://127.0.0.1:9").join("x"):
        pass
