"""Opening a file of any container, and where its time begins."""

from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from millstream.errors import BadInputError


def open_container(path: Path) -> InputContainer:
    """Open a media file for reading.

    Raises BadInputError when it is none, or is cut short before its index.
    """
    try:
        # A playlist or a concat script may name other places: nothing but files is followed.
        return av.open(str(path), "r", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.FFmpegError, OSError):
        cure = "give a video, a GIF, a picture or a folder of pictures (a file cut short needs copying again)"
        raise BadInputError(f"{path}: neither video nor picture; {cure}") from None


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Find the moving picture. Raises BadInputError when there is none; the cover of an album does not count."""
    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not moving:
        raise BadInputError(f"{path}: has no video stream; give a file with pictures in it")
    return moving[0]


def origin(container: InputContainer) -> Fraction:
    """Give the time stamp, in seconds, that is time 0: the start of the earliest stream.

    Audio before 0 is the encoder's priming, which players skip, so it does not move the pictures.
    """
    video = [_start(stream) for stream in container.streams.video]
    audio = [max(_start(stream), Fraction(0)) for stream in container.streams.audio]
    return min(video + audio, default=Fraction(0))


def _start(stream: av.stream.Stream) -> Fraction:
    return (stream.start_time or 0) * (stream.time_base or Fraction(1))
