"""The process that builds engines: what it makes is the graph, and whatever a compiler does stays in it."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from threading import Thread

import psutil
import pytest
import torch

from millstream.backends import gentle
from millstream.backends import workshop as shop
from millstream.backends.openvino import OpenVino
from millstream.backends.plain import Signature
from millstream.backends.plans import Plans
from millstream.backends.store import Store
from millstream.backends.workshop import Job, Workshop, workshop
from tests.test_backends_plans import BACKEND, Networks, assert_equal_to_the_graph, case, lazily


@pytest.fixture
def own():
    made = Workshop(idle=60)
    yield made
    made.close()


def job(made, backend=BACKEND, networks=None, played=()):
    form, inputs = made
    return Job(backend, networks or Networks(), form, Signature.of(inputs), played)


def loaded(engine, made):
    signature = Signature.of(made[1])
    return BACKEND.load(engine, made[0], signature, pytest.fail)(made[0], signature)  # it is the whole of it


def process_of(shop):
    return psutil.Process(shop._process.pid)


class Ending(OpenVino):
    """A compiler that takes its process with it."""

    def compile(self, networks, form, signature, played):
        os._exit(7)


class Talking(OpenVino):
    """A compiler that writes where answers are read, from Python and from below it."""

    def compile(self, networks, form, signature, played):
        print("a line")
        os.write(1, b"another line\n")
        return super().compile(networks, form, signature, played)


class Failing(OpenVino):
    """A compiler with a complaint of several lines."""

    def compile(self, networks, form, signature, played):
        raise ValueError("first line\n  second line")


@dataclass(frozen=True)
class Telling(OpenVino):
    """Its engine says what it was given, and where."""

    def compile(self, networks, form, signature, played):
        sums = [round(float(sum(tensor.sum() for tensor in tensors)), 3) for tensors in played]
        return repr((os.getpid(), torch.is_grad_enabled(), networks.parts[0].training, sums)).encode()


def test_an_engine_is_built_in_another_process_from_the_weights_and_inputs_given(own):
    networks, made = Networks(), case(frames=2, mode="full")
    with torch.no_grad():
        networks.parts[0].weight.mul_(0.5)
    engine = own.build(job(made, networks=networks))
    run = loaded(engine, made)
    assert_equal_to_the_graph(run, networks, *made)
    played = [(torch.ones(3), torch.ones(2)), (torch.full((4,), 0.25),)]
    pid, grad, training, sums = eval(own.build(job(made, Telling("float32", 1), played=played)))
    assert pid == process_of(own).pid != os.getpid()
    assert (grad, training, sums) == (False, False, [5.0, 1.0])


def test_a_compiler_that_ends_its_process_is_said_and_the_next_engine_is_built(own):
    made = case()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the compiler ended by itself, exit status 7"):
            own.build(job(made, Ending("float32", 1)))
    assert_equal_to_the_graph(loaded(own.build(job(made)), made), Networks(), *made)


def test_where_the_process_was_killed_between_two_jobs_another_begins(own):
    made = case()
    first = own.build(job(made, Telling("float32", 1)))
    process_of(own).kill()
    process_of(own).wait(20)
    assert own.build(job(made, Telling("float32", 1))) != first


def test_what_a_compiler_prints_is_no_answer(own, capfd):
    made = case()
    run = loaded(own.build(job(made, Talking("float32", 1))), made)
    assert_equal_to_the_graph(run, Networks(), *made)
    captured = capfd.readouterr()
    assert "a line" in captured.err and "another line" in captured.err
    assert not captured.out


def test_a_complaint_becomes_one_line(own):
    with pytest.raises(RuntimeError, match=r"^first line second line$"):
        own.build(job(case(), Failing("float32", 1)))


def test_the_process_ends_where_nothing_is_asked_of_it_and_begins_again():
    shop, made = Workshop(idle=0.3), case()
    shop.build(job(made, Telling("float32", 1)))
    first = process_of(shop)
    first.wait(20)
    with pytest.raises(RuntimeError, match="first line"):
        shop.build(job(made, Failing("float32", 1)))
    second = process_of(shop)
    assert second.pid != first.pid
    second.wait(20)  # after a failure too
    shop.close()
    assert shop._process is None


def test_jobs_of_several_threads_get_their_own_engines(own):
    made, found = case(), {}

    def ask(number):
        played = [(torch.full((1,), float(number)),)]
        found[number] = eval(own.build(job(made, Telling("float32", 1), played=played)))[-1]

    threads = [Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [float(number)] for number in range(6)}


@dataclass(frozen=True)
class Waiting(OpenVino):
    """A compiler that takes long where it gives way, and says how it ran."""

    seconds: float = 0.0

    def compile(self, networks, form, signature, played):
        idle = os.sched_getscheduler(0) == os.SCHED_IDLE
        time.sleep(self.seconds if idle else 0)
        return b"idle" if idle else b"usual"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such class")
def test_beside_a_show_an_engine_is_built_with_what_that_leaves_and_as_usual_where_that_takes_too_long(monkeypatch):
    monkeypatch.setattr(shop, "workshop", cache(lambda gives_way=False: Workshop(idle=60, gives_way=gives_way)))
    quick, slow = job(case(), Waiting("float32", 1)), job(case(), Waiting("float32", 1, 60.0))
    try:
        assert shop.build(slow) == b"usual"
        gentle.begin()
        assert shop.build(quick) == b"idle"
        monkeypatch.setattr(shop, "PATIENCE", 0.5)
        assert shop.build(slow) == b"usual"
        assert shop.workshop(gives_way=True)._process is None
        monkeypatch.setattr(shop, "PATIENCE", 60)
        assert shop.build(quick) == b"idle"  # another process has begun
        with pytest.raises(RuntimeError, match=r"^first line second line$"):
            shop.build(job(case(), Failing("float32", 1)))
    finally:
        shop.workshop().close()
        shop.workshop(gives_way=True).close()


ASKER = """
import sys
sys.path[:0] = {path!r}
import torch
from tests.test_backends_workshop import Slow, Workshop, case, job
print("asking", flush=True)
Workshop().build(job(case(), Slow("float32", 1)))
"""


class Slow(OpenVino):
    """A compiler that takes its time, and says when it has begun."""

    def compile(self, networks, form, signature, played):
        os.write(2, b"begun\n")
        time.sleep(2)
        return b"made"


def test_where_the_one_who_asked_is_killed_the_process_ends_and_nothing_is_left_lying(tmp_path):
    script = ASKER.format(path=[path for path in sys.path if path])
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, env=environment) as asker:
        while "begun" not in (line := asker.stderr.readline()):
            assert line
        (building,) = psutil.Process(asker.pid).children()
        assert [path.name[:11] for path in tmp_path.iterdir()] == ["millstream-"]
        asker.kill()
        asker.stderr.read()
    building.wait(30)
    assert list(tmp_path.iterdir()) == []


def test_plans_say_what_happened_there_with_the_cure(tmp_path):
    building = Plans(Networks(), Store(tmp_path)).prepare(Ending("float32", 1), *lazily(*case()))
    with pytest.raises(Exception, match=r"cannot build this model \(the compiler ended by itself.*use --backend eager"):
        building.result(60)
    assert workshop() is workshop()
