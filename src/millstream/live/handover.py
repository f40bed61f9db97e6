"""What a live stream shows, turn by turn, and how another session takes over between two turns.

A turn takes in one frame or a bubble. A session with n stages of m frames shows a frame up to (n - 1)*m turns after its
group was complete: its lag. Where the next session's lag is the longer, its first picture is older than what the
present one then shows. So the present one is first made late enough, one group at a time, every second group withheld:

1. stretch: present alone, until as many groups are held back as the difference of lags, or nothing is in flight;
2. overlap: every frame enters the next session and the present one's pictures are shown: first those held back, then
   those in flight, which bubbles bring on, for what entered now would never be shown, until
3. the next session's first picture is newer than all that were shown: it is shown, and the present session is closed.

So no two shown groups are further apart than two groups of the longer kind; in the stretch, which has the long gaps, a
turn costs the present session's tick alone, in the overlap the next one's, and the present one's too only where nothing
is held back; there no turn is without a picture; and the overlap begins behind a turn that was shown. OpenVINO computes
of both only what has frames, each row in a thread of its own: there the two ticks are made at once, and have as many
rows as one. If the overlap ends otherwise, the present session catches up: what it has yet to take in goes in by two
frames a turn.
Where the next lag is the shorter, the first picture jumps ahead and what is then in flight in the present session is
let go of.

Where the source is slower than the sessions, nothing is in flight between two of its frames: then nothing has to be
held back, and what is held back is shown at once. In a session of one step nothing ever is: there the source is slower
if no frame waits when a turn has ended (`holds`, `release`). Where it is silent, the sessions change places at once,
behind a rehearsal: the next session cannot be told from one that fails before anything has gone through it.

Order is that of the turns in which frames entered: a stalled source sends one frame, and so one id, again and again.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from typing import NamedTuple

import numpy as np

from millstream.engine import Engine, Session
from millstream.feed import Feed
from millstream.frame import Frame
from millstream.media.fit import fit_frame


class Output(NamedTuple):
    """A finished frame, and the turn at which it entered."""

    turn: int
    frame: Frame


class Track:
    """A session with its feed. Its outputs know their turn, and frames of any size may enter."""

    def __init__(self, engine: Engine, session: Session) -> None:
        """Claim the session. Raises MillstreamError where it is in use."""
        self.engine, self.session = engine, session
        self.feed = Feed(engine, session)
        session.waits = False  # pictures at once, eager, until the back end is ready
        self.turns: deque[int] = deque()  # those of the frames that have not come out
        self.untried = True

    @property
    def lag(self) -> int:
        """Turns from the one that completes a group to the one that shows it, where a frame enters at every turn."""
        layout = self.session.layout
        return (layout.stages - 1) * layout.frames

    @property
    def pressing(self) -> bool:
        """Whether a bubble brings it on: frames are in flight, and none waits for others to enter with."""
        return self.feed.busy and not self.feed.incomplete

    @property
    def fills(self) -> bool:
        """Whether a frame that enters surely brings none out."""
        fed = not self.session.params.similarity_filter  # which lets a bubble enter in place of a frame
        return fed and len(self.turns) < self.lag + self.session.layout.frames - 1

    def send(self, turn: int, frame: Frame) -> list[Output]:
        """Let a frame enter, or a bubble where the similarity filter holds it back."""
        if self.session.config.input == "image":
            frame = fit_frame(frame, self.session.size)
        if self.feed.skips(frame):
            return self.push()
        self.untried = False
        self.turns.append(turn)
        return self._marked(self.feed.take(frame))

    def rehearse(self) -> None:
        """Send grey pictures through, before any frame, and let go of them. Raises what a tick raises."""
        self.untried = False
        width, height = self.session.size
        grey = Frame(0, np.full((height, width, 3), 128, np.uint8))
        for _ in range(self.lag + self.session.layout.frames):
            self.feed.take(grey)
        self.session.lane.clear()

    def push(self) -> list[Output]:
        """Let a bubble, or an incomplete group, enter where there is anything to bring on."""
        return self._marked(self.feed.tick()) if self.feed.busy else []

    def bubble(self, alone: bool) -> list[Output]:
        """Let a bubble enter where it brings frames on; an incomplete group, where no other session waits for one."""
        return self.push() if alone or self.pressing else []

    def _marked(self, frames: Sequence[Frame]) -> list[Output]:
        return [Output(self.turns.popleft(), frame) for frame in frames]


class Delay:
    """Holds pictures back until it is `groups` turns' worth late; it fills by withholding every second group."""

    def __init__(self, groups: int) -> None:
        self.groups = groups
        self._held: deque[list[Output]] = deque()
        self._withheld = False

    @property
    def full(self) -> bool:
        """Whether as much is held back as there has to be, and no gap is open: the next turn may cost more."""
        return len(self._held) >= self.groups and not self._withheld

    @property
    def holds(self) -> bool:
        """Whether anything is held back."""
        return bool(self._held)

    def next(self, made: list[Output]) -> list[Output]:
        """Take what a turn made, and give what is to be shown in its place."""
        self._held.append(made)
        self._withheld = not self._withheld and len(self._held) <= self.groups
        return [] if self._withheld else self._release(max(1, len(self._held) - self.groups))

    def empty(self) -> list[Output]:
        """Give everything that is held back."""
        self._withheld = False
        return self._release(len(self._held))

    def oldest(self) -> list[Output]:
        """Give the group that has been held back longest; nothing is to take its place."""
        self.groups = max(0, self.groups - 1)
        return self._release(1)

    def _release(self, count: int) -> list[Output]:
        return [output for _ in range(count) for output in self._held.popleft()]


