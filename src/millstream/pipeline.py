"""A stream: source, queue, engine, queue, sink. Offline nothing is lost; live the newest wins."""

from collections.abc import Generator, Iterable, Iterator
from itertools import count as counting
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from millstream.engine import Engine
from millstream.errors import BadInputError
from millstream.feed import Feed, offline
from millstream.frame import NO_PIXELS, Frame, Pixels
from millstream.live import Live, LiveStats
from millstream.media.fit import fit_frame
from millstream.media.sinks import open_sink
from millstream.media.sources import Source, SourceInfo, open_source
from millstream.models import Model, load_model
from millstream.params import ModelConfig, Params, StreamConfig
from millstream.queues import ahead


class Stream:
    """One stream of pictures through a model.

    >>> with Stream.open("embedded", StreamConfig(steps=2), Params(prompt="stained glass")) as stream:
    ...     for frame in stream.run("bikes.mp4"):
    ...         show(frame.pixels)
    """

    def __init__(self, model: Model, config: StreamConfig, params: Params) -> None:
        self._engine = Engine(model)
        self._session = self._engine.open(config, params)
        self._live: Live | None = None

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
        if isinstance(model, str | Path):
            model = ModelConfig(name=str(model))
        if isinstance(model, ModelConfig):
            model = load_model(model)
        return cls(model, config or StreamConfig(), params or Params())

    @property
    def config(self) -> StreamConfig:
        """What the stream is, with width and height filled in."""
        return self._session.config

    @property
    def params(self) -> Params:
        """What the next frame enters with."""
        return self._session.params

    def update(self, *, in_flight: bool = False, **changes: Any) -> int:
        """Change parameters between two frames; give the new version, which every output made with it carries.

        A frame keeps what it entered with; with `in_flight` prompts and guidance reach the frames in flight too.
        Raises BadInputError, and then nothing has changed.
        """
        return self._session.update(changes, in_flight)

    def run(self, source: Source | str | Path | Iterable[Pixels]) -> Iterator[Frame]:
        """Send a whole source through: as many frames come out as went in, in order. Reading runs beside the engine.

        `source` is a path, `demo`, or any iterable of arrays. Parameters may be changed between two frames.
        """
        opened = source if isinstance(source, Source) else open_source(source)
        try:
            with ahead(fit_frame(frame, self._session.size) for frame in opened) as frames:
                yield from offline(Feed(self._engine, self._session), frames)
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

    def poll(self, timeout: float = 0.0) -> Frame | None:
        """Live: the newest finished picture not yet seen, waiting up to `timeout` seconds; None where there is none.

        Raises what stopped the engine, if it has stopped.
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
        yield from offline(Feed(self._engine, self._session), (Frame(i, NO_PIXELS) for i in ids))

    def _running(self) -> Live:
        if self._live is None:
            self._live = Live(self._engine, self._session)
        return self._live


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
