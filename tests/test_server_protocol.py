"""The live protocol: the exact bytes of the header, and a fault that names its field for everything else."""

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.server.protocol import (
    CODECS,
    Ack,
    Change,
    Hello,
    Packet,
    ProtocolError,
    Set,
    pack,
    parse,
    say,
    unpack,
)

MOST = 4096


def test_the_header_is_twenty_bytes_little_endian() -> None:
    packet = Packet("vp8", True, 7, 1234.5, 3, b"picture")
    assert pack(packet) == struct.pack("<BBBBIdI", 1, 1, 2, 1, 7, 1234.5, 3) + b"picture"
    assert len(pack(packet)) == 20 + len(b"picture")


@given(
    st.sampled_from(CODECS),
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=1),
)
def test_what_is_packed_is_unpacked(codec, key, sequence, capture, revision, payload) -> None:
    packet = Packet(codec, key, sequence, capture, revision, payload)
    assert unpack(pack(packet)) == packet


@pytest.mark.parametrize(
    ("place", "value", "field"),
    [(0, 2, "version"), (1, 0, "kind"), (2, 3, "codec"), (3, 2, "flags"), (15, 0xFF, "capture")],
)
def test_a_header_with_a_fault_names_it(place: int, value: int, field: str) -> None:
    data = bytearray(pack(Packet("jpeg", True, 0, -1.7e308, 0, b"x")))
    data[place] = value
    data[14] = 0xF0 if field == "capture" else data[14]
    with pytest.raises(ProtocolError) as found:
        unpack(bytes(data))
    assert found.value.field == field


def test_a_picture_needs_a_payload() -> None:
    with pytest.raises(ProtocolError, match="20 bytes"):
        unpack(bytes(20))


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"type": "hello", "send": ["h264"], "receive": ["jpeg"], "size": [640, 480], "name": "page"}, Hello),
        ({"type": "set", "id": 4, "params": {"strength": 0.3}}, Set),
        ({"type": "change", "id": "a", "config": {"steps": 3}}, Change),
        ({"type": "ack", "seq": 9, "age_ms": 31}, Ack),
    ],
)
def test_messages_of_a_client(message: dict, kind: type) -> None:
    assert isinstance(parse(json.dumps({"v": 1} | message), MOST), kind)


@pytest.mark.parametrize(
    ("text", "field", "id"),
    [
        ("{", "message", None),
        ("[1]", "message", None),
        ('{"v": 1}', "type", None),
        ('{"v": 1, "id": 3}', "type", 3),
        ('{"v": 2, "type": "key"}', "v", None),
        ('{"v": 1, "type": "dance", "id": 3}', "type", 3),
        ('{"v": 1, "type": "set", "id": 3}', "params", 3),
        ('{"v": 1, "type": "set", "id": -1, "params": {}}', "id", None),
        ('{"v": 1, "type": "set", "id": true, "params": {}}', "id", None),
        ('{"v": 1, "type": "set", "id": 5, "params": [], "more": 1}', "params", 5),
        ('{"v": 1, "type": "ack", "seq": 4294967296, "age_ms": 1}', "seq", None),
        ('{"v": 1, "type": "ack", "seq": 1, "age_ms": NaN}', "message", None),
        ('{"v": 1, "type": "hello", "receive": []}', "receive", None),
        ('{"v": 1, "type": "key", "extra": 1}', "extra", None),
        ("[" * 5000, "message", None),
    ],
)
def test_a_bad_message_names_its_field(text: str, field: str, id: int | None) -> None:
    with pytest.raises(ProtocolError) as found:
        parse(text, 10_000)
    assert (found.value.field, found.value.id) == (field, id)
    assert "\n" not in str(found.value)


def test_a_long_message_is_not_read() -> None:
    with pytest.raises(ProtocolError, match="limit is 10"):
        parse(say("key"), 10)


@settings(max_examples=50)
@given(st.recursive(st.none() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_json_is_read_or_refused(value: object) -> None:
    with pytest.raises(ProtocolError):
        parse(json.dumps(value), 10**6)
