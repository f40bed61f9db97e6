"""`millstream txt2img`: picture k is what its seed alone gives."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from millstream.cli.common import add_output, follow, load, refuse_target, report
from millstream.frame import NO_PIXELS, Frame
from millstream.media.sources import SourceInfo
from millstream.options import add_options, read_settings
from millstream.params import Params, StreamConfig, check

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from millstream.engine import Session
    from millstream.options import Parser

MAX_COUNT = 10_000
SLIDES = Fraction(2)  # pictures a second where several from text become a video

# Pictures from text stand alone: each is what its seed gives, and no frame came before it.
FROM_TEXT = {
    "config.input": "text",
    "config.frame_buffer": 1,
    "config.cross_frame": False,
    "params.noise_correlation": 1.0,
    "params.similarity_filter": False,
}
NOT_FOR_TEXT = {"config.stall", "params.strength", "params.similarity_threshold", "params.max_skip", "params.max_age"}


def add_parser(commands: "_SubParsersAction[Parser]") -> None:
    """Add the command; it sets `run`, a function from the namespace to an exit code."""
    parser = commands.add_parser("txt2img", help="make pictures from text")
    add_output(parser, "picture; for several a folder, a video or a GIF")
    parser.add_argument(
        "--count", type=_count, default=1, metavar="N", help="pictures; the k-th has the seed plus k (default: 1)"
    )
    add_options(parser, omit={*FROM_TEXT, *NOT_FOR_TEXT})
    parser.set_defaults(run=txt2img, **FROM_TEXT)


def txt2img(options: Namespace) -> int:
    """Make pictures from text; give the exit code. Raises MillstreamError for what the user can mend."""
    settings = read_settings(options)
    check(Params, {"seed": settings.params.seed + options.count - 1})
    refuse_target(options.output, SourceInfo(1, 1, frames=options.count))

    from millstream import pipeline  # noqa: PLC0415
    from millstream.engine import Engine  # noqa: PLC0415
    from millstream.feed import Feed, offline  # noqa: PLC0415

    engine = Engine(load(settings.model))
    session = engine.open(settings.config, settings.params)
    pictures = offline(Feed(engine, session, late=engine.asynchronous), _seeds(session, options.count))
    written = pipeline.write(pictures, _slides(session.config, options.count), options.output)
    done = follow(written, options.count)
    return report(options, settings, session.config, done)


def _seeds(session: "Session", count: int) -> Iterator[Frame]:
    """Frames for text to image. Each is asked for when it enters, so that its seed reaches no other."""
    seed = session.params.seed
    for k in range(count):
        session.update({"seed": seed + k})
        yield Frame(k, NO_PIXELS, float(k / SLIDES))


def _slides(config: StreamConfig, count: int) -> SourceInfo:
    assert config.width and config.height
    return SourceInfo(config.width, config.height, rate=SLIDES, frames=count, duration=count / SLIDES)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_COUNT:
        raise ArgumentTypeError(f"give 1 to {MAX_COUNT} (got '{text}')")
    return int(text)
