"""What a live stream gives up for `max_age`, with real threads; the rule is proved in test_latency."""

import threading
from contextlib import contextmanager
from itertools import count
from time import monotonic, sleep

import pytest

from millstream import BadInputError, Frame, Params, Stream, StreamConfig
from tests import toy
from tests.test_live_change import LIMIT, MODEL, SIZE, show_until


def test_steps_are_traded_for_age_and_come_back():
    """Four steps take 80 ms or more: two keep the bound. Without it what was asked for is given back."""
    with Stream(toy.Slow(), StreamConfig(**SIZE, steps=8), Params(max_age="200ms")) as stream:
        wait_for_stats(stream, lambda stats: stats.traded[:1] in [("steps 8 -> 4",), ("steps 8 -> 2",)])
        traded = stream.stats()
        assert traded.steps < 8 and traded.aged > 0
        assert stream.config.steps == 8
        stream.update(max_age=None)
        wait_for_stats(stream, lambda stats: stats.steps == 8 and stats.traded == ())


def test_steps_are_traded_where_every_stage_is_set():
    """A rung with fewer steps uses indices that are spread over those that were given, also of new ones."""
    index = (0, 5, 10, 15, 20, 25, 30, 35)
    with Stream(toy.Slow(), StreamConfig(**SIZE, steps=8), Params(max_age="200ms", t_index=index)) as stream:
        wait_for_stats(stream, lambda stats: stats.steps < 8)
        assert stream.stats().traded
        newer = tuple(i + 4 for i in index)
        version = stream.update(t_index=newer, max_age="60s")
        assert stream.params.t_index == newer
        with pytest.raises(BadInputError, match="give 8 values"):
            stream.update(t_index=(0, 20))
        wait_for_stats(stream, lambda stats: stats.steps == 8 and stats.version > version)
        assert stream.params.t_index == newer


def test_steps_are_traded_and_come_back_while_the_prompt_travels():
    """Ten changes of the prompt a second say nothing of what a tick costs; a change of the bound does."""
    with Stream(toy.Slow(), StreamConfig(**SIZE, steps=8), Params(max_age="200ms")) as stream, travelling(stream):
        wait_for_stats(stream, lambda stats: stats.steps < 8)
        assert stream.stats().traded
        stream.update(max_age="60s")
        wait_for_stats(stream, lambda stats: stats.steps == 8 and stats.traded == ())


@contextmanager
def travelling(stream):
    """Change the prompt each tenth of a second."""
    arrived = threading.Event()

    def travel():
        for number in count():
            if arrived.wait(0.1):
                break
            stream.update(prompt=str(number))

    traveller = threading.Thread(target=travel)
    traveller.start()
    try:
        yield
    finally:
        arrived.set()
        traveller.join()


def test_where_nothing_keeps_the_bound_pictures_still_come_and_it_is_said():
    with Stream(toy.Slow(), StreamConfig(**SIZE, steps=2), Params(max_age=1)) as stream:
        wait_for_stats(stream, lambda stats: any(word.startswith("age 1 -> ") for word in stats.traded))
        assert show_until(stream, lambda frame: True, number=10**6)


def test_pictures_that_were_old_when_they_came_are_not_shown():
    with Stream(MODEL, StreamConfig(**SIZE, steps=1, stall="hold"), Params(max_age="1s")) as stream:
        stream.submit(Frame(0, toy.picture(0), monotonic() - 100))  # at the floor: nothing was shown before
        assert stream.poll(LIMIT).id == 0
        stream.submit(Frame(1, toy.picture(1), monotonic() - 100))
        wait_for_stats(stream, lambda stats: stats.aged == 1, submits=False)
        stream.submit(Frame(2, toy.picture(2), monotonic()))
        assert stream.poll(LIMIT).id == 2


def wait_for_stats(stream, accept, submits=True):
    end = monotonic() + LIMIT
    number = stream.stats().submitted
    while monotonic() < end:
        if submits:
            stream.submit(Frame(number, toy.picture(number % 9), monotonic()))
            number += 1
        sleep(0.02)
        if accept(stream.stats()):
            return
    raise AssertionError(stream.stats())
