"""The same fields set in all messages of a stream: what the codec's `patch` does to each, in one go."""

from __future__ import annotations

import gc
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatcodec import DecodeError, EncodeError, ValidationError, frames, json, msgpack, ndjson, sse

from .support import work
from .wire import CASES, NOT_JSON, changes, hostile

if TYPE_CHECKING:
    from types import ModuleType

FRAMINGS = [(ndjson, json), (sse, json), (frames, msgpack)]
framings = pytest.mark.parametrize(("framing", "codec"), FRAMINGS, ids=["ndjson", "sse", "frames"])

# Messages that are objects together, or with white space between them, and not each for itself.
PIECES = [
    b'{"a":[1',
    b"2]}",
    b'{"a":1}{"b":2}',
    b'{"a":1},{"b":2}',
    b'{"a":{"b":1',
    b"}}",
    b"{}\n{}",
    b"{",
    b"}",
    b"{}}",
]
ODD = [b' {"a":1}', b'{"a":1} ', b'{"a":\n1}', b'{"a":[\r1]}', b'{"a":1,"a":2}', b'{"a":"\xff"}', b"[]", b"1"]


def one_by_one(framing: ModuleType, codec: ModuleType, messages: list[Any], fields: dict[str, Any]) -> Any:
    """Return what patching each message gives, or the kind and the words of its error."""
    patched = []
    for number, message in enumerate(messages, 1):
        try:
            patched.append(codec.patch(message, **fields))
        except DecodeError as error:
            return type(error), f"record {number}: {error}"
    try:
        return framing.encode(patched)
    except EncodeError as error:
        return type(error), str(error)


def in_one_go(framing: ModuleType, messages: list[Any], fields: dict[str, Any]) -> Any:
    try:
        return framing.patch(iter(messages), **fields)
    except (DecodeError, EncodeError) as error:
        return type(error), str(error)


@st.composite
def messages_of(draw: st.DrawFn, codec: ModuleType) -> list[bytes]:
    good = [case.encoded(codec) for case in CASES]
    if draw(st.booleans()):
        return draw(st.lists(st.sampled_from(good), max_size=5))
    odd = PIECES + ODD + NOT_JSON if codec is json else []
    return draw(st.lists(st.sampled_from(good + odd) | hostile(codec), max_size=5))


@framings
@given(data=st.data(), fields=changes)
def test_it_is_what_patching_each_message_gives_errors_included(
    framing: ModuleType, codec: ModuleType, data: Any, fields: dict[str, Any]
) -> None:
    messages = data.draw(messages_of(codec))
    assert in_one_go(framing, messages, fields) == one_by_one(framing, codec, messages, fields)


@pytest.mark.parametrize("framing", [ndjson, sse])
@given(messages=st.lists(st.sampled_from(PIECES + ODD + [b"{}"]), min_size=1, max_size=5))
@example(messages=[b'{"a":[1', b'2]},{"b":1}'])
@example(messages=[b'{"a":1}{"b":2}', b"{"])
@example(messages=[b'{"a":[{}', b",{}]}{}"])
@example(messages=[b'{"a":[{},', b"{}]}{}"])
@example(messages=[b'{"a":[\n1]}'])
def test_as_many_objects_as_messages_are_no_proof(framing: ModuleType, messages: list[bytes]) -> None:
    expected = one_by_one(framing, json, messages, {"cost": 1.0})
    assert in_one_go(framing, messages, {"cost": 1.0}) == expected


@framings
def test_any_number_of_messages_is_taken(framing: ModuleType, codec: ModuleType) -> None:
    message = codec.patch(codec.encode(CASES[1].record), session_id="other")
    for many in (0, 1, 256, 257, 600):
        expected = framing.encode([codec.patch(message, session_id="s", cost=None)] * many)
        assert framing.patch([message] * many, session_id="s", cost=None) == expected


@pytest.mark.parametrize("framing", [ndjson, sse])
def test_many_messages_are_one_call_into_the_parser(framing: ModuleType) -> None:
    few, many = (work(lambda: framing.patch([CASES[1].json] * count, cost=2.0)) for count in (2, 200))
    assert (many["decode_lines"], many["encode_lines"]) == (1, 1)
    assert many["call"] == few["call"]


@framings
def test_a_message_that_needs_a_look_of_its_own_may_be_anywhere(framing: ModuleType, codec: ModuleType) -> None:
    good = CASES[1].encoded(codec)
    odd = b' {"cost":1}' if codec is json else CASES[3].encoded(codec)
    for at in (0, 300, 599):
        messages = [good] * 600
        messages[at] = odd
        assert framing.patch(messages, cost=2.0) == one_by_one(framing, codec, messages, {"cost": 2.0})
        messages[at] = b"1"
        assert in_one_go(framing, messages, {"cost": 2.0}) == one_by_one(framing, codec, messages, {"cost": 2.0})


@framings
def test_buffers_of_any_kind_are_messages(framing: ModuleType, codec: ModuleType) -> None:
    message = CASES[1].encoded(codec)
    expected = framing.encode([codec.patch(message, cost=2.0)] * 3)
    assert framing.patch([bytearray(message), memoryview(message), message], cost=2.0) == expected


@framings
def test_a_value_that_cannot_be_written_is_no_messages_fault(framing: ModuleType, codec: ModuleType) -> None:
    for messages in ([], [CASES[1].encoded(codec)]):
        with pytest.raises(EncodeError, match=r"\Atimestamp has no offset\Z"):
            framing.patch(messages, timestamp=datetime(2026, 1, 1))
        with pytest.raises(TypeError, match=r"\Achoices are set as a list: a view could be of another format\Z"):
            framing.patch(messages, choices=codec.peek(CASES[1].encoded(codec)).choices)
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            framing.patch(messages, currency="EUR")


@framings
def test_a_bad_message_is_told_by_its_number_alone(framing: ModuleType, codec: ModuleType) -> None:
    good = CASES[1].encoded(codec)
    with pytest.raises(ValidationError, match=r"\Arecord 2: Expected `object`, got `array`\Z") as caught:
        framing.patch([good, b"[]" if codec is json else b"\x90"], cost=1.0)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    bad_key = b'{"\xff":1}' if codec is json else b"\x81\xa1\xff\x01"
    with pytest.raises(DecodeError, match=r"\Arecord 3: text is not valid UTF-8\Z") as unreadable:
        framing.patch([good, good, bad_key], cost=1.0)
    assert (unreadable.value.__cause__, unreadable.value.__context__) == (None, None)


@framings
def test_what_is_no_message_is_a_type_error(framing: ModuleType, codec: ModuleType) -> None:
    with pytest.raises(TypeError):
        framing.patch([CASES[1].encoded(codec), 7], cost=1.0)


@framings
def test_no_number_of_messages_sets_off_a_garbage_collection(framing: ModuleType, codec: ModuleType) -> None:
    messages = [CASES[1].encoded(codec)] * 4000
    collections: list[None] = []
    gc.collect()
    gc.callbacks.append(lambda *_: collections.append(None))
    try:
        framing.patch(messages, session_id="s")
    finally:
        gc.callbacks.pop()
    assert collections == []
