"""The source's audio on its way into a result."""

import io
import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from millstream.errors import BadInputError
from millstream.media.containers import open_container, origin

_RATE = 48_000  # the one that Opus works in
_BITS_A_CHANNEL = 96_000
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}  # what both AAC and Opus take; others become stereo


class AudioTrack:
    """The first audio track of `path`, muxed into `out` beside the pictures.

    Packets are copied as they are where the container takes their codec; else they are encoded anew with `encoder`.
    """

    def __init__(self, path: Path, out: OutputContainer, encoder: str) -> None:
        self._path, self._out = path, out
        self._input = open_container(path)
        self._track = self._input.streams.audio[0]
        self._origin = origin(self._input)
        if _takes(out.format.name, path):
            self._packets = self._copied(out.add_stream_from_template(self._track))
        else:
            self._packets = self._encoded(_add_encoder(self._track, out, encoder))
        self._waiting: "Packet[AudioStream] | None" = None

    def mux_until(self, time: float = math.inf) -> None:
        """Mux every packet that begins before `time` seconds, so that pictures and sound lie side by side.

        Raises BadInputError when the source's audio cannot be read.
        """
        packet = self._waiting if self._waiting is not None else next(self._packets, None)
        while packet is not None and _begin(packet) < time:
            self._out.mux(packet)
            packet = next(self._packets, None)
        self._waiting = packet

    def close(self) -> None:
        """Close the source's file."""
        self._input.close()

    def _copied(self, stream: AudioStream) -> "Iterator[Packet[AudioStream]]":
        for packet in self._demuxed():
            if packet.pts is not None and packet.dts is not None:
                shift = round(self._origin / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                yield packet

    def _encoded(self, stream: AudioStream) -> "Iterator[Packet[AudioStream]]":
        for packet in self._demuxed():
            for frame in self._decoded(packet):
                if frame.pts is not None and frame.time_base:
                    frame.pts -= round(self._origin / frame.time_base)
                yield from stream.encode(frame)
        yield from stream.encode(None)

    def _demuxed(self) -> "Iterator[Packet[AudioStream]]":
        try:
            yield from self._input.demux(self._track)
        except av.FFmpegError:
            raise self._unreadable() from None

    def _decoded(self, packet: "Packet[AudioStream]") -> list[av.AudioFrame]:
        try:
            return packet.decode()
        except av.FFmpegError:
            raise self._unreadable() from None

    def _unreadable(self) -> BadInputError:
        return BadInputError(f"{self._path}: the audio cannot be read; copy the file again, or take its audio out")


def _takes(format_name: str, path: Path) -> bool:
    """Mux the first packet into nowhere: some containers refuse a codec only in their header, some in their index."""
    with open_container(path) as source:
        track = source.streams.audio[0]
        trial = av.open(io.BytesIO(), "w", format=format_name)
        try:
            stream = trial.add_stream_from_template(track)
            packet = next(source.demux(track))
            packet.stream = stream
            trial.mux(packet)
            trial.close()
        except (ValueError, av.FFmpegError):
            return False
        finally:
            with suppress(av.FFmpegError):
                trial.close()
    return True


def _add_encoder(track: AudioStream, out: OutputContainer, encoder: str) -> AudioStream:
    layout = _LAYOUTS.get(track.channels, "stereo")
    stream = out.add_stream(encoder, rate=_RATE)
    assert isinstance(stream, AudioStream)
    stream.layout = layout
    stream.bit_rate = _BITS_A_CHANNEL * stream.channels
    return stream


def _begin(packet: "Packet[AudioStream]") -> float:
    return float((packet.pts or 0) * packet.time_base)
