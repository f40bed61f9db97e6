"""A camera as a source, through FFmpeg's own devices, which PyAV's wheels carry.

Not OpenCV: its `VideoCapture` says neither why a camera cannot be opened (taken, forbidden, not there) nor why it
stopped, and would be one more library with one more FFmpeg in it.
"""

import errno
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import av
from av.container import InputContainer

from millstream.errors import BadInputError
from millstream.frame import Frame, Pixels
from millstream.media.base import Source, SourceInfo, check_size
from millstream.media.colour import to_rgb

FORMATS = {"Linux": "v4l2", "Darwin": "avfoundation", "Windows": "dshow"}
_AGAIN = 0.004  # seconds; only macOS has no call that waits for the next picture
_CURES = {
    errno.EBUSY: "another program holds it; close that program",
    errno.EACCES: "you may not use it; on Linux `sudo usermod -aG video $USER` and log in again, "
    "on macOS and Windows allow the camera for this program in the privacy settings",
}
_ABSENT = "there is none, or it is no camera; plug one in, and see `millstream doctor`"


@dataclass(frozen=True, slots=True)
class Device:
    """An input of FFmpeg: the device's format, its address within it, and what else it has to be told."""

    format: str
    address: str
    options: dict[str, str] = field(default_factory=dict)


class CameraSource(Source):
    """The pictures of a camera from now on, without end, timed by `time.monotonic()` when they arrive.

    Opened at once. Raises BadInputError when it cannot be opened, and when it stops giving pictures. `close` may be
    called from any thread: the iteration ends with the next picture and gives the camera free.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._container = _open(device)
        self._reading = self._closing = False
        stream = self._container.streams.video[0]
        check_size(stream.width, stream.height, device.address)
        self.info = SourceInfo(stream.width, stream.height, stream.average_rate)

    def __iter__(self) -> Iterator[Frame]:
        self._reading = True
        with self._container:
            for i, pixels in enumerate(self._pictures()):
                if self._closing:
                    return
                yield Frame(i, pixels, monotonic())

    def close(self) -> None:
        """End the iteration; without one, give the camera free."""
        self._closing = True
        if not self._reading:  # FFmpeg lets no second thread close what one is reading
            self._container.close()

    def _pictures(self) -> Iterator[Pixels]:
        while True:
            try:
                for picture in self._container.decode(video=0):
                    yield to_rgb(picture, picture.width, picture.height)
                break
            except av.BlockingIOError:
                sleep(_AGAIN)
            except av.FFmpegError:
                break
        raise BadInputError(f"camera {self._device.address}: gives no more pictures; plug it in again, start again")


def find_device(which: str, system: str = platform.system()) -> Device:
    """The camera number `which` of a system (Linux, Darwin, Windows), or the one with this path or name.

    Raises BadInputError for a system whose cameras FFmpeg does not read.
    """
    if system not in FORMATS:
        raise BadInputError(f"camera: cannot be read on {system}; use the page of `millstream serve` in a browser")
    if system == "Linux":
        return Device(FORMATS[system], f"/dev/video{which}" if which.isdecimal() else which)
    if system == "Darwin":
        # FFmpeg asks for 29.97 pictures a second if it is not told, which Apple's cameras refuse.
        return Device(FORMATS[system], which, {"framerate": "30"})
    return Device(FORMATS[system], f"video={_name(int(which)) if which.isdecimal() else which}")


def cameras() -> list[str]:
    """Every camera that the system shows, as `camera:` takes it, with what it is called."""
    wanted = FORMATS.get(platform.system())
    found = av.enumerate_input_devices(wanted) if wanted in av.formats_available else []
    return [f"{device.name} ({device.description})" for device in found if "audio" not in device.media_types]


def may_read(path: str) -> bool:
    """Whether the user has the right to read a camera of Linux; elsewhere the system asks when it is opened."""
    return not path.startswith("/dev/") or not Path(path).exists() or os.access(path, os.R_OK | os.W_OK)


def _name(index: int) -> str:
    """DirectShow knows cameras by their names alone."""
    names = [device.name for device in av.enumerate_input_devices(FORMATS["Windows"]) if "video" in device.media_types]
    if index >= len(names):
        raise BadInputError(f"camera:{index}: {_ABSENT}")
    return names[index]


def _open(device: Device) -> InputContainer:
    try:
        return av.open(device.address, "r", format=device.format, options=device.options)
    except ValueError:
        raise BadInputError(f"camera: this PyAV has no {device.format}; install its wheel: pip install -U av") from None
    except OSError as error:
        raise BadInputError(f"camera {device.address}: {explain(error)}") from None


def explain(error: OSError) -> str:
    """Why a camera could not be opened, and the cure."""
    if error.errno == errno.EPERM:
        return _CURES[errno.EACCES]
    return _CURES.get(error.errno or 0, _ABSENT)
