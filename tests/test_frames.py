"""Frames: a 4-byte big-endian length, then that many bytes of MessagePack."""

from __future__ import annotations

import pytest

from chatcodec import ChatCompletionResponse

from .support import FRAMES, cut, outcome

FRAME = b"\0\0\0\x09\x81\xa6stream\xc3"


def test_a_long_frame_is_rejected_from_its_header_without_data_and_the_next_is_read() -> None:
    whole = b"\0\0\0\x0a" + b"x" * 10 + FRAME + b"\xff\xff\xff\xff"
    for place in range(len(whole) + 1):
        first, good, second, _ = outcome(FRAMES, cut(whole, [place]), max_record_bytes=9)
        assert (first[:4], first.data, good) == (("too_long", "frame", 1, 0), b"", ChatCompletionResponse(stream=True))
        assert (second[:4], second.data) == (("too_long", "frame", 3, 14 + len(FRAME)), b"")
        assert first.reason == "10 bytes long, beyond the limit of 9"


@pytest.mark.parametrize("length", range(1, len(FRAME)))
def test_the_end_inside_a_frame_is_incomplete_with_the_bytes_that_came(length: int) -> None:
    for chunk in (FRAME + FRAME[:length], b"\0\0\0\0" + FRAME[:length]):
        *_, error = outcome(FRAMES, [chunk])
        assert (error[:4], error.data) == (("incomplete", "frame", 2, len(chunk) - length), FRAME[4:length])
