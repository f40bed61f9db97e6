import threading
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.queues import Channel, Mailbox, ahead


@given(st.lists(st.integers(), max_size=50), st.integers(1, 5))
def test_everything_comes_through_in_order(items, depth):
    with ahead(items, depth) as received:
        assert list(received) == items


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_never_more_than_depth_ahead(depth):
    produced = []

    def source():
        for i in range(50):
            produced.append(i)
            yield i

    with ahead(source(), depth) as received:
        for taken, item in enumerate(received):
            assert item == taken
            # in the queue, in the producer's hand, and the one just taken
            assert len(produced) <= taken + depth + 2


def test_an_error_arrives_behind_the_items_before_it():
    def source():
        yield 1
        yield 2
        raise ValueError("broken reel")

    with ahead(source()) as received:
        assert [next(received), next(received)] == [1, 2]
        with pytest.raises(ValueError, match="broken reel"):
            next(received)


def test_leaving_stops_an_endless_producer_and_closes_it():
    closed = threading.Event()

    def source():
        try:
            yield from count()
        finally:
            closed.set()

    before = threading.active_count()
    with ahead(source(), 2) as received:
        assert next(received) == 0
    assert closed.wait(5)
    assert threading.active_count() == before


def test_a_producer_that_waits_is_let_go():
    channel = Channel(1)
    assert channel.put("first")
    results = []
    waiting = threading.Thread(target=lambda: results.append(channel.put("second")))
    waiting.start()
    channel.abandon()
    waiting.join(5)
    assert results == [False]


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4))
def test_mailbox_keeps_the_newest_and_counts_the_rest(items, places):
    box = Mailbox(places)
    for item in items:
        box.put(item)
    assert box.waiting == min(len(items), places)
    assert box.take(places) == items[-places:]
    assert box.waiting == 0
    assert box.dropped == max(0, len(items) - places)
    assert box.take(1) == []


def test_a_waiting_take_gets_what_is_put():
    box = Mailbox()
    found = []
    taker = threading.Thread(target=lambda: found.extend(box.take(1, None)))
    taker.start()
    box.put("picture")
    taker.join(5)
    assert found == ["picture"]


def test_wake_lets_a_waiting_take_return_empty():
    box = Mailbox()
    found = []
    taker = threading.Thread(target=lambda: found.append(box.take(1, None)))
    taker.start()
    box.wake()
    taker.join(5)
    assert found == [[]]


def test_a_mailbox_changes_its_places_and_the_newest_stay():
    mailbox: Mailbox[int] = Mailbox(3)
    for i in range(3):
        mailbox.put(i)
    mailbox.resize(2)
    assert mailbox.dropped == 1
    mailbox.resize(4)
    for i in range(3, 6):
        mailbox.put(i)
    assert mailbox.take(9) == [2, 3, 4, 5]
    assert mailbox.dropped == 2


def test_an_end_that_comes_with_an_item_is_not_lost_to_it() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put(1)
    mailbox.wake()
    assert mailbox.take(timeout=None) == [1]
    assert mailbox.take(timeout=None) == []
