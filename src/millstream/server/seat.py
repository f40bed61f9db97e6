"""One session in the worker: its commands in a thread of their own, in their order, and its pictures in another."""

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from millstream.engine import Engine, Session, resolve
from millstream.errors import BadInputError, MillstreamError
from millstream.frame import NO_PIXELS, Frame
from millstream.live.asked import Asked
from millstream.live.live import Live
from millstream.params import ModelConfig, Params, Settings, StreamConfig, check
from millstream.server.engines import Engines, free, memory_held
from millstream.server.faults import die, out_of_memory, start
from millstream.server.lighter import lighter, traded
from millstream.server.mail import Mail
from millstream.server.messages import (
    OPENING,
    Answered,
    Building,
    Change,
    Open,
    Opened,
    Picture,
    Refused,
    Said,
    Set,
    Stats,
)
from millstream.server.remarks import listen_to_remarks

TOO_LARGE = "memory does not suffice; choose a smaller size, fewer steps or another model"


class Target(NamedTuple):
    """What a session is asked to be."""

    model: ModelConfig
    config: StreamConfig


class Seat:
    """A session from its opening to its end. No method waits for the engine."""

    def __init__(self, command: Open, engines: Engines, mail: Mail) -> None:
        self.sid = command.sid
        self._engines, self._mail = engines, mail
        self._asked: Asked[Target]  # from the opening on
        self._live: Live | None = None
        self._closed = False
        self._commands = ThreadPoolExecutor(1, "millstream-commands")
        self._do(OPENING, partial(self._open, command))

    @property
    def patient(self) -> bool:
        """Whether it opens or builds, which may take long."""
        live = self._live
        return live is None or live.building

    def submit(self, frame: Frame) -> None:
        """Leave a picture. Those that come before it is open are let go of."""
        live = self._live
        if live is None:
            return
        if not frame.pixels.size:  # for text to image, which knows this array by its identity
            frame = replace(frame, pixels=NO_PIXELS)
        try:
            live.submit(frame)
        except BadInputError as error:
            self._mail.put(Said(self.sid, str(error)))
        except MillstreamError:  # what stopped it is told by the thread that waits for its pictures
            pass

    def report(self) -> None:
        """Tell the figures of this moment."""
        if (live := self._live) is not None:
            figures = Stats(self.sid, live.stats(), memory_held(live.session.model.device))
            self._mail.show(("stats", self.sid), figures)

    def close(self) -> None:
        """End the session, behind the commands before."""
        self._closed = True
        self._do(OPENING, self._end)

    def do(self, command: Set | Change) -> None:
        """Carry out a command behind those before it."""
        work = partial(self._set, command) if isinstance(command, Set) else partial(self._change, command)
        self._do(command.request, work)

    def _do(self, request: int, work: Callable[[], None]) -> None:
        self._commands.submit(self._guarded, request, work)

    def _guarded(self, request: int, work: Callable[[], None]) -> None:
        """Do `work` for a request; what a user can mend refuses it, and any other fault ends the process."""
        listen_to_remarks(self.sid, self._mail)
        try:
            work()
        except MillstreamError as error:
            self._refuse(request, str(error))
        except BaseException as error:
            if not out_of_memory(error):
                die(error)
            self._refuse(request, TOO_LARGE)
            free()

    def _refuse(self, request: int, message: str) -> None:
        self._mail.put(Refused(self.sid, request, message))

    def _open(self, command: Open) -> None:
        engine = self._engines.get(command.settings.model)
        settings, session = _open_lighter(command, engine)
        given_up = traded(command.settings, settings, engine.model)
        self._asked = Asked(Target(settings.model, settings.config))
        self._live = live = Live(engine, session)
        device = str(engine.model.device)
        self._mail.put(
            Opened(self.sid, session.config, session.params, session.version, device, self._settings(), given_up)
        )
        start("pictures", self._show, live)

    def _show(self, live: Live) -> None:
        """Pass on what is finished, until the session is closed."""
        try:
            while True:
                if frame := live.poll(None):
                    self._mail.show(self.sid, Picture(self.sid, frame), live.session.config.frame_buffer)
        except MillstreamError as error:
            if not self._closed:
                self._refuse(OPENING, str(error))

    def _set(self, command: Set) -> None:
        version = self._opened().update(command.changes, command.in_flight)
        self._answer(command.request, version, rebuilt=False)

    def _change(self, command: Change) -> None:
        live = self._opened()
        wanted = self._wanted(command)
        check(Settings, {**wanted._asdict(), "params": live.ahead(command.params)})
        self._mail.put(Building(self.sid, command.request, ", ".join([*command.model, *command.config])))
        future = live.change(partial(self._lay_out, wanted), command.params)
        self._asked.ask(wanted, future)
        # Back to the thread of the commands: where it is done is the live worker's, between two pictures.
        future.add_done_callback(lambda done: self._do(command.request, partial(self._changed, command.request, done)))

    def _wanted(self, command: Change) -> Target:
        """What a change leads to, over what was asked for last. Raises BadInputError where the schema refuses it."""
        model, config = self._asked.newest
        return Target(
            check(ModelConfig, model.model_dump() | command.model),
            check(StreamConfig, config.model_dump() | command.config),
        )

    def _lay_out(self, wanted: Target, params: Params) -> tuple[Engine, Session]:
        """The session that takes over, made in a thread of the live worker."""
        listen_to_remarks(self.sid, self._mail)
        engine = self._engines.get(wanted.model)
        return engine, engine.open(wanted.config, params)

    def _changed(self, request: int, done: Future[Session]) -> None:
        try:
            version = done.result().version
        except CancelledError:
            raise BadInputError("a newer change has taken the place of this one") from None
        self._answer(request, version, rebuilt=True)

    def _answer(self, request: int, version: int, rebuilt: bool) -> None:
        """Answer with what was asked for, complete: what is traded for `max_age` is told by the figures alone."""
        session, settings = self._opened().session, self._settings()
        config = resolve(settings.config, session.model)
        self._mail.put(Answered(self.sid, request, version, config, session.params, rebuilt, settings))

    def _settings(self) -> Settings:
        """What was asked for, in full; every part has been validated."""
        model, config = self._asked.stands
        return Settings.model_construct(model=model, config=config, params=self._opened().session.params)

    def _opened(self) -> Live:
        if self._live is None:
            raise MillstreamError("no such session: it could not be opened")
        return self._live

    def _end(self) -> None:
        if self._live is not None:
            self._live.close()
            self._live = None
        self._commands.shutdown(wait=False)
        free()


def _open_lighter(command: Open, engine: Engine) -> tuple[Settings, Session]:
    """Open the session as light as asked; one that is opened again goes down until it fits, or has nothing to give."""
    settings = lighter(command.settings, engine.model, command.lighter)
    while True:
        try:
            return settings, engine.open(settings.config, settings.params, command.version)
        except (MillstreamError, RuntimeError, MemoryError) as error:
            smaller = lighter(settings, engine.model)
            if smaller == settings or not (command.again and out_of_memory(error)):
                raise
        settings = smaller
        free()
