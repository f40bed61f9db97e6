"""The trade of a live session: what `latency` wants, carried out through changes."""

import logging
from concurrent.futures import Future
from functools import partial

from millstream.engine import Engine, Session
from millstream.frame import Frame
from millstream.live.changes import Changes
from millstream.live.handover import Show
from millstream.live.latency import Keeper, Seen, describe, ladder
from millstream.params import Params, StreamConfig

log = logging.getLogger(__name__)


class Trade:
    """Keeps the pictures of `show` below `Params.max_age`. `aged` counts those that were too old to be shown."""

    def __init__(self, show: Show, changes: Changes) -> None:
        self._show, self._changes = show, changes
        self._moving: tuple[int, Future[Session]] | None = None
        self._brought: dict[int, float] = {}  # ages of the frames in flight when they were taken in
        self.aged = 0
        self._late: float | None = None  # age of the newest picture shown, where that is above the bound
        self._settle(show.present.session)
        self._judged_by = self._bound

    def admits(self, frame: Frame, now: float) -> bool:
        """Whether a new frame is to enter."""
        self._brought[frame.id] = now - frame.time
        return self._keeper.admits(now - frame.time, self._bound, now)

    def shows(self, frame: Frame, now: float) -> bool:
        """Note a picture that is finished for the first time; whether it is to be shown."""
        age, bound = now - frame.time, self._bound
        brought = self._brought.get(frame.id, 0.0)
        self._brought = {id_: older for id_, older in self._brought.items() if id_ > frame.id}
        shown = self._keeper.shows(Seen(brought, age - brought), bound, now)
        self.aged += not shown
        if shown:
            self._late = age if bound is not None and age > bound else None
        return shown

    def step(self, now: float) -> bool:
        """Move where that is wanted, and take note of what has moved. True where another session is shown."""
        moved = self._note()
        self._watch_bound()
        wanted = self._keeper.wanted(self._bound, now)
        if wanted != self._keeper.at and self._moving is None and not self._changes.under_way:
            if self._built():
                self._move(wanted)
            else:
                self._keeper.reset()  # eager is slower than what is to come, and says nothing of it
        return moved

    def words(self) -> tuple[str, ...]:
        """What is traded at present."""
        keeper, bound = self._keeper, self._bound
        words = describe(keeper.rungs[0], keeper.rung, keeper.share)
        if self._late is not None and bound is not None:
            words.append(f"age {bound * 1000:.0f} -> {self._late * 1000:.0f} ms")
        return tuple(words)

    @property
    def _bound(self) -> float | None:
        age = self._session.params.max_age
        return None if age is None else age / 1000

    def _watch_bound(self) -> None:
        """Begin to judge anew where the bound is another. No other parameter tells on what a tick costs."""
        if self._bound != self._judged_by:
            self._judged_by = self._bound
            self._keeper.reset()

    def _built(self) -> bool:
        return self._show.present.engine.computing(self._session) == self._session.config.backend

    def _settle(self, session: Session) -> None:
        """Begin anew with a session that was asked for."""
        self._session, self._asked = session, session.config
        self._keeper = Keeper(ladder(session.config, session.model.multiple))

    def _note(self) -> bool:
        session, before = self._show.present.session, self._session
        if self._moving is not None and self._moving[1].done():
            (rung, answer), self._moving = self._moving, None
            self._answered(rung, answer)
        if session is not self._session:
            self._settle(session)
        return session is not before

    def _answered(self, rung: int, answer: Future[Session]) -> None:
        if answer.cancelled():
            return
        if error := answer.exception():
            log.warning("%s cannot be had for max_age: %s", self._keeper.rungs[rung], error)
            self._keeper.forbid(rung)
        else:
            self._keeper.moved(rung)
            self._session = answer.result()

    def _move(self, to: int) -> None:
        rung = self._keeper.rungs[to]
        if rung[:3] == self._keeper.rung[:3]:
            self._keeper.moved(to)
        else:
            size = {"steps": rung.steps, "width": rung.width, "height": rung.height}
            config = self._asked.model_copy(update=size)
            engine = self._show.present.engine
            answer = self._changes.offer(partial(_open, engine, config, self._asked.steps))
            self._moving = (to, answer) if answer else None


def _open(engine: Engine, config: StreamConfig, steps: int, params: Params) -> tuple[Engine, Session]:
    """A session on another rung; of `steps` that were asked for it may run fewer."""
    return engine, engine.open(config, params, indices=steps)
