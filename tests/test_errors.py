"""Which errors come out when input is bad, and what they say: never a byte of the data."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, tzinfo
from functools import partial
from typing import Any

import msgspec
import pytest
from msgspec import DecodeError, EncodeError, ValidationError

import chatcodec
from chatcodec import ChatCompletionResponse, RecordError, StreamError, json, ndjson
from chatcodec._errors import decode_error

from .support import Framing
from .wire import CODECS, DEEP, bare, nested, raw

SECRET = "hunter2"  # noqa: S105
NO_MEMORY = "a declared length exceeds the available memory"
UNHASHABLE = TypeError("unhashable type: 'dict'")
UNWRITABLE = ChatCompletionResponse(session_id="\ud800")


def replace(error: Exception, data: bytes) -> None:
    raise decode_error(error, data)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (partial(json.decode, b'{"sessionId":"\xff"}'), DecodeError, "text is not valid UTF-8"),
        (partial(json.decode, nested(json, DEEP)), DecodeError, "nested deeper than the recursion limit"),
        (partial(json.encode, UNWRITABLE), EncodeError, "text holds half a surrogate pair"),
        (partial(replace, UNHASHABLE, b"\x80"), DecodeError, "a map is a key of a map"),
        (partial(replace, ValueError(SECRET), b"{}"), ValidationError, "a value is out of range"),
        (partial(replace, OverflowError(SECRET), b"{}"), ValidationError, "a value is out of range"),
        (partial(replace, MemoryError(), b"{}"), DecodeError, NO_MEMORY),
    ],
)
def test_an_error_that_replaces_another_gives_the_reason_and_does_not_show_it(call: Any, kind: Any, text: str) -> None:
    with pytest.raises(kind, match=f"^{text}$") as caught:
        call()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "error", [KeyError("mine"), RuntimeError("unhashable, I say"), MemoryError(), OverflowError(), RecursionError()]
)
def test_an_exception_from_the_users_code_passes_through_with_its_cause(error: Exception) -> None:
    cause = OSError("why")

    def fail(*_: Any) -> Any:
        raise error from cause

    odd: Any = type("Odd", (ChatCompletionResponse,), {"__post_init__": fail})
    nowhere: Any = type("Nowhere", (tzinfo,), {"utcoffset": fail})()
    record = ChatCompletionResponse(timestamp=datetime(2026, 1, 2, tzinfo=nowhere))
    for codec in CODECS:
        for call in (partial(codec.decode, raw(codec), odd), partial(codec.encode, record)):
            with pytest.raises(type(error)) as caught:
                call()
            assert caught.value is error
            assert error.__cause__ is cause


@pytest.mark.parametrize("kind", [ValueError, TypeError, ValidationError, DecodeError, EncodeError])
def test_a_record_that_its_type_rejects_is_invalid_without_its_words(framing: Framing, kind: type[Exception]) -> None:
    """Its own errors would quote the data, or be about data of another kind."""

    class Checking(ChatCompletionResponse):
        def __post_init__(self) -> None:
            raise kind(SECRET)

    text = rf"rejected by the type's own check \({kind.__name__}\)$"
    with pytest.raises(ValidationError, match=text):
        framing.codec.decode(raw(framing.codec), Checking)
    with pytest.raises(RecordError, match=text) as caught:
        framing.stream.StreamDecoder(Checking).feed(framing.frame(raw(framing.codec)))
    assert caught.value.kind == "invalid"


@pytest.mark.parametrize("text", ['{"co', '{"sessionId":"\\ud83d'])
def test_text_that_is_cut_is_reported_as_its_bytes_are(text: Any) -> None:
    with pytest.raises(DecodeError, match="truncated"):
        json.decode(text)  # msgspec reads `str` too


def test_msgspecs_messages_are_kept_where_they_quote_nothing(codec: Any) -> None:
    for message in (b"", b"\x81", b'{"cost":}', b"\x81\xa1a\xc1"):
        with pytest.raises(DecodeError) as expected:
            bare(codec).decode(message, type=ChatCompletionResponse)
        with pytest.raises(DecodeError) as caught:
            codec.decode(message)
        assert (type(caught.value), str(caught.value)) == (type(expected.value), str(expected.value))


def test_the_codecs_error_is_the_cause_of_a_record_error_and_nothing_is_its_context() -> None:
    with pytest.raises(RecordError) as caught:
        ndjson.StreamDecoder().feed(b'{"cost":1}\n{"cost":"hunter2"}\n')
    cause = caught.value.__cause__
    assert type(cause) is ValidationError
    assert (caught.value.__context__, cause.__context__, cause.__traceback__) == (None, None, None)


@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RecordError("malformed", "line", 2, 11, "bad", b"{", [ChatCompletionResponse()]), "line 2 at offset 11: bad"),
        (StreamError("incomplete", "line", 2, 5, "cut", path="a"), "a at offset 5, line 2 of its partition: cut"),
    ],
)
def test_a_record_error_pickles_and_copies(duplicate: Any, error: RecordError, text: str) -> None:
    again = duplicate(error)
    assert (type(again), str(again), vars(again)) == (type(error), text, vars(error))


def test_a_record_error_holds_no_data_or_records_unless_given() -> None:
    error = RecordError("malformed", "line", 2, 11, "bad")
    assert (error.data, error.records) == (b"", [])


@pytest.mark.parametrize("name", ["DecodeError", "EncodeError", "ValidationError"])
def test_the_package_exports_msgspecs_own_errors(name: str) -> None:
    assert getattr(chatcodec, name) is getattr(msgspec, name)
