"""The supervisor, with worker processes that die, hang, and run out of memory."""

import os
import resource
import signal
import tempfile
import threading
from functools import partial
from time import monotonic, sleep

import numpy as np
import psutil
import pytest

from millstream.frame import Frame
from millstream.models import load_model
from millstream.server import watch as watch_module
from millstream.server.engines import WatchedEngine
from millstream.server.messages import (
    OUT_OF_MEMORY,
    Answered,
    Back,
    Beat,
    Failed,
    Lost,
    Opened,
    Picture,
    Stats,
    Ticks,
)
from millstream.server.supervisor import Supervisor
from millstream.server.watch import Limits, Watch
from tests.workers import LIMIT, SOON, Running, load_noting, picture, settings, wait_until, without_load


@pytest.fixture
def running(tmp_path):
    with Running(partial(load_noting, tmp_path)) as running:
        yield running


def expect_recovery(running, reason, loads, sid="s"):
    """Wait for the loss, the session open again, and the end of the recovery soon after, in this order."""
    assert running.told.wait(Lost).reason == reason
    opened = running.told.wait(Opened)
    assert opened.sid == sid
    assert 0 < without_load(running.told.wait(Back), loads) < SOON
    return opened


def test_a_killed_worker_is_replaced_and_the_stream_goes_on(running, tmp_path):
    running.open("s", settings())
    running.supervisor.set("s", 1, {"prompt": "a tree", "seed": 5})
    accepted = running.told.wait(Answered)
    before = running.picture("s", 0)
    first = running.supervisor.pid
    os.kill(first, signal.SIGKILL)
    opened = expect_recovery(running, "died", tmp_path)
    assert (opened.params, opened.config, opened.version, opened.traded) == (accepted.params, accepted.config, 2, "")
    assert running.supervisor.pid != first
    again = running.told.wait(Picture).frame  # of the picture sent last, though the source sends no other
    assert (again.id, again.version) == (0, 2)
    assert np.array_equal(again.pixels, before.pixels)
    assert running.picture("s", 1).version == 2


def test_what_was_not_answered_is_refused_and_what_follows_is_done(running):
    running.open("s", settings())
    os.kill(running.supervisor.pid, signal.SIGSTOP)
    running.supervisor.set("s", 1, {"seed": 1})
    os.kill(running.supervisor.pid, signal.SIGKILL)
    assert "again" in running.refusal(1)
    running.supervisor.set("s", 2, {"seed": 2})
    answer = running.told.wait(Answered)
    assert (answer.request, answer.version, answer.params.seed) == (2, 2, 2)


def test_a_hanging_worker_is_replaced(tmp_path):
    with Running(partial(load_noting, tmp_path), hang=1.0) as running:
        running.open("s", settings())
        running.picture("s", 0)
        running.told.wait(Stats, lambda event: event.stats.finished)  # and with it a beat that tells of no first tick
        os.kill(running.supervisor.pid, signal.SIGSTOP)
        for number in range(1, 50):  # more than a pipe holds
            running.supervisor.submit("s", Frame(number, picture(number, 512)))
        expect_recovery(running, "hung", tmp_path)
        assert running.told.wait(Picture, lambda event: event.frame.id == 49)


class Hanging(WatchedEngine):
    """Its ticks do not end once `hangs` is there."""

    def __init__(self, hangs, config):
        super().__init__(load_model(config))
        self._hangs = hangs

    def tick(self, entering):
        for session in entering:
            session.settle = self._wait  # within its turn
        return super().tick(entering)

    def _wait(self):
        while self._hangs.exists():
            sleep(0.05)


def hanging_or_loading(hangs, config):
    if config.name == "embedded":
        sleep(LIMIT)
    return Hanging(hangs, config)


def test_a_hang_is_seen_while_another_session_opens(tmp_path):
    wanted, hangs = settings(), tmp_path / "hangs"
    slow = wanted.model_copy(update={"model": wanted.model.model_copy(update={"name": "embedded"})})
    with Running(partial(hanging_or_loading, hangs), hang=1.0) as running:
        running.open("s", wanted)
        for number in range(3):
            running.picture("s", number)
        running.supervisor.open("slow", slow)
        hangs.touch()
        begun = monotonic()
        running.send("s", 3)
        assert running.told.wait(Lost).reason == "hung"
        assert monotonic() - begun < 60, "the patience for what opens is 300 s"


