"""What several commands do: load a model, choose the size, follow what is written, and report."""

import gc
import json
import sys
import time
from argparse import Namespace
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.errors import BadInputError
from millstream.frame import Frame
from millstream.media.fit import matching_size
from millstream.media.sinks import PICTURE_SUFFIXES, open_sink
from millstream.media.sources import DEMO, SourceInfo
from millstream.params import ModelConfig, Settings, StreamConfig, check
from millstream.progress import frame_bar, stop_asked

if TYPE_CHECKING:
    from millstream.models import Model
    from millstream.options import Parser

INTERRUPTED = 130


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


def add_output(parser: "Parser", what: str) -> None:
    """Add OUT and `--json`."""
    parser.add_argument("output", metavar="OUT", help=what)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def load(config: ModelConfig) -> "Model":
    """Load the model. What is there by then stays, so the collector, on again, need not walk it during a stream."""
    from millstream.models import load_model  # noqa: PLC0415

    model = load_model(config)
    gc.freeze()
    gc.enable()
    return model


def sized(config: StreamConfig, model: "Model", info: SourceInfo) -> StreamConfig:
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


def refuse_same(source: str, target: str) -> None:
    """Raise BadInputError when a file would be written over while it is read."""
    same = source != DEMO and Path(source).exists() and Path(target).exists() and Path(source).samefile(target)
    if same:
        raise BadInputError(f"{target}: the input and the output are the same; give the output another name")


def refuse_target(target: str, like: SourceInfo) -> None:
    """Raise OutputError for an unknown suffix, and BadInputError for several frames in a file of one picture."""
    open_sink(target, like)  # refuses an unknown suffix; nothing is opened before it is entered
    suffix = Path(target).suffix.lower()
    if suffix in PICTURE_SUFFIXES and not Path(target).is_dir() and (like.frames or 1) > 1:
        raise BadInputError(f"{target}: a {suffix} holds one picture; write to a folder, a .gif or a video instead")


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


def report(options: Namespace, settings: Settings, config: StreamConfig, done: Done) -> int:
    """Say what was done, as a line or as JSON; give the exit code."""
    if options.json:
        sys.stdout.write(json.dumps(facts(options.output, settings, config, done)) + "\n")
    frames = f"{done.frames} frame{'s' if done.frames != 1 else ''}"
    if done.interrupted:
        return say(f"stopped: {options.output} holds the first {frames}", INTERRUPTED)
    if not options.json:
        speed = f"{done.seconds:.1f} s, {done.frames_per_second:.1f} frames a second"
        sys.stdout.write(f"{frames} in {speed}, {config.backend} in {config.precision}: {options.output}\n")
    return 0


def facts(output: str, settings: Settings, config: StreamConfig, done: Done) -> dict[str, object]:
    """What was done and with what, for JSON."""
    return {
        "frames": done.frames,
        "seconds": round(done.seconds, 3),
        "frames_per_second": round(done.frames_per_second, 3),
        "interrupted": done.interrupted,
        "output": output,
        "model": settings.model.name,
        **config.model_dump(),
        **settings.params.model_dump(),
    }


def say(message: str, code: int) -> int:
    """Write one line to stderr; give `code` back."""
    sys.stderr.write(f"millstream: {' '.join(message.split())}\n")
    return code
