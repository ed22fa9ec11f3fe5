"""`patch` and `stamp`: what is set, what is kept, and one message or many."""

from __future__ import annotations

import pickle
import re
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse, DecodeError, EncodeError, Envelope, RecordError, ValidationError, json

from .support import STREAMS, Framing, alarm, alarms
from .wire import WIRE, bare, changes, floats, hostile, optional_fields, raw, texts, unknown_fields, values

NAMES = dict(zip(ChatCompletionResponse.__struct_fields__, WIRE, strict=True))


def views(codec: Any, message: bytes) -> list[tuple[str, bytes]]:
    """Return the fields of a message, in their order, each with its bytes."""
    return [(name, bytes(view)) for name, view in bare(codec).decode(message, type=dict[str, msgspec.Raw]).items()]


# Messages with fields of the record and others, absent, present, null and duplicate, and with white space and line
# breaks anywhere between tokens.

names = st.sampled_from([*WIRE, "error", "region", "usage"]) | texts
spaces = st.text(" \t\r\n", max_size=3).map(str.encode)
wire_values = st.fixed_dictionaries({}, optional=optional_fields).map(
    lambda fields: {NAMES[name]: value for name, value in fields.items()}
)


@st.composite
def messages(draw: st.DrawFn, codec: Any) -> bytes:
    drawn = draw(st.lists(st.tuples(names, values | st.none()), max_size=5))
    known = draw(wire_values)
    fields = [*known.items(), *((name, value) for name, value in drawn if value is None or name not in WIRE)]
    doubled = draw(st.permutations(fields))[: draw(st.integers(0, 1))]
    members = [tuple(map(msgspec.json.encode, field)) for field in draw(st.permutations(fields + doubled))]
    if codec is json:

        def pad(token: bytes) -> bytes:
            return b"%b%b%b" % (draw(spaces), token, draw(spaces))

        return pad(b"{" + (b",".join(pad(name) + b":" + pad(value) for name, value in members) or draw(spaces)) + b"}")
    packed = [msgspec.msgpack.encode(msgspec.json.decode(token)) for member in members for token in member]
    return bytes([0x80 | len(members)]) + b"".join(packed) if len(members) < 16 else b"\x80"


@given(data=st.data(), fields=changes, extra=unknown_fields)
def test_patch_sets_fields_and_keeps_all_others_in_place_byte_for_byte(
    codec: Any, data: Any, fields: Any, extra: Any
) -> None:
    message = data.draw(messages(codec))
    expected = dict(views(codec, message))
    for name, value in {**{NAMES[name]: value for name, value in fields.items()}, **extra}.items():
        if value is None:
            expected.pop(name, None)
        else:
            expected[name] = codec.encode(value)
    patched = codec.patch(message, extra=extra, **fields)
    assert views(codec, patched) == list(expected.items())
    assert codec.stamp(message, extra=extra, **fields)[1] == patched


def test_a_field_whose_name_is_escaped_keeps_its_place() -> None:
    assert json.patch(b'{"session\\u0049d":"a","b":1}', session_id="b") == b'{"sessionId":"b","b":1}'


def shown(envelope: Envelope) -> dict[str, Any]:
    return {
        name: bytes(value) if isinstance(value, msgspec.Raw) else repr(value)
        for name, value in msgspec.structs.asdict(envelope).items()
    }


class Wider(Envelope):
    """A subclass with fields of the user's own."""

    region: Any = None
    usage: msgspec.Raw = msgspec.Raw()


@pytest.mark.parametrize("type", [Envelope, Wider])
@given(data=st.data(), long=st.sampled_from(["", "x" * 5000]))
def test_stamp_returns_what_peek_returns(codec: Any, type: Any, data: Any, long: str) -> None:
    message = data.draw(messages(codec))
    if long:
        message = codec.patch(message, choices=[{"a": long}], extra={"error": data.draw(values)})
    envelope, _ = codec.stamp(message, type, cost=1.0)
    assert envelope.__class__ is type
    assert shown(envelope) == shown(codec.peek(message, type))


sizes = pytest.mark.parametrize("size", [10, 10_000])


@sizes
def test_stamp_rejects_a_bad_value_also_where_a_duplicate_follows(codec: Any, size: int) -> None:
    message = raw(codec, cost="x", COST=1, choices=[{"a": "x" * size}]).replace(b"COST", b"cost")
    with pytest.raises(ValidationError, match=r"got `str` - at `\$.cost`"):
        codec.stamp(message, latency=1.0)