class Show:
    """The session that is shown, and during a hand-over the one that comes. `let_go` counts frames jumped over."""

    def __init__(self, present: Track) -> None:
        self.present = present
        self.let_go = 0
        self._coming: Track | None = None
        self._answer: Future[Session] = Future()
        self._delay = Delay(0)
        self._due: deque[tuple[int, Frame]] = deque()  # what the present session has yet to take in, and the turns
        self._overlap = False
        self._turn = 0
        self._shown = 0  # the turn at which the newest picture shown had entered; the first turn is 1
        self._skipped = 0
        self._slow = True  # nothing was in flight behind the last turn, so that its source let the session wait

    @property
    def changing(self) -> bool:
        """Whether a hand-over is under way."""
        return self._coming is not None

    @property
    def skipped(self) -> int:
        """Frames that the similarity filter held back."""
        return self._skipped + self.present.feed.skipped

    @property
    def busy(self) -> bool:
        """Whether any frame was taken in and has not come out."""
        return bool(self._due) or any(track.feed.busy for track in self._tracks())

    @property
    def pressing(self) -> bool:
        """Whether a bubble brings anything on at once."""
        return bool(self._due) or any(track.pressing for track in self._tracks())

    @property
    def holds(self) -> bool:
        """Whether pictures are held back that only the next frame sets free, or `release`."""
        return self._delay.holds and self.present.lag == 0 and not self.busy

    def begin(self, coming: Track, answer: Future[Session]) -> None:
        """Begin to hand over. The answer is the session once its first picture is out, or what went wrong with it."""
        self._abandon()
        self._coming, self._answer = coming, answer
        self._delay.groups = groups_between(self.present, coming)

    def turn(self, frame: Frame | None, keep: bool = False) -> list[Frame]:
        """Take in a frame or a bubble; give what is to be shown, in order.

        With `keep` nothing that was taken in is jumped over. Raises what a tick of the shown session raises.
        """
        if self._answer.cancelled():
            self._abandon()
        self._overlap = self._overlap or (self.changing and self._may_overlap(frame))
        self._turn += frame is not None
        alone = not self.pressing  # then a bubble takes incomplete groups in
        if frame is not None:
            self._due.append((self._turn, frame))
        if frame is not None and self._side_by_side(keep):
            return self._choose(self._step_both(frame, alone, keep))
        come = self._try_coming(lambda: self._step_coming(frame, alone))
        fresh = [output for output in come if output.turn > self._shown and not keep]
        if fresh and self._take_over(fresh[0].turn):  # the last tick of the session that goes would be for nothing
            self._slow = not self.busy
            return self._note([output for output in self._delay.empty() if output.turn < fresh[0].turn] + fresh)
        if frame is not None and self._rests(keep):
            self._slow = False
            return self._note(self._delay.oldest())
        return self._choose(self._step_present(alone, keep))

    def release(self) -> list[Frame]:
        """What is held back, for no frame waits: the source is slower than the sessions."""
        self._slow = True
        return self._note(self._delay.empty())

    def close(self) -> None:
        """Let go of everything."""
        self._abandon()
        self.present.feed.close()

    def _may_overlap(self, frame: Frame | None) -> bool:
        """Whether the sessions may tick side by side from now on: late enough, or a slow or stalled source."""
        return self._delay.full or self._slow if frame is not None else not self.busy

    @property
    def _spares(self) -> bool:
        """Whether the present session need not take in what is due. Of larger groups, what completes one may be."""
        return self._overlap and self.present.session.layout.frames == 1

    def _rests(self, keep: bool) -> bool:
        """Whether the present session has nothing to do in a turn with a frame: a picture is held back for it."""
        return self._spares and self._delay.holds and not keep

    def _side_by_side(self, keep: bool) -> bool:
        """Whether both sessions tick, and leave cores to one another, and the next one surely shows nothing yet."""
        coming = self._coming
        if coming is None or not self._overlap or self._rests(keep):
            return False
        return coming.fills and coming.session.apart and self.present.session.apart

    def _tracks(self) -> list[Track]:
        return [self.present, self._coming] if self._coming and self._overlap else [self.present]

    def _step_both(self, frame: Frame, alone: bool, keep: bool) -> list[Output]:
        """Let the frame enter the next session while the present one steps; give what that makes."""
        assert self._coming
        shared = self.present.engine is self._coming.engine
        with (
            self.present.engine.turn() if shared else nullcontext(),
            ThreadPoolExecutor(1, "millstream-coming") as aside,
        ):
            entered = aside.submit(copy_context().run, self._coming.send, self._turn, frame)
            made = self._step_present(alone, keep)
        self._try_coming(entered.result)
        return made

    def _step_present(self, alone: bool, keep: bool) -> list[Output]:
        """Let what is due enter: one frame, or two where it is late and alone; else a bubble."""
        if not self._due or (self._spares and self.present.feed.busy and not keep):
            return self.present.bubble(alone)
        count = 1 if self._overlap else min(2, len(self._due))
        return [output for _ in range(count) for output in self.present.send(*self._due.popleft())]

    def _step_coming(self, frame: Frame | None, alone: bool) -> list[Output]:
        """Let the frame or a bubble enter the next session."""
        if self._coming is None or not self._overlap:
            return []
        if frame is None and self._coming.untried:
            self._coming.rehearse()
        if frame is not None:
            return self._coming.send(self._turn, frame)
        return self._coming.bubble(alone)

    def _try_coming(self, step: Callable[[], list[Output]]) -> list[Output]:
        """Step the next session. What it raises ends the hand-over, and the show goes on."""
        try:
            return step()
        except Exception as error:
            self._abandon()
            refuse(self._answer, error)
            return []

    def _note(self, outputs: list[Output]) -> list[Frame]:
        """The frames that are shown now; no older one may follow them."""
        self._shown = outputs[-1].turn if outputs else self._shown
        return [output.frame for output in outputs]

    def _choose(self, made: list[Output]) -> list[Frame]:
        """What is shown of what the present session made."""
        at_once = bool(made) and self.present.lag == 0  # from this turn's frame
        outputs = self._delay.next(made) if made else []
        if not self.busy and not at_once:
            outputs += self._delay.empty()
            if self._overlap:
                self._take_over(self._turn + 1)
        self._slow = not self.busy and not at_once
        return self._note(outputs)

    def _take_over(self, first: int) -> bool:
        """Close the present session, and show the next from this turn's frame on. False where the change is off."""
        if self._coming is None or not self._answer.set_running_or_notify_cancel():
            self._abandon()
            return False
        past, self.present = self.present, self._coming
        self.let_go += sum(turn < first for turn in past.turns)
        self._skipped += past.feed.skipped
        past.feed.close()
        self._due.clear()
        self._coming, self._overlap, self._delay.groups = None, False, 0
        self._answer.set_result(self.present.session)
        return True

    def _abandon(self) -> None:
        if self._coming is not None:
            self._coming.feed.close()
        self._coming, self._overlap, self._delay.groups = None, False, 0


def groups_between(present: Track, coming: Track) -> int:
    """Groups of the present session by which its pictures must be late, so that the first of the next is newer."""
    return max(0, math.ceil((coming.lag - present.lag) / present.session.layout.frames))


def refuse(answer: Future[Session], error: Exception) -> None:
    """Answer with an error, unless nobody waits for an answer any more."""
    if answer.set_running_or_notify_cancel():
        answer.set_exception(error)
