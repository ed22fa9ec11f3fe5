"""Set fields of messages that are already encoded: the work of `patch` and `stamp`, for one message and for many.

The exact path decodes a message into a dict of views, changes the dict and encodes it again, so that every untouched
value keeps its bytes. The fast path, for many messages, appends the fields to a message that has none of them. Checking
for that costs too much for a single message.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from msgspec import UNSET, DecodeError, Raw, structs

from ._errors import (
    DATA_BYTES,
    READ_FAILURES,
    RecordError,
    contiguous,
    detached,
    raise_encode_error,
    rejection,
    report,
    unsupported,
)
from ._record import ChatCompletionResponse, Envelope, writable_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from typing_extensions import Buffer, TypedDict, TypeVar

    E = TypeVar("E", bound=Envelope, default=Envelope)

    class Changes(TypedDict, total=False):
        """The fields to set, by their Python names; ``None`` removes one."""

        timestamp: datetime | None
        generation_id: str | None
        session_id: str | None
        choices: list[dict[str, Any]] | None
        stream: bool | None
        cost: float | None
        latency: float | None


# `dict` comes first: checking against the abstract class is slower.
_MAPPINGS: tuple[type[Any], ...] = (dict, Mapping)
_ONE_MESSAGE = (str, bytes, bytearray, memoryview, Raw)

# JSON is scanned byte by byte: from about this length on, scanning choices again costs more than working around them.
LONG_JSON = 2048
# MessagePack values are skipped by their lengths, however long they are.
_NEVER = 2**63

_TYPES = {field.name: field.type for field in structs.fields(ChatCompletionResponse)}
# Each field's wire name, and the type whose values need no further check: a check costs 1.3 us.
_FIELDS = {
    "timestamp": ("timestamp", None),
    "generation_id": ("generationId", str),
    "session_id": ("sessionId", str),
    "choices": ("choices", None),
    "stream": ("stream", bool),
    "cost": ("cost", float),
    "latency": ("latency", float),
}
# The integers that MessagePack can hold.
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_BRACE = ord("}")
_AFTER_NO_MEMBER = b"{ \t\r\n"
# The first byte of a map with 15 entries, the most that fit in it (MessagePack specification, "Map format family").
_FULL_FIXMAP = 0x8F
_WIRE_NAMES = {name for name, _ in _FIELDS.values()}


class Format:
    """What `stamp` needs from a format."""

    def __init__(
        self,
        decoder: Callable[[Any], Any],
        encode: Callable[[Any], bytes],
        append: Callable[[bytes, bytes, int], bytes | None],
        long: int,
    ) -> None:
        self._decoder = decoder
        self._encode = encode
        self._append = append
        self._long = long
        self._probe = cache(self._make_probe)
        self.peek: Callable[[Buffer], Any] = decoder(Envelope).decode
        self.decode_fields: Callable[[Buffer], dict[str, Any]] = decoder(dict[str, Raw]).decode

    def envelope(self, buf: Buffer, fields: dict[str, Any]) -> Any:
        """Return what the codec's `peek` returns for `buf`, from its `fields`, without scanning its choices again."""
        choices, fields["choices"] = fields["choices"], None
        others = self._encode(fields)
        fields["choices"] = choices
        # Never longer than `buf`; shorter if that has white space, or duplicates, which only `peek` checks.
        if len(others) - len(b"null") + len(choices) < len(Raw(buf)):
            return self.peek(buf)
        envelope = self.peek(others)
        envelope.choices = choices
        if "error" in fields:
            envelope.error = fields["error"]  # a view of `buf`, not of `others`
        return envelope

    def _make_probe(self, names: tuple[str, ...]) -> tuple[Callable[[Buffer], Any], Any]:
        """Return a decoder of only the fields with these wire names, and its result for a message with none of them."""
        probe = msgspec.defstruct("Probe", [(name, Raw, UNSET) for name in names], gc=False)
        return self._decoder(probe).decode, probe()

    def _appender(self, fields: dict[str, Any]) -> Callable[[Buffer], bytes | None]:
        """Return a function that appends `fields` to a message, or returns None if that takes the exact path."""
        probe, nothing = self._probe(tuple(fields))
        tail, count, append, long = self._encode(fields)[1:], len(fields), self._append, self._long

        def appended(buf: Buffer) -> bytes | None:
            try:
                message = buf if isinstance(buf, bytes) else bytes(memoryview(buf))
                # Long JSON would be scanned twice.
                if len(message) >= long or probe(message) != nothing:
                    return None
            except READ_FAILURES:
                return None
            return append(message, tail, count)

        return appended

    def stamp_all(
        self,
        messages: Iterable[Buffer],
        type: type[E],
        on_error: Callable[[RecordError], object] | None,
        extra: Mapping[str, Any] | None,
        changes: Changes,
    ) -> tuple[list[E], list[bytes]]:
        """Return the envelopes of the messages, and the changed messages.

        A bad message raises `RecordError`, or is reported to `on_error` and left out. A key that is not UTF-8 is
        detected only if it has to be decoded, which depends on the messages before it.
        """
        _check_many(messages)
        values: dict[str, Any] = {}
        try:
            removed = set_fields(values, extra, changes)
            # For a single message, checking for the fields costs as much as it saves.
            single = isinstance(messages, list) and len(messages) == 1
            appended = self._appender(values) if values and not (removed or extra or single) else None
        except Exception as error:
            raise_encode_error(error)
        decode_fields, encode = self.decode_fields, self._encode
        # A subclass is always decoded from the whole message: it may have fields and checks of its own.
        read, long = (self.peek, self._long) if type is Envelope else (self._decoder(type).decode, _NEVER)
        fields: dict[str, Any] = {}
        envelopes: list[Any] = []
        changed: list[bytes] = []
        for number, buf in enumerate(messages, 1):
            message = None if appended is None else appended(buf)
            try:
                if message is not None:
                    envelope = read(buf)
                else:
                    appended = None  # later messages probably need the exact path too
                    if isinstance(buf, str):
                        _reject_text()
                    fields = decode_fields(buf)
                    envelope = read(buf) if len(fields.get("choices", b"")) < long else self.envelope(buf, fields)
            except Exception as error:
                failure = detached(error)
            else:
                if message is None:
                    fields |= values
                    for name in removed:
                        fields.pop(name, None)
                    try:
                        message = encode(fields)
                    except Exception as error:
                        raise_encode_error(error)
                envelopes.append(envelope)
                changed.append(message)
                continue
            # Outside the `except`, so that the caught error does not become `__context__`.
            _report(failure, number, buf, on_error)
        return envelopes, changed


