"""The command line. What can be refused is refused before torch is imported and a model is loaded."""

import gc
import json
import logging
import os
import sys
import time
import warnings
from argparse import ArgumentTypeError, Namespace
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from millstream import doctor
from millstream.backends.store import Entry, Store
from millstream.bench.cli import add_parser as add_bench
from millstream.errors import BadInputError, MillstreamError
from millstream.frame import NO_PIXELS, Frame
from millstream.media.fit import matching_size
from millstream.media.sinks import PICTURE_SUFFIXES, open_sink
from millstream.media.sources import DEMO, SourceInfo, open_source
from millstream.options import Parser, add_options, read_settings
from millstream.params import ModelConfig, Params, Settings, StreamConfig, check
from millstream.progress import frame_bar, stop_asked

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from millstream.engine import Session
    from millstream.models import Model

INTERRUPTED = 130
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
NOT_FOR_TEXT = {"config.stall", "params.strength", "params.similarity_threshold", "params.max_skip"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; give its exit code. What the user can mend is one line on stderr."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):  # read when they are imported; their hints are not for users
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    _tell_progress()
    gc.disable()  # importing the libraries makes it walk a growing heap a thousand times: a second of a start
    try:
        options = make_parser().parse_args(argv)
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            code: int = options.run(options)
    except MillstreamError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("stopped", INTERRUPTED)
    finally:
        gc.enable()
    return code


def make_parser() -> Parser:
    """All commands with their options; each sets `run`, a function from the namespace to an exit code."""
    parser = Parser(prog="millstream", description="Pictures in, pictures that follow a prompt out.")
    parser.add_argument("--version", action="version", version=f"millstream {version('millstream')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_convert(commands)
    _add_txt2img(commands)
    _add_doctor(commands)
    _add_cache(commands)
    add_bench(commands)
    return parser


def _add_convert(commands: "_SubParsersAction[Parser]") -> None:
    parser = commands.add_parser("convert", help="send a video, a picture or a folder through the stream")
    parser.add_argument("source", metavar="IN", help=f"video, picture or folder of pictures, or the word {DEMO}")
    _add_output(parser, "video, GIF, picture or folder; the suffix decides")
    add_options(parser)
    parser.set_defaults(run=convert)


def _add_txt2img(commands: "_SubParsersAction[Parser]") -> None:
    parser = commands.add_parser("txt2img", help="make pictures from text")
    _add_output(parser, "picture; for several a folder, a video or a GIF")
    parser.add_argument(
        "--count", type=_count, default=1, metavar="N", help="pictures; the k-th has the seed plus k (default: 1)"
    )
    add_options(parser, omit={*FROM_TEXT, *NOT_FOR_TEXT})
    parser.set_defaults(run=txt2img, **FROM_TEXT)


def _add_doctor(commands: "_SubParsersAction[Parser]") -> None:
    parser = commands.add_parser("doctor", help="say what runs here, what is missing, and how to get it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=doctor.run)


def _add_cache(commands: "_SubParsersAction[Parser]") -> None:
    parser = commands.add_parser("cache", help="list or clear what the back ends have built")
    parser.add_argument(
        "action", choices=("list", "clear"), help="list: what is kept, last used first; clear: remove it"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=cache)


def _add_output(parser: Parser, what: str) -> None:
    parser.add_argument("output", metavar="OUT", help=what)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def convert(options: Namespace) -> int:
    """`millstream convert`: every frame in, every frame out."""
    settings = read_settings(options)
    _refuse_same(options.source, options.output)
    source = open_source(options.source)
    _refuse_target(options.output, source.info)

    from millstream import pipeline  # noqa: PLC0415

    model = _load(settings.model)
    with pipeline.Stream.open(model, _sized(settings.config, model, source.info), settings.params) as stream:
        done = follow(pipeline.convert(stream, source, options.output), source.info.frames)
        return _report(options, settings, stream.config, done)


def txt2img(options: Namespace) -> int:
    """`millstream txt2img`: picture k is what its seed alone gives."""
    settings = read_settings(options)
    check(Params, {"seed": settings.params.seed + options.count - 1})
    _refuse_target(options.output, SourceInfo(1, 1, frames=options.count))

    from millstream import pipeline  # noqa: PLC0415
    from millstream.engine import Engine  # noqa: PLC0415
    from millstream.feed import Feed, offline  # noqa: PLC0415

    engine = Engine(_load(settings.model))
    session = engine.open(settings.config, settings.params)
    pictures = offline(Feed(engine, session), _seeds(session, options.count))
    written = pipeline.write(pictures, _slides(session.config, options.count), options.output)
    done = follow(written, options.count)
    return _report(options, settings, session.config, done)


def cache(options: Namespace) -> int:
    """`millstream cache`: what the back ends have built, kept on disk."""
    store = Store()
    entries = store.clear() if options.action == "clear" else store.entries()
    if options.json:
        facts = {"folder": str(store.folder), "limit": store.limit, "engines": [asdict(entry) for entry in entries]}
        sys.stdout.write(json.dumps(facts | {"cleared": options.action == "clear"}) + "\n")
        return 0
    for entry in entries:
        sys.stdout.write(_line(entry) + "\n")
    done = "cleared" if options.action == "clear" else "kept"
    total = sum(entry.size for entry in entries) / 2**20
    sys.stdout.write(f"{len(entries)} engines, {total:.1f} MiB, {done}: {store.folder}\n")
    return 0


def _line(entry: Entry) -> str:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
    return f"{entry.size / 2**20:8.1f} MiB  {used}  {entry.what}"


@dataclass(frozen=True)
class Done:
    """What a run has written, in how many seconds without loading the model."""

    frames: int
    seconds: float
    interrupted: bool

    @property
    def frames_per_second(self) -> float:
        """Frames written per second of the run."""
        return self.frames / self.seconds


def follow(written: Generator[Frame], total: int | None) -> Done:
    """Count frames as they are written, until the end or Ctrl-C: the writer then completes what it has."""
    begun, count = time.monotonic(), 0
    with closing(written), frame_bar(total) as advance, stop_asked() as stop:
        for _ in written:
            count += 1
            advance()
            if stop.is_set():
                break
        written.close()
        return Done(count, time.monotonic() - begun, stop.is_set())


def _load(config: ModelConfig) -> "Model":
    """Load the model. What is there by then stays, so the collector, on again, need not walk it during a stream."""
    from millstream.models import load_model  # noqa: PLC0415

    model = load_model(config)
    gc.freeze()
    gc.enable()
    return model


def _seeds(session: "Session", count: int) -> Iterator[Frame]:
    """Frames for text to image. Each is asked for when it enters, so that its seed reaches no other."""
    seed = session.params.seed
    for k in range(count):
        session.update({"seed": seed + k})
        yield Frame(k, NO_PIXELS, float(k / SLIDES))


def _slides(config: StreamConfig, count: int) -> SourceInfo:
    assert config.width and config.height
    return SourceInfo(config.width, config.height, rate=SLIDES, frames=count, duration=count / SLIDES)


def _sized(config: StreamConfig, model: "Model", info: SourceInfo) -> StreamConfig:
    """Complete the size: the source's aspect, with the area of the model's own size or of the side that is given."""
    aspect = info.width / info.height
    if config.width:
        area = config.width**2 / aspect
    elif config.height:
        area = config.height**2 * aspect
    else:
        area = model.width * model.height
    width, height = matching_size(info.width, info.height, round(area), model.multiple)
    given = config.model_dump(exclude_unset=True, exclude_none=True)
    complete: StreamConfig = check(StreamConfig, {"width": width, "height": height} | given)
    return complete


def _refuse_same(source: str, target: str) -> None:
    same = source != DEMO and Path(source).exists() and Path(target).exists() and Path(source).samefile(target)
    if same:
        raise BadInputError(f"{target}: the input and the output are the same; give the output another name")


def _refuse_target(target: str, like: SourceInfo) -> None:
    open_sink(target, like)  # refuses an unknown suffix; nothing is opened before it is entered
    suffix = Path(target).suffix.lower()
    if suffix in PICTURE_SUFFIXES and not Path(target).is_dir() and (like.frames or 1) > 1:
        raise BadInputError(f"{target}: a {suffix} holds one picture; write to a folder, a .gif or a video instead")


def _report(options: Namespace, settings: Settings, config: StreamConfig, done: Done) -> int:
    if options.json:
        sys.stdout.write(json.dumps(_facts(options, settings, config, done)) + "\n")
    frames = f"{done.frames} frame{'s' if done.frames != 1 else ''}"
    if done.interrupted:
        return _say(f"stopped: {options.output} holds the first {frames}", INTERRUPTED)
    if not options.json:
        speed = f"{done.seconds:.1f} s, {done.frames_per_second:.1f} frames a second"
        sys.stdout.write(f"{frames} in {speed}, {config.backend} in {config.precision}: {options.output}\n")
    return 0


def _facts(options: Namespace, settings: Settings, config: StreamConfig, done: Done) -> dict[str, object]:
    return {
        "frames": done.frames,
        "seconds": round(done.seconds, 3),
        "frames_per_second": round(done.frames_per_second, 3),
        "interrupted": done.interrupted,
        "output": options.output,
        "model": settings.model.name,
        **config.model_dump(),
        **settings.params.model_dump(),
    }


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_COUNT:
        raise ArgumentTypeError(f"give 1 to {MAX_COUNT} (got '{text}')")
    return int(text)


class _Said(logging.Handler):
    """What the library tells of its progress, as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        _say(record.getMessage(), 0)


def _tell_progress() -> None:
    log = logging.getLogger("millstream")
    if sys.stderr.isatty() and not log.handlers:
        log.addHandler(_Said())
        log.setLevel(logging.INFO)


def _warn(message: Warning | str, *_: object) -> None:
    """A remark of the library, as one line and not as a place in its source."""
    _say(str(message), 0)


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"millstream: {' '.join(message.split())}\n")
    return code