def test_where_memory_runs_out_the_picture_gets_smaller(running, tmp_path):
    running.open("s", settings(width=64, height=64))
    running.open("small", settings())
    before = running.picture("s", 0)
    process = psutil.Process(running.supervisor.pid)
    bound = process.memory_info().vms + 2**20
    resource.prlimit(process.pid, resource.RLIMIT_AS, (bound, bound))
    running.supervisor.submit("s", Frame(1, np.zeros((3072, 4096, 3), np.uint8)))  # for which there is no memory
    assert running.told.wait(Lost).reason == "memory"
    opened = [running.told.wait(Opened) for _ in range(2)]
    large, small = sorted(opened, key=lambda event: event.sid)
    assert (large.traded, small.traded) == ("size 64x64 -> 48x48", "")
    assert (large.config.width, large.settings.config.width, small.config.width) == (48, 48, 32)
    assert without_load(running.told.wait(Back), tmp_path) < SOON
    assert before.pixels.shape == (64, 64, 3)
    assert running.told.wait(Picture, lambda event: event.sid == "s").frame.pixels.shape == (48, 48, 3)


def test_it_gives_up_after_so_many_restarts_and_tries_again_when_asked(tmp_path):
    with Running(partial(load_noting, tmp_path), restarts=1) as running:
        running.open("s", settings())
        os.kill(running.supervisor.pid, signal.SIGKILL)
        expect_recovery(running, "died", tmp_path)
        os.kill(running.supervisor.pid, signal.SIGKILL)
        assert "2 times" in running.told.wait(Failed).message
        running.supervisor.set("s", 9, {"seed": 1})
        assert "no such session" in running.refusal(9)
        running.open("t", settings())
        assert running.picture("t", 0).id == 0


def test_sessions_and_changes_are_bounded():
    with Running(sessions=1, commands=2) as running:
        running.open("s", settings())
        running.supervisor.open("t", settings())
        assert "places are taken" in running.refusal(0)
        os.kill(running.supervisor.pid, signal.SIGSTOP)
        for request in (1, 2, 3):
            running.supervisor.set("s", request, {"seed": request})
        assert "too many" in running.refusal(3)
        os.kill(running.supervisor.pid, signal.SIGCONT)
        assert [running.told.wait(Answered).request for _ in range(2)] == [1, 2]


def test_who_opens_and_closes_leaves_nothing(running):
    """Fifty sessions one after the other, with a picture each: neither process holds more than after the first few."""

    def cycle(name):
        running.open(name, settings())
        running.picture(name, 0)
        running.supervisor.close(name)

    for i in range(3):
        cycle(f"first-{i}")
    before = held_at_rest(running)
    for i in range(50):
        cycle(f"then-{i}")
    assert all(now <= then for now, then in zip(held_at_rest(running), before, strict=True)), before


def held_at_rest(running):
    """Threads and files of the worker and of this process, once they have been the same for a second."""
    worker, here = psutil.Process(running.supervisor.pid), psutil.Process()
    seen = []

    def same():
        seen.append((worker.num_threads(), worker.num_fds(), threading.active_count(), here.num_fds()))
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    wait_until(same, f"no rest: {seen[-10:]}")
    return seen[-1]


@pytest.mark.parametrize("state", ["idle", "stopped", "opening", "building"])
def test_the_end_leaves_nothing(state, monkeypatch, tmp_path):
    Running().__enter__().__exit__()  # Python's own fork server and its files, which stay
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    threads, files = threading.active_count(), psutil.Process().num_fds()
    with Running(stop=1.0) as running:
        wanted = settings()
        running.open("s", wanted)
        pid, compilers = running.supervisor.pid, []
        assert len(list(tmp_path.iterdir())) == 1
        if state == "stopped":
            os.kill(pid, signal.SIGSTOP)
        if state == "opening":
            embedded = wanted.model.model_copy(update={"name": "embedded"})
            running.supervisor.open("t", wanted.model_copy(update={"model": embedded}))
        if state == "building":
            running.supervisor.change("s", 1, None, {"backend": "inductor"})
            wait_until(lambda: psutil.Process(pid).children(), "no compiler runs")
            compilers = psutil.Process(pid).children()
    assert not psutil.pid_exists(pid)
    assert list(tmp_path.iterdir()) == []
    assert (threading.active_count(), psutil.Process().num_fds()) == (threads, files)
    assert psutil.wait_procs(compilers, LIMIT)[1] == []