@sizes
def test_the_views_of_an_envelope_are_of_the_buffer(codec: Any, size: int) -> None:
    for read in (codec.peek, lambda buffer: codec.stamp(buffer, cost=1.0)[0]):
        buffer = bytearray(raw(codec, error="e" * size, choices=[{"a": "x" * size}]))
        envelope = read(buffer)
        buffer[:] = buffer.replace(b"x" * size, b"y" * size).replace(b"e" * size, b"f" * size)
        assert codec.decode_choices(envelope.choices) == [{"a": "y" * size}]
        assert bytes(envelope.error) == codec.encode("f" * size)


def test_a_subclass_sees_the_whole_message(codec: Any) -> None:
    seen = []

    class Seeing(Envelope):
        def __post_init__(self) -> None:
            seen.append((bytes(self.choices), self.failed, self.session_id))

    long = [{"a": "x" * 5000}]
    codec.stamp(raw(codec, choices=long, error=1, sessionId="s"), Seeing, session_id="t")
    assert seen == [(codec.encode(long), True, "s")]


@pytest.mark.parametrize("size", [0, 14, 15, 16, 17, 65_534, 65_535, 65_536, 65_537])
def test_a_message_may_have_any_number_of_fields(codec: Any, size: int) -> None:
    fields = {f"f{at}": at for at in range(size)}
    for message in (raw(codec, **fields), raw(codec, **fields, cost=1)):
        decoded = bare(codec).decode(codec.patch(message, cost=2.0, session_id="s"))
        assert list(decoded.items()) == [*fields.items(), ("cost", 2.0), ("sessionId", "s")]
        assert bare(codec).decode(codec.patch(message, cost=None)) == fields


@pytest.mark.parametrize("size", [0, 12, 13, 14, 15, 16, 65_535])
def test_messages_stamped_together_may_have_any_number_of_fields(framing: Framing, size: int) -> None:
    fields = {f"f{at}": at for at in range(size)}
    _, framed = framing.stream.stamp([raw(framing.codec, **fields)] * 2, cost=2.0, session_id="s")
    assert framed == framing.stream.encode([raw(framing.codec, **fields, cost=2.0, sessionId="s")] * 2)


def reason(call: Any) -> str:
    """Return why a message is rejected, or nothing."""
    try:
        call()
    except DecodeError as error:
        return str(error)
    return ""


@given(data=st.data(), fields=changes)
def test_stamp_rejects_what_patch_or_peek_rejects(codec: Any, data: Any, fields: Any) -> None:
    message = data.draw(hostile(codec))
    patched = reason(lambda: codec.patch(message, **fields))
    assert reason(lambda: codec.stamp(message, **fields)) == patched or reason(lambda: codec.peek(message))


# What may be set


def setters(codec: Any) -> list[Any]:
    """Return the functions that set fields of a message."""
    together = [lambda one, framing=framing, **fields: framing.stamp([one], **fields) for framing in STREAMS[codec]]
    return [codec.patch, codec.stamp, *together]


WRONG: list[tuple[str, Any, str]] = [
    ("generation_id", 5, "generation_id: Expected `str | null`, got `int`"),
    ("session_id", b"s", "session_id: Expected `str | null`, got `bytes`"),
    ("choices", "a", "choices: Expected `array | null`, got `str`"),
    ("choices", msgspec.Raw(b"[]"), "choices: Expected `array | null`, got `raw`"),
    ("choices", [5], "choices: Expected `object`, got `int` - at `$[0]`"),
    ("choices", [{5: 1}], "choices: Expected `str`, got `int` - at `key` in `$[0]`"),
    ("stream", 1, "stream: Expected `bool | null`, got `int`"),
    ("cost", "x", "cost: Expected `float | null`, got `str`"),
    ("cost", 10**400, "cost: Number out of range"),
    ("cost", True, "cost: Expected `float | null`, got `bool`"),
    ("latency", Fraction(1, 4), "latency: Expected `float | null`, got `Fraction`"),
    ("latency", [], "latency: Expected `float | null`, got `array`"),
    ("timestamp", "", "timestamp: Expected `datetime`, got `str`"),
]


@pytest.mark.parametrize(("name", "value", "text"), WRONG)
def test_a_value_of_the_wrong_type_is_a_type_error_that_names_the_field(
    codec: Any, name: str, value: Any, text: str
) -> None:
    for set in setters(codec):
        with pytest.raises(TypeError) as caught:
            set(raw(codec), **{name: value})
        assert str(caught.value) == text
        assert caught.value.__cause__ is None


