"""Contact sheet: frames of a clip above what the stream makes of them, one row a prompt.

python docs/sheet.py CLIP OUT.jpg "ink drawing" "oil painting"

The pictures of Big Buck Bunny in these docs were made so (c) copyright 2008, Blender Foundation,
www.bigbuckbunny.org, Creative Commons Attribution 3.0; changed by the stream.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from millstream.frame import Frame
from millstream.media.fit import matching_size
from millstream.media.sources import open_source
from millstream.models import Model, load_model
from millstream.params import ModelConfig, Params, StreamConfig
from millstream.pipeline import Stream

COLUMNS, LABEL, GAP = 5, 22, 4


def spread(frames: Iterator[Frame], total: int) -> list[Frame]:
    """COLUMNS frames at even distances."""
    return list(islice(frames, 0, total, max(1, total // COLUMNS)))[:COLUMNS]


def output_row(model: Model, clip: Path, prompt: str, size: tuple[int, int], total: int) -> list[Frame]:
    """The same frames under a prompt, each from the running stream."""
    config = StreamConfig(width=size[0], height=size[1])
    with Stream.open(model, config, Params.model_validate({"prompt": prompt})) as stream:
        return spread(islice(stream.run(clip), total), total)


def draw(rows: Sequence[tuple[str, list[Frame]]], size: tuple[int, int]) -> Image.Image:
    """Rows of pictures, each under its label."""
    width, height = size
    step = height + LABEL
    sheet = Image.new("RGB", (COLUMNS * (width + GAP) + GAP, len(rows) * step + GAP), "#16181c")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for r, (label, frames) in enumerate(rows):
        pen.text((GAP, r * step + 3), label, fill="#c9cdd4", font=font)
        for c, frame in enumerate(frames):
            picture = Image.fromarray(frame.pixels).resize(size, Image.Resampling.LANCZOS)
            sheet.paste(picture, (GAP + c * (width + GAP), r * step + LABEL))
    return sheet


def main(clip: str, out: str, *prompts: str) -> None:
    """Draw the sheet."""
    model = load_model(ModelConfig())
    source = open_source(clip)
    info = source.info
    total = info.frames or COLUMNS
    size = matching_size(info.width, info.height, model.width * model.height, model.multiple)
    rows = [("input", spread(iter(source), total))]
    rows += [(prompt, output_row(model, Path(clip), prompt, size, total)) for prompt in prompts]
    draw(rows, size).save(out, quality=88)


if __name__ == "__main__":
    main(*sys.argv[1:])
