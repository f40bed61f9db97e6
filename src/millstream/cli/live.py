"""`millstream live`: a camera, the screen or a file through the stream, to a window, a video or a pipe."""

import json
import sys
from argparse import BooleanOptionalAction, Namespace
from contextlib import closing
from dataclasses import asdict, dataclass
from time import monotonic
from typing import TYPE_CHECKING

from millstream.cli.common import INTERRUPTED, Done, facts, load, refuse_same, say, sized
from millstream.cli.player import Player
from millstream.cli.typed import listen
from millstream.errors import BadInputError
from millstream.media.base import Source
from millstream.media.live import CAMERA, SCREEN, STDOUT, WINDOW, LiveSink, open_live, open_live_sink
from millstream.media.sources import DEMO
from millstream.media.status import KEYS
from millstream.options import add_options, read_settings
from millstream.params import Settings, StreamConfig
from millstream.progress import frame_bar, stop_asked

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from millstream.live.stats import LiveStats
    from millstream.options import Parser
    from millstream.pipeline import Stream

SOURCES = f"{CAMERA}[:N], {SCREEN}[:N], {SCREEN}:X,Y,WIDTH,HEIGHT, {DEMO}, or a video, picture or folder"
SINKS = f"{WINDOW}, a video file, or {STDOUT} for stdout, as NUT: `... | ffplay -`"
HELP = (
    f"keys of the window: {'; '.join(KEYS)}. A line typed on the terminal is a new prompt, or a setting: "
    "`:strength 0.6`"
)


def add_parser(commands: "_SubParsersAction[Parser]") -> None:
    """Add the command; it sets `run`, a function from the namespace to an exit code."""
    parser = commands.add_parser(
        "live", help="send a camera, the screen or a file through the stream, live", epilog=HELP
    )
    parser.add_argument("--source", default=CAMERA, help=f"{SOURCES} (default: {CAMERA})")
    parser.add_argument("--sink", default=WINDOW, help=f"{SINKS} (default: {WINDOW})")
    parser.add_argument("--loop", action=BooleanOptionalAction, default=True, help="begin a file again at its end")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    add_options(parser, omit={"config.input"})
    parser.set_defaults(run=live, **{"config.input": "image"})


def live(options: Namespace) -> int:
    """Show or record live; give the exit code. Raises MillstreamError for what the user can mend."""
    settings = read_settings(options)
    refuse_same(options.source, options.sink)
    if options.json and options.sink == STDOUT:
        raise BadInputError(f"--json: stdout carries the pictures; leave it out, or give another sink than {STDOUT}")
    with closing(open_live(options.source, options.loop)) as source, open_live_sink(options.sink, source.info) as sink:
        from millstream import pipeline  # noqa: PLC0415

        model = load(settings.model)
        with pipeline.Stream.open(model, sized(settings.config, model, source.info), settings.params) as stream:
            played = _play(stream, source, sink)
    if played.error:  # only now, when what came before it is complete
        raise played.error
    return _report(options, settings, played)


@dataclass(frozen=True)
class Played:
    """How a show went, to its end."""

    done: Done
    config: StreamConfig
    stats: "LiveStats"
    error: Exception | None


def _play(stream: "Stream", source: Source, sink: LiveSink) -> Played:
    begun = monotonic()
    with stop_asked() as asked, frame_bar(None) as advance, Player(stream, source, asked, advance) as player:
        listen(player.desk.obey)
        sink.run(player.pictures(), player.status, player.stop, player.acts)
        done = Done(player.count, monotonic() - begun, asked.is_set())
        played = Played(done, stream.config, stream.stats(), player.error)
    if not done.frames:  # the sink, left as after Ctrl-C or by this error, then says nothing of its own
        _raise_reason(played)
    return played


def _raise_reason(played: Played) -> None:
    if played.error:
        raise played.error
    if played.done.interrupted:
        raise KeyboardInterrupt


def _report(options: Namespace, settings: Settings, played: Played) -> int:
    done, stats = played.done, played.stats
    if options.json:
        about = {"source": options.source, **facts(options.sink, settings, played.config, done), **asdict(stats)}
        sys.stdout.write(json.dumps(about) + "\n")
    if done.interrupted:
        return say(f"stopped: {options.sink} was given {_frames(done)}", INTERRUPTED)
    if not options.json:
        age = f", age {stats.age_ms_p50:.0f} ms" if stats.age_ms_p50 is not None else ""
        speed = f"{done.seconds:.1f} s, {done.frames_per_second:.1f} a second{age}"
        out = sys.stderr if options.sink == STDOUT else sys.stdout
        out.write(f"{_frames(done)} in {speed}: {options.sink}\n")
    return 0


def _frames(done: Done) -> str:
    return f"{done.frames} frame{'s' if done.frames != 1 else ''}"
