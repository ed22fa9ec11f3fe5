"""Frames: a 4-byte big-endian length, then that many bytes of MessagePack."""

from __future__ import annotations

from typing import Any

import pytest

from chatcodec import ChatCompletionResponse, RecordError, frames

from .test_stream import cut, outcome

ONE = ChatCompletionResponse(stream=True)
FRAME = b"\0\0\0\x09\x81\xa6stream\xc3"


def test_a_frame_of_length_0_is_a_keep_alive() -> None:
    assert outcome(frames, [b"\0\0\0\0" * 2 + FRAME + b"\0\0\0\0"]) == [ONE]


def test_a_long_frame_is_refused_from_its_header_alone() -> None:
    decoder: frames.StreamDecoder[ChatCompletionResponse] = frames.StreamDecoder(max_record_bytes=9)
    assert decoder.feed(FRAME + b"\0\0\0") == [ONE]
    (error,) = outcome(frames, [FRAME[:4]], max_record_bytes=8)
    assert error == (
        "bad",
        "frame",
        1,
        0,
        "9 bytes long, beyond the limit of 8",
        b"",
        "frame 1 at offset 0: 9 bytes long, beyond the limit of 8",
    )


def test_and_the_frames_behind_it_are_read() -> None:
    whole = b"\0\0\0\x0a" + b"x" * 10 + FRAME + b"\xff\xff\xff\xff"
    for place in range(len(whole) + 1):
        seen = outcome(frames, cut(whole, [place]), max_record_bytes=9)
        assert seen[1] == ONE
        assert [(item[2], item[3]) for item in (seen[0], seen[2])] == [(1, 0), (3, 14 + len(FRAME))]


@pytest.mark.parametrize("buffer", [bytes, bytearray])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_it_is_told_with_the_last_byte_of_the_length(buffer: Any, length: int) -> None:
    decoder: frames.StreamDecoder[ChatCompletionResponse] = frames.StreamDecoder(max_record_bytes=8)
    assert decoder.feed(buffer(FRAME[:length])) == []
    with pytest.raises(RecordError, match="9 bytes long"):
        decoder.feed(buffer(FRAME[length:4]))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_stream_that_ends_inside_a_length_is_an_error(length: int) -> None:
    good, error = outcome(frames, [FRAME + FRAME[:length]])
    assert good == ONE
    assert error[2:6] == (2, len(FRAME), "stream ended inside the 4-byte length", b"")


@pytest.mark.parametrize("length", range(4, len(FRAME)))
def test_a_stream_that_ends_inside_a_message_is_an_error(length: int) -> None:
    good, error = outcome(frames, [FRAME + FRAME[:length]])
    assert good == ONE
    assert error[2:6] == (2, len(FRAME), f"stream ended after {length - 4} of 9 bytes", FRAME[4:length])


def test_a_message_that_is_not_one_value_is_an_error() -> None:
    seen = outcome(frames, [b"\0\0\0\x02\x80\x80" + b"\0\0\0\x01\x81" + FRAME])
    assert [seen[0][2:4], seen[1][2:4], seen[2]] == [(1, 0), (2, 6), ONE]