Name = type("Name", (str,), {})  # as some libraries have them
Price = IntEnum("Price", {"LOW": 3})
Session = Enum("Session", {"FIRST": "s-1"}, type=str)


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("cost", Decimal("0.25"), 0.25),
        ("cost", 3, 3),
        ("cost", 10**30, 1e30),  # beyond the integers of MessagePack
        ("cost", Price.LOW, 3),
        ("session_id", Name("s-1"), "s-1"),
        ("session_id", Session.FIRST, "s-1"),
        ("choices", [MappingProxyType({"index": 0})], [{"index": 0}]),
        ("choices", ({"index": 0},), [{"index": 0}]),
    ],
)
def test_a_fitting_value_is_written_as_readers_read_it(codec: Any, name: str, value: Any, plain: Any) -> None:
    expected = raw(codec, **{NAMES[name]: plain})
    assert getattr(codec.decode(expected), name) == plain
    for written in (codec.patch(raw(codec), **{name: value}), codec.stamp(raw(codec), **{name: value})[1]):
        assert bare(codec).decode(written) == bare(codec).decode(expected)
    for stream in STREAMS[codec]:
        assert stream.stamp([raw(codec)] * 2, **{name: value})[1] == stream.encode([written] * 2)


def test_extra_sets_and_removes_fields_by_their_wire_names(codec: Any) -> None:
    message = raw(codec, region="eu", cost=1, usage={"a": 1})
    extra = {"usage": None, "region": "us", "error": {"a": [1]}}
    expected = raw(codec, region="us", cost=1, error={"a": [1]}, stream=True)
    assert codec.patch(message, extra=extra, stream=True) != expected  # what is passed by name goes first
    assert bare(codec).decode(codec.patch(message, extra=extra, stream=True)) == bare(codec).decode(expected)
    assert codec.patch(message, extra={}) == message
    assert codec.stamp(message, extra={"region": None})[1] == raw(codec, cost=1, usage={"a": 1})
    assert codec.patch(message, extra={"usage": codec.peek(message).error}) == raw(codec, region="eu", cost=1)  # absent


NOT_A_MAPPING: list[Any] = [5, "a", [("a", 1)], ["a"], object()]
REJECTED: list[tuple[dict[str, Any], type[Exception], str]] = [
    *(({name: "x"}, TypeError, f"unexpected keyword argument '{name}'") for name in ("currency", "sessionId")),
    *(({"extra": extra}, TypeError, "is not a mapping$") for extra in NOT_A_MAPPING),
    *(({"extra": {name: 1}}, TypeError, f"^{name!r} in `extra`: names are strings, and") for name in (5, *WIRE)),
    ({"extra": {"cost": None}}, TypeError, "^'cost' in `extra`: .* fields of the record are keyword arguments$"),
    ({"extra": {"a": object()}}, TypeError, "unsupported"),
    ({"session_id": "\ud800"}, EncodeError, "^text holds half a surrogate pair$"),
]


