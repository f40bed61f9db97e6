"""The fair lock: one at a time, in the order of asking."""

import threading
from contextvars import copy_context
from time import sleep

import pytest

from millstream.turns import Turns, held


def test_one_at_a_time():
    turns, inside, most, rounds = Turns(), [], [], 200

    def work():
        for _ in range(rounds):
            with turns:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 4 * rounds
    assert max(most) == 1


def test_whoever_asked_first_goes_first():
    turns, order = Turns(), []

    def work(number):
        with turns:
            order.append(number)

    with turns:
        threads = []
        for number in range(5):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            while len(turns._waiting) < number + 2:
                sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(5))


def test_beside_one_that_never_rests_nobody_starves():
    turns, held, other = Turns(), [], []
    stop = threading.Event()

    def greedy():
        while not stop.is_set():
            with turns:
                held.append(1)
                sleep(0.001)

    thread = threading.Thread(target=greedy)
    thread.start()
    while not held:
        sleep(0.001)
    for _ in range(20):
        before = len(held)
        with turns:
            other.append(len(held) - before)
    stop.set()
    thread.join()
    assert max(other) <= 2


def test_an_error_gives_the_turn_on():
    turns = Turns()
    with pytest.raises(ValueError, match="x"), turns:
        raise ValueError("x")
    with turns:
        pass


def test_a_holder_holds_it_for_those_that_work_in_its_context():
    turns, inside, entered = Turns(), threading.Barrier(3), []

    def work():
        with held(turns):
            inside.wait(60)

    def enter():
        with held(turns):
            entered.append(1)

    with held(turns):
        helpers = [threading.Thread(target=copy_context().run, args=(work,)) for _ in range(2)]
        for helper in helpers:
            helper.start()
        work()
        for helper in helpers:
            helper.join()
        stranger = threading.Thread(target=enter)
        stranger.start()
        while len(turns._waiting) < 2:
            sleep(0.001)
        assert not entered
    stranger.join()
    assert entered
    with held(turns):
        assert len(turns._waiting) == 1, "not held for ever"
