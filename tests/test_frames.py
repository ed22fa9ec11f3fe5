"""Frames: a 4-byte big-endian length, then that many bytes of MessagePack."""

from __future__ import annotations

import pytest

from chatcodec import ChatCompletionResponse, frames

from .support import FRAMES, cut, outcome, pieces

ONE = ChatCompletionResponse(stream=True)
FRAME = b"\0\0\0\x09\x81\xa6stream\xc3"


def test_a_frame_is_its_length_and_its_message() -> None:
    assert frames.encode([ONE, b"\x80"]) == FRAME + b"\0\0\0\x01\x80"
    assert outcome(FRAMES, [FRAME + b"\0\0\0\x01\x80"]) == [ONE, ChatCompletionResponse()]


def test_a_long_frame_is_rejected_from_its_header_without_data_and_the_next_is_read() -> None:
    whole = b"\0\0\0\x0a" + b"x" * 10 + FRAME + b"\xff\xff\xff\xff"
    for place in range(len(whole) + 1):
        first, good, second, _ = outcome(FRAMES, cut(whole, [place]), max_record_bytes=9)
        assert (first[:4], first.data, good) == (("too_long", "frame", 1, 0), b"", ONE)
        assert (second[:4], second.data) == (("too_long", "frame", 3, 14 + len(FRAME)), b"")
        assert "10 " in first.reason
        assert "limit of 9" in first.reason


def test_long_frames_that_come_in_parts_are_read_also_after_a_bad_one() -> None:
    long = ChatCompletionResponse(session_id="s" * 9000)
    whole = b"\0\0\x23\x28" + b"\xc1" * 9000 + frames.encode([long, ONE, long, long])
    bad, *rest = outcome(FRAMES, pieces(whole, 3000))
    assert bad.kind == "malformed"
    assert rest == [long, ONE, long, long]


@pytest.mark.parametrize("length", range(1, len(FRAME)))
def test_the_end_inside_a_frame_is_incomplete_with_the_bytes_that_came(length: int) -> None:
    for chunk in (FRAME + FRAME[:length], b"\0\0\0\0" + FRAME[:length]):
        *_, error = outcome(FRAMES, [chunk])
        assert (error[:4], error.data) == (("incomplete", "frame", 2, len(chunk) - length), FRAME[4:length])