@pytest.mark.parametrize(("arguments", "error", "text"), REJECTED, ids=range(len(REJECTED)))
def test_an_argument_that_cannot_be_set_or_written_is_rejected(
    codec: Any, arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    for set in setters(codec):
        with pytest.raises(error, match=text):
            set(raw(codec), **arguments)


# Many messages


@pytest.mark.parametrize("type", [Envelope, Wider])
@given(data=st.data(), fields=changes | st.fixed_dictionaries({"latency": floats}), extra=st.none() | unknown_fields)
def test_a_framing_stamps_each_message_as_the_codec_does(
    framing: Framing, type: Any, data: Any, fields: Any, extra: Any
) -> None:
    many = data.draw(st.lists(messages(framing.codec), max_size=4))
    envelopes, framed = framing.stream.stamp(iter(many), type, extra=extra, **fields)
    singles = [framing.codec.stamp(message, type, extra=extra, **fields) for message in many]
    assert [shown(envelope) for envelope in envelopes] == [shown(envelope) for envelope, _ in singles]
    assert all(envelope.__class__ is type for envelope in envelopes)
    received = framing.stream.StreamDecoder(bytes).feed(framed)
    if framing.codec is json:
        singles = [(envelope, re.sub(rb"[\r\n]", b" ", message)) for envelope, message in singles]
    assert [views(framing.codec, message) for message in received] == [views(framing.codec, one) for _, one in singles]


@pytest.mark.parametrize("framing", STREAMS[json])
@pytest.mark.parametrize("message", [b'{"a":[1,\n2]}', b'{"a":[1,\r2]}', b'\r\n{\n"a":\r\n[1,\r\n2]\r}\n'])
def test_a_message_that_is_spread_over_lines_is_stamped_on_one(framing: Any, message: bytes) -> None:
    _, framed = framing.stamp([b"{}", message], cost=1.0)
    assert framed.count(b"\n") == framing.encode([b"{}"] * 2).count(b"\n")
    assert b"\r" not in framed
    (_, line) = framing.StreamDecoder(bytes).feed(framed)
    assert msgspec.json.decode(line) == {"a": [1, 2], "cost": 1.0}


def test_stamp_checks_the_values_before_it_reports_a_message(framing: Framing) -> None:
    assert framing.stream.stamp([], cost=1.0) == framing.stream.stamp(iter(())) == ([], b"")
    for messages in ([], [b""], [b"", b""]):
        with pytest.raises(TypeError, match=r"^cost: Expected"):
            framing.stream.stamp(messages, cost="x")


def test_a_bad_message_is_raised_with_its_number(framing: Framing) -> None:
    good = raw(framing.codec, cost=1)
    bad = raw(framing.codec, cost="x", a="y" * 2000)
    with pytest.raises(RecordError) as caught:
        framing.stream.stamp([good, bad, good], session_id="s")
    error = caught.value
    assert (error.kind, error.unit, error.index, error.offset) == ("invalid", "message", 2, 0)
    assert str(error) == "message 2 at offset 0: Expected `float | null`, got `str` - at `$.cost`"
    assert (error.data, error.records) == (bad[:1024], [])
    assert isinstance(error.__cause__, ValidationError)
    assert error.__cause__.__traceback__ is None  # its frames would keep the messages alive
    assert error.__context__ is None
    assert pickle.loads(pickle.dumps(error)).index == 2


def test_a_bad_message_is_given_to_on_error_and_left_out(framing: Framing) -> None:
    good = raw(framing.codec, cost=1)
    errors: list[RecordError] = []
    envelopes, framed = framing.stream.stamp(
        [b"", good, good[:-1], raw(framing.codec, cost=[])], on_error=errors.append, cost=None
    )
    assert [(error.index, error.kind) for error in errors] == [(1, "malformed"), (3, "malformed"), (4, "invalid")]
    assert [envelope.cost for envelope in envelopes] == [1.0]
    assert framed == framing.stream.encode([raw(framing.codec)])


@given(data=st.data())
def test_the_error_of_a_message_does_not_depend_on_those_before_it(framing: Framing, data: Any) -> None:
    many = data.draw(st.lists(hostile(framing.codec) | messages(framing.codec), max_size=4))
    errors: list[RecordError] = []
    framing.stream.stamp(many, on_error=errors.append, latency=1.0)
    found = {error.index: str(error.__cause__) for error in errors}
    for number, message in enumerate(many, 1):
        expected = reason(partial(framing.codec.stamp, message, latency=1.0))
        # A key that is not UTF-8 may not have to be read, or not before another fault is found.
        assert found.get(number, "") == expected or expected == "text is not valid UTF-8"


def test_an_exception_from_the_callers_code_is_no_bad_message(framing: Framing) -> None:
    def fail(_: object) -> None:
        raise KeyError

    class Failing(Envelope):
        def __post_init__(self) -> None:
            fail(self)

    for message, type, on_error in ((b"", Envelope, fail), (raw(framing.codec), Failing, print)):
        with pytest.raises(KeyError):
            framing.stream.stamp([message], type, on_error=on_error)


@pytest.mark.parametrize("message", [7, "{}", None, {}, ChatCompletionResponse()])
def test_a_message_that_is_not_a_buffer_is_a_type_error(framing: Framing, message: Any) -> None:
    for messages in ([message], [raw(framing.codec), message], [raw(framing.codec, cost=2.0), message]):
        with pytest.raises(TypeError):
            framing.stream.stamp(messages, cost=1.0, on_error=print)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, msgspec.Raw, lambda message: message.decode("latin-1")])
def test_one_message_in_place_of_many_is_a_type_error(framing: Framing, kind: Any) -> None:
    with pytest.raises(TypeError, match=r"^expected an iterable of records or messages"):
        framing.stream.stamp(kind(raw(framing.codec)), cost=1.0)


def test_buffers_of_any_kind_are_messages(framing: Framing) -> None:
    kinds: list[Any] = [bytes, bytearray, memoryview, msgspec.Raw, pickle.PickleBuffer]
    for message in (raw(framing.codec, cost=1.0, region="eu"), raw(framing.codec, region="eu")):
        envelopes, framed = framing.stream.stamp([kind(message) for kind in kinds], cost=2.0)
        assert framed == framing.stream.encode([framing.codec.patch(message, cost=2.0)] * len(kinds))
        assert envelopes == [framing.codec.peek(message)] * len(kinds)


@alarms
def test_an_exception_from_a_signal_handler_passes_through(framing: Framing, kind: type[BaseException]) -> None:
    many = [raw(framing.codec, cost=1.0)] * 100_000
    with pytest.raises(kind), alarm(kind):
        framing.stream.stamp(many, latency=1.0)
