"""Responses are private: no error's text, repr or traceback holds a piece of what was read or written."""

from __future__ import annotations

import enum
import itertools
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse, EncodeError, RecordError, ValidationError, transcode

from .hostility import readers
from .support import FRAMINGS_OF, STREAMS, TYPES
from .wire import CASES, bare, optional_fields, raw

markers = st.text("QXZJVKWY", min_size=8, max_size=16)
numbers = st.integers(10**12, 10**13)


class Word(enum.Enum):
    KNOWN = "known"


class Cat(msgspec.Struct, tag="cat"):
    name: str


class Dog(msgspec.Struct, tag="dog"):
    name: str


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A type of the user's that rejects in every way that a type can."""

    session_id: Word | None = None
    generation_id: Literal["g"] | None = None
    choices: list[Cat | Dog] | None = None
    stream: Literal[1, 2] | None = None
    cost: Annotated[float, msgspec.Meta(lt=1)] | None = None
    latency: Annotated[int, msgspec.Meta(multiple_of=7)] | None = None
    timestamp: Annotated[str, msgspec.Meta(pattern="^t", max_length=3)] | None = None


class Checked(ChatCompletionResponse):
    """A type of the user's that quotes what it rejects: a stream's error does not have its words."""

    def __post_init__(self) -> None:
        rejected = {ValueError: self.session_id, TypeError: self.generation_id, ValidationError: self.latency}
        for kind, value in rejected.items():
            if value:
                raise kind(value)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"sessionId": "secret"}, "Invalid enum value - at `$.sessionId`"),
        ({"generationId": "secret"}, "Invalid enum value - at `$.generationId`"),
        ({"stream": 424242}, "Invalid enum value - at `$.stream`"),
        ({"choices": [{"type": "secret"}]}, "Invalid value - at `$.choices[0].type`"),
        ({"secret": 1}, "Object contains unknown field"),
        ({"x - at `$.secret": 1}, "Object contains unknown field"),
    ],
)
def test_no_error_quotes_the_value_where_msgspec_would(codec: Any, fields: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        codec.decode(codec.encode(fields), Strict)
    assert str(caught.value) == text


def everything_printed(error: BaseException | None) -> str:
    """Return all that logging an error may print, of its causes and contexts too."""
    if error is None:
        return ""
    own = [*traceback.format_exception(error), repr(error), repr(error.args), repr(getattr(error, "reason", ""))]
    context = None if error.__suppress_context__ else error.__context__
    return "\n".join([*own, everything_printed(error.__cause__), everything_printed(context)])


def check_private(error: BaseException, marker: str) -> None:
    printed = everything_printed(error)
    piece = 4 if marker.isalpha() else 9  # so many in a row are no accident; offsets and lengths are numbers too
    for start in range(len(marker) - piece + 1):
        assert marker[start : start + piece] not in printed


def check_call(marker: str, kinds: Any, call: Callable[..., object], *args: Any, **options: Any) -> bool:
    """Check what a call raises, if anything, and return whether it did."""
    try:
        call(*args, **options)
    except kinds as error:
        check_private(error, marker)
        return True
    return False


def check_all(codec: Any, message: bytes, marker: str) -> None:
    """Give `message` to everything that reads, and check what it raises."""
    choices = [codec.decode_choices, lambda data: codec.decode_choices(codec.peek(data).choices)]
    for read in [*readers(codec), codec.stamp, *choices]:
        check_call(marker, Exception, read, message)
    for type in (Strict, msgspec.Raw, dict[str, int], list[Cat]):
        check_call(marker, Exception, codec.decode, message, type)
    for framing in FRAMINGS_OF[codec]:
        check_call(marker, Exception, framing.stream.stamp, [message], cost=1.0)
        for end in (b"", b"\n"):
            check_call(marker, Exception, framing.stream.encode, [message + end, b""])
        for type, limit in itertools.product([*TYPES, Strict, Checked], (None, 20)):
            for on_error in (lambda error: check_private(error, marker), None):
                decoder = framing.stream.StreamDecoder(type, max_record_bytes=limit, on_error=on_error)
                check_call(marker, RecordError, decoder.feed, framing.frame(message) + message)
                check_call(marker, RecordError, decoder.finish)


@st.composite
def planted(draw: st.DrawFn, codec: Any, marker: bytes) -> bytes:
    """Draw a message with a marker anywhere in its bytes, damaged or not."""
    message = bytearray(draw(st.sampled_from(CASES)).encoded(codec))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(message)))
        junk = draw(st.sampled_from([b"", b'"', b"\xff", b"\\", b"\xd9", b"\xa8", b"\xcf", b"{", b"\n"]))
        message[at : at + draw(st.integers(0, 2))] = junk + marker + draw(st.sampled_from([b"", junk]))
    return bytes(message)


