"""The reader of packets, held against packets made by hand and cut anywhere."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.packets import MalformedPacketError, PacketReader

PINGRESP = b"\xd0\x00"


def length(number):
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | 0x80 if number else digit)
        if not number:
            return bytes(out)


def publish(topic, payload, *, mid=7, qos=1, retain=False, dup=False, properties=None):
    body = struct.pack(">H", len(topic)) + topic + (struct.pack(">H", mid) if qos else b"")
    if properties is not None:
        body += length(len(properties)) + properties
    return bytes([0x30 | dup << 3 | qos << 1 | retain]) + length(len(body) + len(payload)) + body + payload


def read(stream, *, five=False, cuts=()):
    others = []
    reader = PacketReader(five=five, other=others.append)
    reader.epoch = 3
    messages = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        messages += reader.feed(stream[start:end], 12.5)
    return messages, others


MESSAGES = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8"), max_size=20),
        st.binary(max_size=20) | st.integers(100, 20_000).map(bytes),
        st.integers(1, 65535),
        st.booleans(),
        st.booleans(),
        st.sampled_from([0, 1]),
        st.binary(max_size=5) | st.integers(126, 300).map(bytes),
    ),
    max_size=6,
)


@given(MESSAGES, st.booleans(), st.lists(st.integers(0, 10**6), max_size=12))
def test_a_stream_gives_the_same_messages_wherever_it_is_cut(messages, five, cuts):
    stream = b""
    for topic, payload, mid, retain, dup, qos, properties in messages:
        stream += publish(
            topic.encode(), payload, mid=mid, qos=qos, retain=retain, dup=dup, properties=properties if five else None
        )
        stream += PINGRESP
    got, others = read(stream, five=five, cuts=cuts)
    assert got == [
        (3, mid if qos else 0, topic, payload, qos, retain, dup, 12.5)
        for topic, payload, mid, retain, dup, qos, _ in messages
    ]
    assert others == [PINGRESP] * len(messages)


def test_a_stream_that_comes_byte_by_byte():
    stream = publish(b"a/b", b"x" * 300) + PINGRESP + publish(b"c", b"")
    got, others = read(stream, cuts=range(len(stream)))
    assert [(one.topic, one.payload) for one in got] == [("a/b", b"x" * 300), ("c", b"")]
    assert others == [PINGRESP]


def test_a_packet_of_megabytes_is_joined_once():
    stream = publish(b"a", bytes(3_000_000))
    got, _ = read(stream, cuts=range(0, len(stream), 65536))
    assert len(got[0].payload) == 3_000_000


def test_a_topic_that_is_no_text_ends_nothing():
    [message], _ = read(publish(b"a/\xff", b"x"))
    assert message.topic == "a/\ufffd"


def test_what_another_packet_does_counts_for_the_messages_behind_it():
    reader = PacketReader(five=False, other=lambda _: setattr(reader, "epoch", 9))
    messages = reader.feed(publish(b"a", b"1") + PINGRESP + publish(b"a", b"2"), 0)
    assert [one.epoch for one in messages] == [0, 9]


@pytest.mark.parametrize(
    ("stream", "five"),
    [
        (b"\x30\xff\xff\xff\xff\x01", False),  # a length of five bytes
        (b"\x32\x01\x00", False),  # no room for the topic's length
        (b"\x32\x04\x00\x05ab", False),  # a topic beyond the packet
        (b"\x32\x04\x00\x02ab", False),  # no message id
        (b"\x32\x06\x00\x02ab\x00\x01", True),  # no properties
        (b"\x32\x07\x00\x02ab\x00\x01\x09", True),  # properties beyond the packet
        (b"\x34\x06\x00\x02ab\x00\x01", False),  # QoS 2
    ],
)
def test_what_is_no_mqtt_is_refused(stream, five):
    with pytest.raises(MalformedPacketError):
        read(stream, five=five)
    with pytest.raises(MalformedPacketError):
        read(stream + PINGRESP * 20, five=five)
