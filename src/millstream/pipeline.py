"""A stream: source, queue, engine, queue, sink. Offline nothing is lost; live the newest wins."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import cache
from itertools import count as counting
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, NamedTuple, Self

from millstream.engine import Engine, Session, resolve
from millstream.errors import BadInputError
from millstream.feed import Feed, offline
from millstream.frame import NO_PIXELS, Frame, Pixels
from millstream.live.asked import Asked
from millstream.live.changes import following
from millstream.live.live import Live
from millstream.live.stats import LiveStats
from millstream.media.fit import fit_frame
from millstream.media.sinks import open_sink
from millstream.media.sources import Source, SourceInfo, open_source
from millstream.models import Model, load_model
from millstream.params import ModelConfig, Params, Settings, StreamConfig, check
from millstream.queues import ahead


class Target(NamedTuple):
    """What a stream is asked to be; `engine` gives its engine, and may load a model for it the first time."""

    engine: Callable[[], Engine]
    config: StreamConfig


class Stream:
    """One stream of pictures through a model.

    >>> with Stream.open("embedded", StreamConfig(steps=2), Params(prompt="stained glass")) as stream:
    ...     for frame in stream.run("bikes.mp4"):
    ...         show(frame.pixels)
    """

    def __init__(self, model: Model, config: StreamConfig, params: Params) -> None:
        self._engine = engine = Engine(model)
        self._asked = Asked(Target(lambda: engine, config))
        self._session = self._engine.open(config, params)
        self._live: Live | None = None
        self._starting = Lock()

    @classmethod
    def open(
        cls,
        model: str | Path | ModelConfig | Model = "embedded",
        config: StreamConfig | None = None,
        params: Params | None = None,
    ) -> Self:
        """Load the model, unless it is one already, and lay out the stream.

        Raises ModelError when the model cannot be loaded and BadInputError when it cannot take the configuration.
        """
        return cls(_load(model), config or StreamConfig(), params or Params())

    @property
    def config(self) -> StreamConfig:
        """What the stream is, with width and height filled in."""
        return self._session.config

    @property
    def params(self) -> Params:
        """What the next frame enters with."""
        return self._live.session.params if self._live else self._session.params

    def update(self, *, in_flight: bool = False, **changes: Any) -> int:
        """Change parameters between two frames; give the new version, which every output made with it carries.

        A frame keeps what it entered with; with `in_flight` prompts and guidance reach the frames in flight too.
        Raises BadInputError, and then nothing has changed.
        """
        return self._live.update(changes, in_flight) if self._live else self._session.update(changes, in_flight)

    def change(
        self,
        *,
        model: str | Path | ModelConfig | Model | None = None,
        params: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> Future[StreamConfig]:
        """Live: change what the stream is, fields of StreamConfig or the model, while pictures go on being shown.

        The rest stays as it was asked for last. `params` change with it: both take effect, or neither. What is new is
        loaded and built in the background, and takes over without a break. The future is the new configuration,
        complete; what stands in the way is raised by it, and all goes on as it was. Raises BadInputError at once for
        what the schema, or the present model, refuses. A newer change takes in one under way, and cancels it. See
        `Live.change`.
        """
        live, newest = self._running(), self._asked.newest
        wanted = Target(
            newest.engine if model is None else cache(lambda: Engine(_load(model))),
            check(StreamConfig, newest.config.model_dump() | config),
        )
        check(Settings, {"config": wanted.config, "params": live.ahead(params)})
        if wanted.engine is self._asked.stands.engine:
            resolve(wanted.config, wanted.engine().model)

        def open_(params: Params) -> tuple[Engine, Session]:
            engine = wanted.engine()
            return engine, engine.open(wanted.config, params)

        def changed(session: Session) -> StreamConfig:
            self._engine, self._session = live.engine, session
            return session.config

        answer = live.change(open_, params)
        self._asked.ask(wanted, answer)
        return following(answer, changed)

    def run(self, source: Source | str | Path | Iterable[Pixels]) -> Iterator[Frame]:
        """Send a whole source through: as many frames come out as went in, in order. Reading runs beside the engine.

        `source` is a path, `demo`, or any iterable of arrays. Parameters may be changed between two frames; on a card
        the next tick has begun by then, and they reach the one behind it.
        """
        opened = source if isinstance(source, Source) else open_source(source)
        try:
            with ahead(fit_frame(frame, self._session.size) for frame in opened) as frames:
                yield from offline(self._feed(), frames)
        finally:
            opened.close()

    def generate(self, count: int | None = None) -> Iterator[Frame]:
        """Text to image: `count` pictures, or without end. Needs `StreamConfig(input="text")`."""
        if self.config.input != "text":
            raise BadInputError('input: generate makes pictures from text; open the stream with input="text"')
        return self._generate(counting() if count is None else range(count))

    def submit(self, frame: Frame | Pixels) -> None:
        """Live: leave a picture for the engine. Never waits; a picture not yet taken in gives way to a newer one."""
        self._running().submit(frame)

    def poll(self, timeout: float | None = 0.0) -> Frame | None:
        """Live: the newest finished picture not yet seen, waiting up to `timeout` seconds; None where there is none.

        With `timeout` None it waits until one comes. Raises what stopped the engine, if it has stopped.
        """
        return self._running().poll(timeout)

    def drain(self) -> list[Frame]:
        """Live: finish what has been taken in or left, and give every picture not yet polled, in order."""
        return self._running().drain()

    def stats(self) -> LiveStats:
        """Live: what came in and went out, what was dropped, and how old the pictures were."""
        return self._running().stats()

    def close(self) -> None:
        """Stop the live worker, if there is one. The stream can be opened again only anew."""
        if self._live is not None:
            self._live.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _generate(self, ids: Iterable[int]) -> Iterator[Frame]:
        yield from offline(self._feed(), (Frame(i, NO_PIXELS) for i in ids))

    def _feed(self) -> Feed:
        return Feed(self._engine, self._session, late=self._engine.asynchronous)

    def _running(self) -> Live:
        with self._starting:  # a source and a sink may ask at the same moment, each in a thread of its own
            self._live = self._live or Live(self._engine, self._session)
        return self._live


def _load(model: str | Path | ModelConfig | Model) -> Model:
    """Load a model by its name or its configuration, unless it is one already."""
    if isinstance(model, str | Path):
        model = ModelConfig(name=str(model))
    if isinstance(model, ModelConfig):
        return load_model(model)
    return model


def convert(stream: Stream, source: Source, target: str | Path) -> Generator[Frame]:
    """Send `source` through `stream` into the file or folder `target`. See `write`."""
    return write(stream.run(source), source.info, target)


def write(frames: Iterable[Frame], like: SourceInfo, target: str | Path) -> Generator[Frame]:
    """Write frames to `target`, with rate, length and sound of `like`; give each once it is written.

    The frames are made in a thread of their own. Stopping half-way (closing the generator) leaves a playable file of
    what was done; an error leaves what stood at `target` untouched.
    """
    with open_sink(target, like) as sink, ahead(frames) as made:
        for frame in made:
            sink.write(frame)
            yield frame
