"""Hand-over, turn by turn and without threads: order, gaps and every picture, for all forms of two sessions."""

from concurrent.futures import Future
from itertools import pairwise
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.engine import Engine, Session
from millstream.errors import ModelError
from millstream.live.handover import Delay, Output, Show, Track
from millstream.params import Params, StreamConfig
from tests import toy

MODEL = toy.ToyModel()
ENGINE = Engine(MODEL)
OTHER = Engine(toy.ToyModel("other", gain=0.8))
OLD, NEW = Params(prompt="old", seed=5, strength=0.8), Params(prompt="new", seed=6, strength=0.6)
STEPS, BUFFER = st.integers(1, 5), st.integers(1, 3)


@pytest.fixture(scope="module", params=[False, True], ids=["in turn", "at once"], autouse=True)
def apart(request):
    """Sessions tick one behind the other where their back end leaves no cores free, else at once: nothing differs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "apart", request.param)
        yield request.param


def track(engine, params, steps, frames, version=1, **config):
    form = StreamConfig(width=toy.SIDE, height=toy.SIDE, steps=steps, frame_buffer=frames, backend="eager", **config)
    return Track(engine, engine.open(form, params, version))


class Play:
    """A show, what it showed, and at which turn."""

    def __init__(self, old, **config):
        self.show = Show(track(ENGINE, OLD, *old, **config))
        self.config = config
        self.shown = []
        self.turns = 0
        self.entered = 0

    def begin(self, new):
        self.answer = Future()
        self.show.begin(track(OTHER, NEW, *new, version=2, **self.config), self.answer)

    def turn(self, enters=True, keep=False):
        outputs = self.show.turn(toy.frame(self.entered) if enters else None, keep)
        self.entered += enters
        self.shown += [(self.turns, output) for output in outputs]
        self.turns += 1
        return outputs

    def waits(self, keep=False):
        """No frame has come: what a bubble brings on comes out, and what is held back."""
        while self.show.busy:
            self.turn(enters=False, keep=keep)
        if self.show.holds:
            self.shown += [(self.turns - 1, output) for output in self.show.release()]

    def drain(self):
        self.waits(keep=True)

    @property
    def ids(self):
        return [frame.id for _, frame in self.shown]

    def check(self, steps_old, steps_new):
        """In order, nothing twice, and each is what a loop over it alone gives."""
        assert self.ids == sorted(set(self.ids))
        versions = [frame.version for _, frame in self.shown]
        assert versions == sorted(versions)
        for _, frame in self.shown:
            of_old = frame.version == 1
            of = (MODEL, frame.id, OLD, steps_old) if of_old else (OTHER.model, frame.id, NEW, steps_new)
            expected = toy.alone(*of)
            assert np.abs(frame.pixels.astype(int) - expected).max() <= 1


@settings(max_examples=80)
@given(STEPS, BUFFER, STEPS, BUFFER, st.integers(0, 3))
def test_a_source_that_never_waits(n_old, m_old, n_new, m_new, phase):
    """No two groups are further apart than two of the longer; where the next session is no shorter, nothing is lost."""
    play = Play((n_old, m_old))
    for _ in range((n_old + 1) * m_old + phase):
        play.turn()
    play.begin((n_new, m_new))
    while not play.answer.done():
        play.turn()
        assert play.turns < 200
    taken_over = play.turns
    for _ in range(3 * m_new):
        play.turn()
    play.drain()
    play.check(n_old, n_new)
    assert play.answer.result() is play.show.present.session
    assert play.shown[-1][1].version == 2
    times = sorted({turn for turn, _ in play.shown if turn < taken_over + 3 * m_new})
    longest = 2 * max(m_old, m_new)
    assert all(b - a <= longest for a, b in pairwise(times)), times
    missing = set(range(play.entered)) - set(play.ids)
    assert len(missing) == play.show.let_go
    if n_new * m_new >= n_old * m_old:
        assert not missing


@settings(max_examples=40)
@given(STEPS, STEPS, st.integers(0, 3))
def test_no_wait_is_longer_than_two_ticks_of_one_or_one_of_each(n_old, n_new, phase):
    """A turn that nothing is shown of costs the present session's tick alone, and so does the one behind it."""
    play, ticks = Play((n_old, 1)), []
    for _ in range(n_old + 1 + phase):
        play.turn()
    coming = Engine(OTHER.model)
    computed, coming.tick = coming.tick, lambda entering: ticks.append(play.turns) or computed(entering)
    play.answer = Future()
    play.show.begin(track(coming, NEW, n_new, 1, version=2), play.answer)
    begun = play.turns
    while not play.answer.done():
        play.turn()
    shown = {turn for turn, _ in play.shown}
    silent = set(range(begun, play.turns)) - shown
    assert not ({turn + 1 for turn in silent} | silent) & set(ticks)


