"""Engines of a worker: shared, bounded, let go of; and the time that their ticks take."""

import threading
import weakref
from time import monotonic, sleep

import pytest

from millstream.errors import BadInputError, ModelError
from millstream.frame import Frame
from millstream.params import ModelConfig, Params, StreamConfig
from millstream.server.engines import Engines, WatchedEngine, memory_held
from tests import tiny
from tests.workers import picture

SMALL = ModelConfig(name=str(tiny.small()))
SD1 = ModelConfig(name=str(tiny.sd1()))
SIZE = {"width": 32, "height": 32}


def test_an_engine_is_shared_and_kept_while_it_is_the_latest():
    engines = Engines(2)
    first = weakref.ref(engines.get(SMALL))
    assert engines.get(SMALL) is first()
    assert engines.all() == [first()]


def test_an_engine_that_nobody_uses_makes_room():
    engines = Engines(1)
    first = weakref.ref(engines.get(SMALL))
    used = engines.get(SD1)
    assert first() is None
    with pytest.raises(BadInputError, match="1 are in use"):
        engines.get(SMALL)
    assert engines.get(SD1) is used


def test_a_model_that_cannot_be_loaded_takes_no_place():
    engines = Engines(1)
    with pytest.raises(ModelError):
        engines.get(ModelConfig(name="no/such/model"))
    assert engines.all() == []
    assert engines.get(SMALL).model.width == 32


def test_ticks_are_watched(monkeypatch):
    engine = Engines(1).get(SMALL)
    session = engine.open(StreamConfig(**SIZE), Params())
    seen, entered, go_on = [], threading.Event(), threading.Event()
    monkeypatch.setattr(session, "settle", lambda: (entered.set(), go_on.wait()))

    def watched_tick(number):
        entered.clear()
        go_on.clear()
        ticking = threading.Thread(target=engine.tick, args=({session: [Frame(number, picture(number))]},))
        ticking.start()
        entered.wait()
        seen.append((engine.ticks.under_way > 0, engine.ticks.patient))
        go_on.set()
        ticking.join()
        seen.append((engine.ticks.under_way > 0, engine.ticks.patient))

    for number in range(2):
        watched_tick(number)
    assert seen == [(True, True), (False, False), (True, False), (False, False)]
    assert engine.ticks.last > 0


def test_a_first_tick_that_waits_for_another_lends_it_no_patience(monkeypatch):
    engine = Engines(1).get(SMALL)
    known, other = (engine.open(StreamConfig(**SIZE), Params()) for _ in range(2))
    engine.tick({known: [Frame(0, picture(0))]})
    entered, go_on, entered_then, go_on_then = (threading.Event() for _ in range(4))
    monkeypatch.setattr(known, "settle", lambda: (entered.set(), go_on.wait()))
    monkeypatch.setattr(other, "settle", lambda: (entered_then.set(), go_on_then.wait()))

    def tick(session):
        ticking = threading.Thread(target=engine.tick, args=({session: [Frame(1, picture(1))]},))
        ticking.start()
        return ticking

    first = tick(known)
    entered.wait()
    second = tick(other)
    while not engine.warming:
        sleep(0.01)
    sleep(0.5)
    before, turn = engine.ticks, monotonic()
    go_on.set()
    first.join()
    entered_then.wait()
    after, since = engine.ticks, monotonic() - turn
    go_on_then.set()
    second.join()
    assert (before.patient, after.patient) == (False, True)
    assert before.under_way >= 0.5
    assert after.under_way <= since, "counted since its turn came, not since it was asked for"


def test_memory_is_that_of_the_process():
    engine = Engines(1).get(SMALL)
    assert isinstance(engine, WatchedEngine)
    assert 2**24 < memory_held(engine.model.device) < 2**40
