"""One session in the worker, on a slow engine: what it answers is what was asked for, whatever is traded meanwhile."""

from time import monotonic

import pytest

from millstream import Frame, Params, StreamConfig
from millstream.params import ModelConfig, Settings
from millstream.server.engines import Engines, WatchedEngine
from millstream.server.mail import Mail
from millstream.server.messages import Answered, Change, Open, Opened, Refused, Set
from millstream.server.seat import Seat
from tests import toy
from tests.workers import Told

INDEX = (0, 5, 10, 15, 20, 25, 30, 35)


class Sitting:
    """A seat that is opened, and what it told."""

    def __init__(self, seat: Seat, mail: Mail) -> None:
        self.seat, self._mail, self.told = seat, mail, Told()
        self._sent = 0

    def ask(self, kind, request, *fields):
        self.seat.do(kind("s", request, *fields))

    def answer(self, request, kind=Answered):
        return self.wait(kind, lambda event: event.request == request)

    def wait(self, kind, accept=lambda event: True):
        """The first such event; pictures go on being submitted, and pictures that come are let go of."""
        self.show_until(lambda: self._found(kind, accept))
        return self.told.wait(kind, accept)

    def show_until(self, accept):
        end = monotonic() + toy.LIMIT
        while not accept():
            assert monotonic() < end, self.told.events
            self.seat.submit(Frame(self._sent, toy.picture(self._sent % 9), monotonic()))
            self._sent += 1
            self._read()

    def trade(self):
        """Show until steps are given up."""
        self.show_until(lambda: self.stats().traded and self.stats().steps < 8)

    def stats(self):
        return self.seat._opened().stats()

    def _found(self, kind, accept):
        return any(isinstance(event, kind) and accept(event) for event in self.told.events)

    def _read(self):
        end = monotonic() + 0.02
        while (left := end - monotonic()) > 0:
            message = self._mail.take(left)
            if isinstance(message, Opened | Answered | Refused):
                self.told(message)


@pytest.fixture
def sitting(request):
    form = StreamConfig(width=toy.SIDE, height=toy.SIDE, backend="eager", steps=8)
    params = Params(**getattr(request, "param", {}))
    mail, engines = Mail(), Engines(2, lambda config: WatchedEngine(toy.Slow(config.name)))
    seat = Seat(Open("s", Settings(model=ModelConfig(name="slow"), config=form, params=params)), engines, mail)
    sitting = Sitting(seat, mail)
    sitting.wait(Opened)
    yield sitting
    seat.close()


@pytest.mark.parametrize("sitting", [{"max_age": 200}, {"max_age": 200, "t_index": INDEX}], indirect=True)
def test_what_is_traded_is_no_answer(sitting):
    """A page that is told steps 4 would keep them, and never get its own back."""
    sitting.trade()
    sitting.ask(Set, 1, {"prompt": "b"})
    answer = sitting.answer(1)
    assert (answer.config.steps, answer.settings.config.steps) == (8, 8)
    assert answer.params.prompt[0].text == "b"
    assert sitting.stats().steps < 8
    sitting.ask(Set, 2, {"max_age": None})
    assert sitting.answer(2).params.max_age is None
    sitting.show_until(lambda: sitting.stats().steps == 8)


def test_changes_in_quick_succession_are_all_kept(sitting):
    sitting.ask(Change, 1, {}, {"steps": 3})
    sitting.ask(Change, 2, {}, {"width": 24})
    assert "newer change" in sitting.answer(1, Refused).message
    answer = sitting.answer(2)
    assert (answer.config.steps, answer.config.width) == (3, 24)
    assert (answer.settings.config.steps, answer.settings.config.width) == (3, 24)
    assert sitting.stats().steps == 3


def test_a_change_builds_on_what_stands_where_the_last_one_came_to_nothing(sitting):
    sitting.ask(Change, 1, {}, {"steps": 3, "width": 17})
    assert "multiples" in sitting.answer(1, Refused).message
    sitting.ask(Change, 2, {}, {"height": 24})
    config = sitting.answer(2).config
    assert (config.steps, config.width, config.height) == (8, toy.SIDE, 24)


@pytest.mark.parametrize("sitting", [{"t_index": INDEX}], indirect=True)
def test_steps_change_with_their_indices_or_not_at_all(sitting):
    sitting.ask(Change, 1, {}, {"steps": 2})
    assert "t_index: give 2" in sitting.answer(1, Refused).message
    sitting.ask(Change, 2, {}, {"steps": 2}, {"t_index": (0, 20), "strength": 7})
    assert "strength" in sitting.answer(2, Refused).message
    sitting.ask(Set, 3, {"seed": 1})
    answer = sitting.answer(3)
    assert (answer.config.steps, answer.params.t_index) == (8, INDEX)
    sitting.ask(Change, 4, {}, {"steps": 2}, {"t_index": (0, 20)})
    answer = sitting.answer(4)
    assert (answer.config.steps, answer.params.t_index, answer.params.seed) == (2, (0, 20), 1)
