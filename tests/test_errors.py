"""What comes out when input is bad: only ours, without a byte of the data."""

from __future__ import annotations

import copy
import enum
import pickle
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, Literal

import msgspec
import pytest
from msgspec import DecodeError, EncodeError, ValidationError

import chatcodec
from chatcodec import ChatCompletionResponse, RecordError, StreamError, _errors, json, msgpack, ndjson

from .support import Framing
from .wire import CODECS, DEEP, bare, nested, raw

SECRET = "hunter2"  # noqa: S105


class Color(enum.Enum):
    RED = "red"


class Circle(msgspec.Struct, tag=True):
    radius: int = 0


class Square(msgspec.Struct, tag=True):
    side: int = 0


class Picky(msgspec.Struct, forbid_unknown_fields=True):
    """A type of the user's whose errors from msgspec quote the value."""

    color: Color = Color.RED
    word: Literal["a"] = "a"
    number: Literal[1] = 1
    shape: Circle | Square | None = None
    checked: str = ""

    def __post_init__(self) -> None:
        if self.checked:
            message = f"I do not like {self.checked}"
            raise ValueError(message)


QUOTED = [
    ({"color": SECRET}, "Invalid enum value - at `$.color`"),
    ({"word": SECRET}, "Invalid enum value - at `$.word`"),
    ({"number": 424242}, "Invalid enum value - at `$.number`"),
    ({"shape": {"type": SECRET}}, "Invalid value - at `$.shape.type`"),
    ({SECRET: 1}, "Object contains unknown field"),
    ({f"x - at `$.{SECRET}": 1}, "Object contains unknown field"),
    ({"checked": SECRET}, "rejected by the type's own check (ValueError)"),
]


@pytest.mark.parametrize(("fields", "text"), QUOTED)
def test_no_error_quotes_the_data_where_msgspec_would(codec: Any, fields: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        codec.decode(codec.encode(fields), Picky)
    assert str(caught.value) == text


OUT_OF_RANGE = "a value is out of range"
UNWRITABLE = ChatCompletionResponse(session_id="\ud800")
REPLACED: list[tuple[Any, type[Exception], str]] = [
    (lambda: json.decode(b'{"sessionId":"\xff"}'), DecodeError, "text is not valid UTF-8"),
    (lambda: json.decode(nested(json, DEEP)), DecodeError, "nested deeper than the recursion limit"),
    (
        lambda: _errors.raise_decode_error(MemoryError(), b"{}"),
        DecodeError,
        "a declared length exceeds the available memory",
    ),
    (lambda: _errors.raise_decode_error(ValueError(SECRET), b"{}"), ValidationError, OUT_OF_RANGE),
    (lambda: _errors.raise_decode_error(OverflowError(SECRET), b"{}"), ValidationError, OUT_OF_RANGE),
    (lambda: json.encode(UNWRITABLE), EncodeError, "text holds half a surrogate pair"),
]


@pytest.mark.parametrize(("call", "kind", "words"), REPLACED)
def test_an_error_that_replaces_another_gives_the_reason_and_does_not_show_it(
    call: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=f"^{words}$") as caught:
        call()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "error", [KeyError("mine"), RuntimeError("unhashable, I say"), MemoryError(), OverflowError(), RecursionError()]
)
def test_what_the_users_own_code_raises_comes_out_as_it_was_with_its_cause(error: Exception) -> None:
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
def test_what_a_check_of_the_type_rejects_is_invalid_without_its_words(framing: Framing, kind: type[Exception]) -> None:
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


def test_text_that_is_cut_is_a_decode_error_as_its_bytes_are() -> None:
    for text in ('{"co', '{"sessionId":"\\ud83d'):
        with pytest.raises(DecodeError) as caught:
            json.decode(text)  # type: ignore[arg-type]  # which msgspec reads too
        assert "truncated" in str(caught.value)


def test_a_map_that_is_a_key_is_a_decode_error() -> None:
    for message in (b"\x81\xa7choices\x91\x81\xa1a\x81\x80\x02", b"\x81\xa7choices\x91\x81\x80\x02"):
        with pytest.raises(DecodeError):
            msgpack.decode(message)
    with pytest.raises(DecodeError, match=r"^a map is a key of a map$"):
        _errors.raise_decode_error(TypeError("unhashable type: 'dict'"), b"\x80")


def test_msgspecs_own_words_come_out_where_they_quote_nothing(codec: Any) -> None:
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


def test_the_text_of_a_record_error_names_the_file_where_that_is_known() -> None:
    error = StreamError("incomplete", "line", 2, 11, "cut", path="s3://logs/a.ndjson")
    assert str(error) == "s3://logs/a.ndjson at offset 11, line 2 of its partition: cut"
    assert (error.data, error.records) == (b"", [])


@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
@pytest.mark.parametrize(
    "error",
    [
        RecordError("malformed", "line", 2, 11, "bad", b"{", [ChatCompletionResponse(cost=1.0)]),
        StreamError("incomplete", "line", 2, 11, "cut", b"{", path="s3://logs/a.ndjson"),
    ],
)
def test_a_record_error_pickles_and_copies(duplicate: Any, error: RecordError) -> None:
    again = duplicate(error)
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_the_package_exports_msgspecs_three_errors() -> None:
    assert chatcodec.DecodeError is msgspec.DecodeError
    assert chatcodec.EncodeError is msgspec.EncodeError
    assert chatcodec.ValidationError is msgspec.ValidationError
