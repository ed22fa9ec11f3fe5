"""What comes out when input is bad: only ours, without a byte of the data."""

from __future__ import annotations

import copy
import enum
import pickle
import traceback
from datetime import datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest

import chatcodec
from chatcodec import ChatCompletionResponse, DecodeError, RecordError, StreamError, ValidationError, _errors, ndjson

from .wire import CODECS

if TYPE_CHECKING:
    from types import ModuleType

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


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("fields", "text"), QUOTED)
def test_no_error_quotes_the_data_where_msgspec_would(codec: ModuleType, fields: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        codec.decode(codec.encode(fields), Picky)
    assert str(caught.value) == text


@pytest.mark.parametrize(("fields", "text"), QUOTED)
def test_nor_does_the_traceback_of_a_stream_error(fields: Any, text: str) -> None:
    with pytest.raises(RecordError) as caught:
        ndjson.StreamDecoder(Picky).feed(msgspec.json.encode(fields) + b"\n")
    printed = "".join(traceback.format_exception(caught.value))
    assert caught.value.reason == text
    assert SECRET not in printed
    assert "424242" not in printed
    assert SECRET not in repr(caught.value)


def test_the_error_of_bad_text_does_not_carry_the_text() -> None:
    with pytest.raises(DecodeError, match=r"^text is not valid UTF-8$") as caught:
        chatcodec.json.decode(b'{"sessionId":"%b\xff"}' % SECRET.encode())
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "call",
    [
        lambda: chatcodec.json.decode(b'{"sessionId":"\xff"}'),
        lambda: chatcodec.json.encode(ChatCompletionResponse(session_id="\ud800")),
        lambda: chatcodec.json.decode(b'{"checked":"x"}', Picky),
    ],
)
def test_an_error_that_replaces_another_does_not_keep_it(call: Any) -> None:
    with pytest.raises(msgspec.MsgspecError) as caught:
        call()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("error", [KeyError("mine"), RuntimeError("unhashable, I say")])
def test_what_the_users_own_code_raises_comes_out_as_it_was_with_its_cause(error: Exception) -> None:
    cause = OSError("why")

    def fail(*_: Any) -> Any:
        raise error from cause

    odd: Any = type("Odd", (ChatCompletionResponse,), {"__post_init__": fail})
    nowhere: Any = type("Nowhere", (tzinfo,), {"utcoffset": fail})()
    record = ChatCompletionResponse(timestamp=datetime(2026, 1, 2, tzinfo=nowhere))
    for codec in CODECS:
        for call in (
            partial(codec.decode, b"{}" if codec is chatcodec.json else b"\x80", odd),
            partial(codec.encode, record),
        ):
            with pytest.raises(type(error)) as caught:
                call()
            assert caught.value is error
            assert error.__cause__ is cause


def test_a_map_that_is_a_key_is_a_decode_error() -> None:
    for message in (b"\x81\xa7choices\x91\x81\xa1a\x81\x80\x02", b"\x81\xa7choices\x91\x81\x80\x02"):
        with pytest.raises(DecodeError):
            chatcodec.msgpack.decode(message)
    with pytest.raises(DecodeError, match=r"^a map is a key of a map$"):
        _errors.raise_decode_error(TypeError("unhashable type: 'dict'"), b"\x80")


@pytest.mark.parametrize("error", [ValueError("year 20000"), OverflowError("20000")])
def test_a_value_that_python_cannot_hold_is_out_of_range(error: Exception) -> None:
    with pytest.raises(ValidationError, match=r"^a value is out of range$"):
        _errors.raise_decode_error(error, b"{}")


@pytest.mark.parametrize("codec", CODECS)
def test_msgspecs_own_words_come_out_where_they_quote_nothing(codec: ModuleType) -> None:
    decode = msgspec.json.decode if codec is chatcodec.json else msgspec.msgpack.decode
    for message in (b"", b"\x81", b'{"cost":}', b"\x81\xa1a\xc1"):
        with pytest.raises(DecodeError) as expected:
            decode(message, type=ChatCompletionResponse)
        with pytest.raises(DecodeError) as caught:
            codec.decode(message)
        assert (type(caught.value), str(caught.value)) == (type(expected.value), str(expected.value))


def bad_record() -> RecordError:
    decoder: ndjson.StreamDecoder = ndjson.StreamDecoder()
    with pytest.raises(RecordError) as caught:
        decoder.feed(b'{"cost":1}\n{"cost":"hunter2"}\n')
    return caught.value


def test_a_record_error_says_what_and_where() -> None:
    error = bad_record()
    assert isinstance(error, DecodeError)
    assert (error.unit, error.index, error.offset) == ("line", 2, 11)
    assert error.data == b'{"cost":"hunter2"}'
    assert error.records == [ChatCompletionResponse(cost=1.0)]
    assert error.reason == "Expected `float | null`, got `str` - at `$.cost`"


def test_its_text_is_place_and_reason() -> None:
    assert str(bad_record()) == "line 2 at offset 11: Expected `float | null`, got `str` - at `$.cost`"


def test_the_codecs_error_is_its_cause_and_nothing_is_its_context() -> None:
    error = bad_record()
    assert type(error.__cause__) is ValidationError
    assert error.__context__ is None
    assert error.__cause__.__context__ is None
    assert error.__cause__.__traceback__ is None


def test_its_text_names_the_file_where_that_is_known() -> None:
    error = StreamError("incomplete", "line", 2, 11, "cut", path="s3://logs/a.ndjson")
    assert str(error) == "s3://logs/a.ndjson at offset 11, line 2 of its partition: cut"


@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
@pytest.mark.parametrize(
    "error",
    [
        RecordError("malformed", "line", 2, 11, "bad", b"{", [ChatCompletionResponse(cost=1.0)]),
        StreamError("incomplete", "line", 2, 11, "cut", b"{", path="s3://logs/a.ndjson"),
    ],
)
def test_it_pickles_and_copies(duplicate: Any, error: RecordError) -> None:
    again = duplicate(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_the_package_exports_msgspecs_three_errors() -> None:
    assert chatcodec.DecodeError is msgspec.DecodeError
    assert chatcodec.EncodeError is msgspec.EncodeError
    assert chatcodec.ValidationError is msgspec.ValidationError
