"""The words of the errors that are this package's own: one line each, and nothing of the data."""

from __future__ import annotations

import re
from typing import Any

import pytest

from chatcodec import ChatCompletionResponse, DecodeError, EncodeError, RecordError, json, msgpack, transcode

from .wire import DEEP, nested


def raised_by(error: Exception) -> type[ChatCompletionResponse]:
    """Return a type whose decoding fails with `error`."""

    class Failing(ChatCompletionResponse):
        def __post_init__(self) -> None:
            raise error

    return Failing


READING: list[tuple[Any, str]] = [
    (lambda: json.decode(b'{"sessionId":"\xff"}'), "text is not valid UTF-8"),
    (lambda: json.decode(nested(json, DEEP)), "nested deeper than the recursion limit"),
    (lambda: json.decode(b"{}", raised_by(MemoryError())), "a declared length exceeds the available memory"),
    (lambda: json.decode(b"{}", raised_by(OverflowError())), "a value is out of range"),
]


@pytest.mark.parametrize(("read", "words"), READING)
def test_the_words_of_what_cannot_be_read(read: Any, words: str) -> None:
    with pytest.raises(DecodeError, match=f"^{words}$"):
        read()


def test_the_words_of_what_the_other_format_cannot_hold() -> None:
    words = "a value or key is of a kind that the format cannot hold"
    with pytest.raises(EncodeError, match=f"^{re.escape(words)}$") as caught:
        transcode.msgpack_to_json(b"\x81\xa1x\x81\xc0\x01")
    assert caught.value.__suppress_context__
    assert msgpack.decode(b"\x81\xa1x\x81\xc0\x01") == ChatCompletionResponse()


def test_a_record_error_has_no_data_and_no_records_unless_it_is_given_them() -> None:
    error = RecordError("malformed", "line", 1, 0, "reason")
    assert (error.data, error.records) == (b"", [])
