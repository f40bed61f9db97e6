"""Work beside a show: where it is done, with what priority, and that it is never lost."""

import os
import sys
import threading

import pytest

from millstream.backends import gentle

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such class")


def policy():
    return os.sched_getscheduler(0)


def test_before_a_show_work_is_done_here():
    assert not gentle.asked()
    assert gentle.aside(threading.get_ident, 60) == threading.get_ident()


@linux
def test_beside_a_show_work_gives_way_with_the_threads_that_it_begins():
    def work():
        seen = []
        child = threading.Thread(target=lambda: seen.append(policy()))
        child.start()
        child.join()
        return threading.get_ident(), policy(), *seen

    gentle.begin()
    assert gentle.asked()
    thread, *policies = gentle.aside(work, 60)
    assert thread != threading.get_ident()
    assert policies == [os.SCHED_IDLE, os.SCHED_IDLE]
    assert policy() == os.SCHED_OTHER


@linux
def test_what_is_starved_is_done_again_as_usual():
    end, policies = threading.Event(), []

    def work():
        policies.append(policy())
        if policies[-1] == os.SCHED_IDLE:
            end.wait(60)
        return policies[-1]

    gentle.begin()
    assert gentle.aside(work, patience=0.5) == os.SCHED_OTHER
    assert policies == [os.SCHED_IDLE, os.SCHED_OTHER]
    end.set()


@pytest.mark.parametrize("showing", [False, True])
def test_what_work_raises_is_raised(showing):
    def work():
        raise RuntimeError("no engine")

    if showing:
        gentle.begin()
    with pytest.raises(RuntimeError, match="no engine"):
        gentle.aside(work, 60)
