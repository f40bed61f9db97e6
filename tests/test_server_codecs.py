"""The live codecs: what they lose, that they hold nothing back, and that a header is believed before a picture."""

import struct
from fractions import Fraction
from io import BytesIO

import av
import numpy as np
import pytest
from PIL import Image

from millstream.errors import BadInputError
from millstream.frame import Pixels
from millstream.media.demo import draw
from millstream.server.codecs import SCAN, decoder, encoder
from millstream.server.limits import Limits
from millstream.server.protocol import CODECS

SIZE = 128, 96


def pictures(count: int, size: tuple[int, int] = SIZE) -> list[Pixels]:
    return [draw(0.1 + k / 50, *size) for k in range(count)]


def psnr(a: Pixels, b: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("codec", CODECS)
def test_each_picture_comes_out_as_it_goes_in(codec) -> None:
    into, out = encoder(codec), decoder(codec, Limits())
    for k, pixels in enumerate(pictures(6)):
        encoded = into.encode(pixels, k == 4)
        assert encoded.key == (codec == "jpeg" or k in (0, 4))
        assert psnr(out.decode(encoded.payload), pixels) > 30


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_a_new_decoder_begins_at_a_key_picture(codec) -> None:
    into = encoder(codec)
    encoded = [into.encode(pixels, k == 2) for k, pixels in enumerate(pictures(4))]
    out = decoder(codec, Limits())
    shown = [out.decode(each.payload) for each in encoded[2:]]
    assert psnr(shown[-1], pictures(4)[-1]) > 30


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_another_size_begins_anew(codec) -> None:
    into, out = encoder(codec), decoder(codec, Limits())
    out.decode(into.encode(pictures(1)[0], False).payload)
    larger = pictures(1, (160, 128))[0]
    encoded = into.encode(larger, False)
    assert encoded.key
    assert psnr(out.decode(encoded.payload), larger) > 30


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_odd_sides_lose_a_line(codec) -> None:
    pixels = pictures(1, (65, 47))[0]
    shown = decoder(codec, Limits()).decode(encoder(codec).encode(pixels, True).payload)
    assert shown.shape == (46, 64, 3)


@pytest.mark.parametrize("codec", CODECS)
def test_a_large_picture_is_refused(codec) -> None:
    encoded = encoder(codec).encode(pictures(1)[0], True)
    for limits in (Limits(pixels=128 * 96 - 1), Limits(side=127)):
        with pytest.raises(BadInputError, match=r"large|128x96"):
            decoder(codec, limits).decode(encoded.payload)
    assert decoder(codec, Limits(pixels=128 * 96)).decode(encoded.payload).shape == (96, 128, 3)


def test_a_jpeg_that_declares_a_monster_is_not_decoded() -> None:
    target = BytesIO()
    Image.new("RGB", (16, 16)).save(target, "JPEG")
    data = bytearray(target.getvalue())
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", 20_000, 20_000)
    with pytest.raises(BadInputError):
        decoder("jpeg", Limits()).decode(bytes(data))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("damage", [b"", b"x", bytes(100), b"\xff" * 2000, b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused(codec, damage: bytes) -> None:
    with pytest.raises(BadInputError, match="payload"):
        decoder(codec, Limits()).decode(damage or b"\0")


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_jpegs_become_rgb(mode: str) -> None:
    target = BytesIO()
    Image.new(mode, (24, 16)).save(target, "JPEG")
    assert decoder("jpeg", Limits()).decode(target.getvalue()).shape == (16, 24, 3)


def test_a_jpeg_of_many_scans_is_not_decoded() -> None:
    target = BytesIO()
    Image.fromarray(pictures(1)[0]).save(target, "JPEG", progressive=True)
    data = target.getvalue()
    assert decoder("jpeg", Limits()).decode(data).shape == (96, 128, 3)
    last = data.rindex(SCAN)
    with pytest.raises(BadInputError, match="scans"):
        decoder("jpeg", Limits()).decode(data[:last] + data[last:-2] * 2000 + data[-2:])


def test_a_message_holds_one_picture_of_h264() -> None:
    into = encoder("h264")
    encoded = [into.encode(pixels, k == 0).payload for k, pixels in enumerate(pictures(3))]
    with pytest.raises(BadInputError, match="one picture"):
        decoder("h264", Limits()).decode(b"".join(encoded))
    out = decoder("h264", Limits())
    for payload, pixels in zip(encoded, pictures(3), strict=True):
        assert psnr(out.decode(payload), pixels) > 30


@pytest.mark.parametrize("slices", [8, 64])
def test_a_picture_of_h264_may_have_some_slices(slices: int) -> None:
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 128, 1088, "yuv420p", Fraction(1, 30)
    context.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": f"slices={slices}:slices-max=128"}
    pixels = draw(0.1, 128, 1088)
    (packet,) = context.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
    assert psnr(decoder("h264", Limits()).decode(bytes(packet)), pixels) > 20
    again = bytes(packet)[bytes(packet).rindex(bytes([0, 0, 1])) :]
    with pytest.raises(BadInputError, match="one picture"):
        decoder("h264", Limits()).decode(bytes(packet) + again * 100)