def test_nobody_waits_for_a_worker_that_stands_still(running):
    """Every call comes back though the worker reads nothing; pictures that it missed are gone but for the newest."""
    running.open("s", settings())
    os.kill(running.supervisor.pid, signal.SIGSTOP)
    callers = threading.Thread(target=call_everything, args=(running,), daemon=True)
    callers.start()
    callers.join(LIMIT)
    assert not callers.is_alive()
    os.kill(running.supervisor.pid, signal.SIGCONT)
    missing = {Opened, Picture}  # either may come first
    while missing:
        found = running.told.wait(tuple(missing), lambda event: isinstance(event, Opened) or event.frame.id == 199)
        missing.remove(type(found))


def call_everything(running):
    for number in range(200):
        running.supervisor.submit("s", Frame(number, picture(number, 512)))
    for request in range(1, 20):
        running.supervisor.set("s", request, {"seed": request})
    running.supervisor.change("s", 20, None, {"steps": 1})
    running.supervisor.open("t", settings())


def test_calls_after_the_end_come_back():
    with Running() as running:
        running.open("s", settings())
    call_everything(running)
    running.supervisor.stop()


@pytest.mark.parametrize(
    ("beat", "hangs"),
    [
        (Beat((Ticks(4.0, 0.1),), patient=False), False),
        (Beat((Ticks(6.0, 0.1),), patient=False), True),
        (Beat((Ticks(6.0, 0.7),), patient=False), False),
        (Beat((Ticks(8.0, 0.7),), patient=False), True),
        (Beat((Ticks(8.0, patient=True),), patient=True), False),
        (Beat((Ticks(301.0, patient=True),), patient=True), True),
        (Beat((Ticks(0.0, 9.0),), patient=False), False),
        (Beat((Ticks(6.0, 0.1), Ticks(8.0, patient=True)), patient=True), True),
        (Beat((Ticks(6.0, 0.1), Ticks(0.0, 9.0)), patient=False), True),
        (Beat((), patient=True), False),
    ],
)
def test_what_counts_as_hung(beat, hangs):
    watch = Watch(Limits())
    assert not watch.up
    watch.hear(beat)
    assert watch.up
    assert watch.hangs() is hangs


def test_a_fault_of_the_supervisor_ends_the_worker_and_is_told_and_a_new_session_tries_again(caplog):
    running = Running()
    told = running.told

    def faulty(event):
        if isinstance(event, Answered) and event.params.seed == 13:
            raise KeyError("thirteen")
        told(event)

    running.supervisor = Supervisor(faulty, Limits())
    with running:
        running.open("s", settings())
        worker = psutil.Process(running.supervisor.pid)
        running.supervisor.set("s", 1, {"seed": 13})
        assert "thirteen" in told.wait(Failed).message
        assert "thirteen" in caplog.text
        assert not worker.is_running()
        running.open("t", settings())
        assert running.picture("t", 0).id == 0
    assert not [event for event in told.events if isinstance(event, Failed)]


def test_a_kill_is_lack_of_memory_where_the_system_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(watch_module, "KILLS", tmp_path / "vmstat")
    assert not Watch(Limits()).out_of_memory(-signal.SIGKILL)
    (tmp_path / "vmstat").write_text("nr_free_pages 17\noom_kill 3\n")
    watch = Watch(Limits())
    assert not watch.out_of_memory(-signal.SIGKILL)
    (tmp_path / "vmstat").write_text("nr_free_pages 17\noom_kill 4\n")
    assert watch.out_of_memory(-signal.SIGKILL)
    assert not watch.out_of_memory(-signal.SIGSEGV)
    assert watch.out_of_memory(OUT_OF_MEMORY)
