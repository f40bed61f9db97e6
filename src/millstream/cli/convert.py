"""`millstream convert`: every frame in, every frame out."""

from argparse import Namespace
from typing import TYPE_CHECKING

from millstream.cli.common import add_output, follow, load, refuse_same, refuse_target, report, sized
from millstream.media.sources import DEMO, open_source
from millstream.options import add_options, read_settings

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from millstream.options import Parser


def add_parser(commands: "_SubParsersAction[Parser]") -> None:
    """Add the command; it sets `run`, a function from the namespace to an exit code."""
    parser = commands.add_parser("convert", help="send a video, a picture or a folder through the stream")
    parser.add_argument("source", metavar="IN", help=f"video, picture or folder of pictures, or the word {DEMO}")
    add_output(parser, "video, GIF, picture or folder; the suffix decides")
    add_options(parser)
    parser.set_defaults(run=convert)


def convert(options: Namespace) -> int:
    """Convert a file; give the exit code. Raises MillstreamError for what the user can mend."""
    settings = read_settings(options)
    refuse_same(options.source, options.output)
    source = open_source(options.source)
    refuse_target(options.output, source.info)

    from millstream import pipeline  # noqa: PLC0415

    model = load(settings.model)
    with pipeline.Stream.open(model, sized(settings.config, model, source.info), settings.params) as stream:
        done = follow(pipeline.convert(stream, source, options.output), source.info.frames)
        return report(options, settings, stream.config, done)