def plant(value: Any, marker: Any) -> st.SearchStrategy[Any]:
    """Draw `value` with a marker in the place of a value or of a key in it."""
    if isinstance(value, dict) and value:
        return st.sampled_from(sorted(value)).flatmap(
            lambda key: st.one_of(
                plant(value[key], marker).map(lambda planted: value | {key: planted}),
                st.just(value | {str(marker): value[key]}),
            )
        )
    if isinstance(value, list) and value:
        return plant(value[0], marker).map(lambda planted: [planted, *value[1:]])
    return st.sampled_from([marker, [marker], {"type": marker}, {"type": "cat", "name": [marker]}])


@given(data=st.data(), marker=markers)
def test_a_marker_anywhere_in_the_bytes_is_in_no_error(codec: Any, data: st.DataObject, marker: str) -> None:
    check_all(codec, data.draw(planted(codec, marker.encode())), marker)


@given(data=st.data(), marker=st.one_of(markers, numbers, numbers.map(float), numbers.map(lambda number: -number)))
def test_a_marker_in_the_place_of_any_value_or_key_is_in_no_error(codec: Any, data: st.DataObject, marker: Any) -> None:
    all_fields = msgspec.json.decode(CASES[1].json)
    others = {"choices": [{"type": "cat", "name": "n", "a": {"b": [1]}}], "unknown": {"c": 1}}
    check_all(codec, bare(codec).encode(data.draw(plant(all_fields | others, marker))), str(marker).strip("-"))


def unwritable(marker: str) -> list[Any]:
    """Return values that hold a marker and cannot be written in one format or the other."""
    cycle: list[Any] = [marker]
    cycle.append(cycle)
    return [
        *(marker + "\ud800", {marker + "\udfff": 1}, [marker, cycle], [marker, 2**64], [marker, 10**5000]),
        *([marker, PurePath(marker)], {marker: PurePath(marker)}, {PurePath(marker): marker}, {(marker,): 1}),
        *({b"\xff" + marker.encode(): 1}, msgspec.msgpack.Ext(5, marker.encode())),
        {"a": msgspec.Raw(b'"' + marker.encode())},
    ]


@settings(max_examples=20)
@given(marker=markers, field=st.sampled_from(sorted(optional_fields)))
def test_no_error_shows_what_could_not_be_written(codec: Any, marker: str, field: str) -> None:
    stream = STREAMS[codec][0]
    rejected = 0
    for value in unwritable(marker):
        record = ChatCompletionResponse(**{"session_id": marker, "choices": [{marker: value}], field: value})
        check = partial(check_call, marker, (EncodeError, TypeError))
        rejected += check(codec.encode, record)
        rejected += check(codec.encode_into, record, bytearray())
        rejected += check(stream.encode, [record])
        rejected += check(codec.patch, raw(codec), **{field: value})
        rejected += check(codec.patch, raw(codec), extra={"a": value})
        rejected += check(stream.stamp, [raw(codec)], **{field: value})
    assert rejected > len(unwritable(marker))


@settings(max_examples=20)
@given(marker=markers)
def test_no_error_shows_what_the_other_format_could_not_hold(marker: str) -> None:
    for value in (msgspec.msgpack.Ext(5, marker.encode()), {(marker, 1): 1}, [marker, {None: marker}]):
        message = msgspec.msgpack.encode({"x": value, "sessionId": marker})
        assert check_call(marker, EncodeError, transcode.msgpack_to_json, message)
    message = b'{"x":["%b",99999999999999999999]}' % marker.encode()
    assert check_call(marker, EncodeError, transcode.json_to_msgpack, message)