@given(STEPS, STEPS)
def test_the_session_that_goes_takes_nothing_in_and_does_not_tick_where_its_picture_is_held_back(n_old, n_new):
    """Of the turns in which the next session fills, those for which pictures were held back cost its tick alone; in the
    others only what was in flight is brought on.
    """
    going = Engine(MODEL)
    play, ticks, taken = Play((n_old, 1)), [], []
    computed = going.tick

    def tick(entering):
        ticks.append(play.turns)
        taken.extend(play.turns for frames in entering.values() if frames)
        return computed(entering)

    going.tick = tick
    play.show = Show(track(going, OLD, n_old, 1))
    for _ in range(n_old + 1):
        play.turn()
    play.begin((n_new, 1))
    while not play.answer.done():
        play.turn()
    last, fills, held_back = play.turns - 1, n_new - 1, max(0, n_new - n_old)
    assert sorted({*range(last)} - {*ticks}) == list(range(last - fills, last - fills + held_back))
    assert last not in ticks and len(ticks) == len({*ticks})
    assert taken == [turn for turn in ticks if turn < last - fills]
    assert play.shown[-1][1].version == 2


@pytest.mark.parametrize("steps", [2, 3, 5])
@pytest.mark.parametrize("shared", [False, True])
def test_of_sessions_that_leave_cores_both_ticks_are_made_at_once(apart, shared, steps):
    """Each waits for the other in the midst of its tick, so that one behind the other would never end."""
    going = Engine(MODEL)
    coming = going if shared else Engine(OTHER.model)
    play, meeting, met = Play((steps, 1)), Barrier(2), []
    play.show = Show(track(going, OLD, steps, 1))
    for _ in range(steps + 1):
        play.turn()
    play.answer, next_ = Future(), track(coming, NEW, steps, 1, version=2)
    for session in (play.show.present.session, next_.session):
        settle = session.settle

        def meets(settle=settle, session=session):
            if play.show.changing and len(met) < 2 * (steps - 1) and apart:
                met.append(session)
                meeting.wait(60)
            settle()

        session.settle = meets
    play.show.begin(next_, play.answer)
    while not play.answer.done():
        play.turn()
    assert len(met) == 2 * (steps - 1) * apart
    for _ in range(steps):
        play.turn()
    assert play.ids == sorted(set(play.ids))
    assert play.shown[-1][1].version == 2


@settings(max_examples=80)
@given(STEPS, BUFFER, STEPS, BUFFER, st.lists(st.sampled_from("fb"), max_size=40), st.integers(0, 40), st.booleans())
def test_any_source(n_old, m_old, n_new, m_new, source, begin, drains):
    """Frames and bubbles in any order, the change at any turn: in order, nothing twice; the hand-over ends."""
    play = Play((n_old, m_old))
    for place, kind in enumerate(source):
        if place == begin:
            play.begin((n_new, m_new))
        play.turn(kind == "f", keep=drains and place > 20)
    if begin >= len(source):
        play.begin((n_new, m_new))
    play.drain()
    play.turn(enters=False)  # the source has stalled
    assert play.answer.done()
    play.check(n_old, n_new)
    assert play.entered - len(play.ids) == play.show.let_go
    if play.entered:
        assert play.ids[-1] == play.entered - 1


@pytest.mark.parametrize(("old", "new"), [((1, 1), (4, 1)), ((4, 1), (1, 1)), ((3, 2), (2, 1)), ((2, 1), (2, 3))])
@pytest.mark.parametrize("at", range(0, 14, 3))
def test_everything_before_a_drain_comes_out(old, new, at):
    """A drain at any moment of a hand-over jumps over nothing that a hand-over has not jumped over before."""
    play = Play(old)
    for _ in range(8):
        play.turn()
    play.begin(new)
    for _ in range(at):
        play.turn()
    let_go = play.show.let_go
    play.drain()
    assert play.show.let_go == let_go
    assert play.entered - len(play.ids) == let_go
    play.check(old[0], new[0])


def test_a_stalled_source_shows_the_next_session_at_once():
    play = Play((3, 1))
    play.begin((2, 1))
    assert play.turn(enters=False) == []
    assert play.answer.done()
    play.turn()
    play.drain()
    assert [(frame.id, frame.version) for _, frame in play.shown] == [(0, 2)]


@pytest.mark.parametrize("new", [(1, 1), (3, 2), (4, 1)])
def test_what_fails_is_found_before_it_takes_over_though_the_source_is_silent(new):
    broken = Engine(toy.ToyModel("broken", gain=float("nan")))
    play = Play((2, 1))
    play.turn()
    play.drain()
    play.answer = Future()
    play.show.begin(track(broken, NEW, *new, version=2), play.answer)
    assert play.turn(enters=False) == []
    with pytest.raises(ModelError, match="NaN"):
        play.answer.result(0)
    play.turn()
    play.drain()
    assert play.ids == [0, 1]
    play.check(2, new[0])