def _append_json(message: bytes, tail: bytes, _: int) -> bytes | None:
    """Return `message` with the members in `tail` appended; None if it may be empty, or ends in white space."""
    if message[-1] == _BRACE and message[-2] not in _AFTER_NO_MEMBER:
        return b"%b,%b" % (message[:-1], tail)
    return None


def _append_msgpack(message: bytes, tail: bytes, count: int) -> bytes | None:
    """Return `message` with the `count` entries in `tail` appended; None if the new count needs a longer header."""
    if message[0] <= _FULL_FIXMAP - count:
        return b"%c%b%b" % (message[0] + count, message[1:], tail)
    return None


def set_fields(fields: dict[str, Any], extra: Mapping[str, Any] | None, changes: Changes) -> list[str]:
    """Check the new values, set and remove them in `fields`, and return the wire names of those to remove.

    Raises `TypeError` for a value of the wrong type and for a name that may not be set, and `EncodeError` for a time
    without an offset.
    """
    removed: list[str] = []
    for name, value in changes.items():
        try:
            wire_name, exact = _FIELDS[name]
        except KeyError:
            message = f"unexpected keyword argument {name!r}: fields of other names are set with `extra`"
            raise TypeError(message) from None
        if value.__class__ is exact:
            fields[wire_name] = value
        elif value is None:
            removed.append(wire_name)
            fields.pop(wire_name, None)
        else:
            fields[wire_name] = _checked(name, value)
    if extra is not None:
        _set_extra(fields, extra, removed)
    return removed


def _set_extra(fields: dict[str, Any], extra: Mapping[Any, Any], removed: list[str]) -> None:
    if not isinstance(extra, _MAPPINGS):
        message = f"`extra` is a mapping from wire names to values, not {type(extra).__name__}"
        raise TypeError(message)
    for name, value in extra.items():
        if not isinstance(name, str):
            message = "a name in `extra` is not a string"
            raise TypeError(message)
        if name in _WIRE_NAMES:
            message = f"{name} in `extra` is a field of the record: pass it as a keyword argument"
            raise TypeError(message)
        if isinstance(value, Envelope):
            message = f"{name} in `extra` is an Envelope, which cannot be encoded"
            raise TypeError(message)
        if value is None or (isinstance(value, Raw) and not len(value)):  # the view of an absent field
            removed.append(name)
            fields.pop(name, None)
        else:
            fields[name] = value


def _checked(name: str, value: Any) -> Any:
    """Return `value` in a form that the field `name` can hold; raise `TypeError`, with the name, if there is none."""
    if name == "timestamp":
        return writable_time(value)
    try:
        converted = msgspec.convert(value, _TYPES[name])
    except Exception as error:  # SystemError too, for an integer beyond a float, up to msgspec 0.21
        reason = str(error) if isinstance(error, DecodeError) else "Number out of range"
    else:
        if value.__class__ is int and _INT64_MIN <= value <= _UINT64_MAX:
            return value  # encoded as an integer, and decoded as a float
        # msgspec passes an instance of a subclass of str, but does not encode it. It may have a __str__ of its own.
        return str.__str__(converted) if isinstance(converted, str) else converted
    message = f"{name}: {reason}"
    raise TypeError(message)


def _check_many(messages: object) -> None:
    if not isinstance(messages, list) and isinstance(messages, _ONE_MESSAGE):
        text = "`messages` is one message: pass an iterable of messages"
        raise TypeError(text)


def _reject_text() -> NoReturn:
    text = "a message is bytes or another buffer, not str"
    raise TypeError(text)


def _report(failure: BaseException, number: int, buf: Buffer, on_error: Callable[[RecordError], object] | None) -> None:
    """Report the bad message with that number; raise `failure` if the message is not to blame."""
    kind, cause = rejection(failure, buf)
    data = contiguous(buf)[:DATA_BYTES]
    # The frames of the cause would keep the message alive.
    report(RecordError(kind, "message", number, 0, str(cause), data), cause.with_traceback(None), on_error)


JSON = Format(msgspec.json.Decoder, msgspec.json.Encoder(enc_hook=unsupported).encode, _append_json, LONG_JSON)
MSGPACK = Format(msgspec.msgpack.Decoder, msgspec.msgpack.Encoder().encode, _append_msgpack, _NEVER)
