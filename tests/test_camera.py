"""Cameras: how they are named, why one cannot be opened, and the reading.

No camera is to be had here. The reading is tested on FFmpeg's `lavfi`, a device like any camera's to FFmpeg: the same
code opens it, reads it and fails over it.
"""

import errno
import os
from itertools import islice, pairwise
from pathlib import Path
from threading import Thread

import av
import numpy as np
import pytest

from millstream.errors import BadInputError
from millstream.media.camera import CameraSource, Device, cameras, explain, find_device, may_read
from millstream.media.colour import to_rgb

ENDLESS = Device("lavfi", "testsrc2=size=64x48:rate=30,realtime")
SHORT = Device("lavfi", "testsrc2=size=64x48:rate=30:duration=0.1")


def drawn(count):
    """What lavfi draws, read without the camera."""
    with av.open("testsrc2=size=64x48:rate=30", format="lavfi") as container:
        return [to_rgb(picture, 64, 48) for picture in islice(container.decode(video=0), count)]


@pytest.mark.parametrize(
    ("system", "which", "device"),
    [
        ("Linux", "0", Device("v4l2", "/dev/video0")),
        ("Linux", "12", Device("v4l2", "/dev/video12")),
        ("Linux", "/dev/v4l/by-id/front", Device("v4l2", "/dev/v4l/by-id/front")),
        ("Darwin", "1", Device("avfoundation", "1", {"framerate": "30"})),
        ("Windows", "HD Webcam", Device("dshow", "video=HD Webcam")),
    ],
)
def test_a_camera_by_its_system(system, which, device):
    assert find_device(which, system) == device


def test_a_system_without_cameras():
    with pytest.raises(BadInputError, match="millstream serve"):
        find_device("0", "Plan9")


def test_pictures_are_read_as_they_are_and_numbered():
    source = CameraSource(ENDLESS)
    assert (source.info.width, source.info.height, source.info.rate) == (64, 48, 30)
    frames = list(islice(source, 5))
    source.close()
    assert [frame.id for frame in frames] == list(range(5))
    assert all(a.time < b.time for a, b in pairwise(frames))
    for frame, pixels in zip(frames, drawn(5), strict=True):
        np.testing.assert_array_equal(frame.pixels, pixels)


def test_a_camera_that_stops_is_an_error_behind_its_last_picture():
    frames = []
    with pytest.raises(BadInputError, match="gives no more pictures; plug it in again"):
        frames.extend(CameraSource(SHORT))  # a list takes what comes before an error
    assert len(frames) == 3


def test_closing_ends_the_reading_in_another_thread():
    source = CameraSource(ENDLESS)
    begun = []
    reader = Thread(target=lambda: begun.extend(source))
    reader.start()
    source.close()
    reader.join(30)
    assert not reader.is_alive()


def test_one_that_was_never_read_can_be_closed():
    source = CameraSource(ENDLESS)
    source.close()
    source.close()


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs Linux's devices")
@pytest.mark.parametrize("which", ["77", "/dev/null"])
def test_no_camera_there(which):
    with pytest.raises(BadInputError, match=r"^camera /dev/.*there is none, or it is no camera; plug one in"):
        CameraSource(find_device(which, "Linux"))


def test_a_format_that_this_ffmpeg_has_not():
    with pytest.raises(BadInputError, match="no such-device"):
        CameraSource(Device("such-device", "0"))


@pytest.mark.parametrize(
    ("number", "cure"),
    [(errno.EBUSY, "another program"), (errno.EACCES, "group"), (errno.EPERM, "group"), (errno.EIO, "plug one in")],
)
def test_why_and_the_cure(number, cure):
    assert cure.replace("group", "usermod -aG video") in explain(OSError(number, os.strerror(number)))


def test_every_camera_of_this_machine_has_a_name():
    assert all("(" in name for name in cameras())


def test_rights_matter_for_devices_that_are_there():
    assert may_read("/dev/null")
    assert may_read("0")
    assert may_read("/dev/video77")