@pytest.mark.parametrize("new", [(1, 1), (3, 2), (4, 1)])
@pytest.mark.parametrize("config", [{}, {"cross_frame": True}, {"guidance": "one-time-negative"}, {"input": "text"}])
def test_a_rehearsal_leaves_nothing_behind(new, config):
    """What comes behind grey pictures that were let go of is what comes of a session that never saw them."""
    pictures = []
    for rehearsed in (True, False):
        fresh = track(ENGINE, NEW, *new, **config)
        if rehearsed:
            fresh.rehearse()
        made = [output for i in range(6) for output in fresh.send(i, toy.frame(i))]
        while fresh.feed.busy:
            made += fresh.push()
        pictures.append([(output.turn, output.frame.id, output.frame.pixels.tobytes()) for output in made])
    assert len(pictures[0]) == 6
    assert pictures[0] == pictures[1]


def test_a_frame_that_is_sent_again_shows_the_next_session():
    play = Play((2, 1))
    play.turn()
    play.drain()
    play.begin((4, 1))
    for _ in range(20):
        play.entered = 0
        if play.turn() and play.answer.done():
            break
    assert play.shown[-1][1].version == 2


def test_a_slow_source_waits_for_nothing():
    """Between two frames all comes out: then no picture is held back, and the next session has caught up at once."""
    play = Play((1, 1))
    play.turn()
    play.begin((4, 1))
    for _ in range(2):
        play.turn()
        play.waits()
        assert play.ids[-1] == play.entered - 1
    assert play.answer.done()
    assert play.shown[-1][1].version == 2


@pytest.mark.parametrize("at", range(12))
def test_a_cancelled_change_leaves_the_show_as_it_was(at):
    play = Play((1, 1))
    play.turn()
    play.begin((4, 1))
    for _ in range(at):
        play.turn()
    if play.answer.cancel():
        for _ in range(5):
            play.turn()
        assert [frame.version for _, frame in play.shown] == [1] * play.entered
        assert play.ids == list(range(play.entered))
        assert not play.show.changing
    else:
        assert play.answer.done()
    play.drain()
    play.check(1, 4)


@pytest.mark.parametrize("at", range(6, 11))
def test_a_session_that_goes_on_after_all_catches_up_by_two_frames_a_turn(at):
    going = Engine(MODEL)
    play, ticks = Play((1, 1)), []
    computed, going.tick = going.tick, lambda entering: ticks.append(play.turns) or computed(entering)
    play.show = Show(track(going, OLD, 1, 1))
    play.begin((4, 1))
    for _ in range(at):
        play.turn()
    late = play.entered - len(ticks)
    cancelled = play.answer.cancel()
    for _ in range(6):
        play.turn()
    if cancelled:
        assert [ticks.count(turn) for turn in range(at, play.turns)] == [2] * late + [1] * (6 - late)
        assert play.ids == list(range(play.entered))


def test_a_fault_of_the_next_session_is_its_answer_and_the_show_goes_on():
    broken = Engine(toy.ToyModel("broken", gain=float("nan")))
    play = Play((2, 1))
    for _ in range(3):
        play.turn()
    play.answer = Future()
    play.show.begin(track(broken, NEW, 3, 1, version=2), play.answer)
    for _ in range(15):
        play.turn()
    play.drain()
    with pytest.raises(ModelError, match="NaN"):
        play.answer.result(0)
    assert play.ids == list(range(play.entered))
    play.check(2, 3)


def test_a_newer_change_takes_the_place_of_one_under_way():
    play = Play((1, 1))
    play.turn()
    play.begin((5, 1))
    first = play.answer
    for _ in range(4):
        play.turn()
    first.cancel()
    play.begin((2, 1))
    for _ in range(12):
        play.turn()
    play.drain()
    assert play.answer.result(0).config.steps == 2
    play.check(1, 2)


def test_the_filter_does_not_hold_a_change_back():
    params = Params(similarity_filter=True, max_skip=100)
    show = Show(Track(ENGINE, ENGINE.open(StreamConfig(width=16, height=16, steps=2), params)))
    still, answer, shown = toy.frame(0), Future(), []
    for i in range(40):
        if i == 10:
            show.begin(Track(OTHER, OTHER.open(StreamConfig(width=16, height=16, steps=4), params, 2)), answer)
        shown += show.turn(still)
    assert answer.done()
    assert [frame.version for frame in shown] == sorted(frame.version for frame in shown)
    assert shown[-1].version == 2
    assert show.skipped > 20


@given(st.integers(0, 6), st.integers(10, 40))
def test_a_delay_fills_by_every_second_group_and_gives_everything_in_order(groups, count):
    delay, given_ = Delay(groups), []
    turns = []
    for i in range(count):
        outputs = delay.next([Output(i, toy.frame(0))])
        given_ += outputs
        turns += [i] * bool(outputs)
    assert all(b - a <= 2 for a, b in pairwise([-1, *turns]))
    if count > 2 * groups:
        assert delay.full
        assert given_[-1].turn == count - 1 - groups
    given_ += delay.empty()
    assert [output.turn for output in given_] == list(range(count))
