"""Set fields of messages that are encoded already: all of `patch` and `stamp`, for one message and for many.

Exact: a message is read once into a dict of views, which is changed and written again, so that every untouched value
keeps its bytes. Fast, for many: where none of the fields to set is there, they are appended to the message as it is.
To find out costs too much for a single message.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from msgspec import UNSET, DecodeError, Raw, structs

from ._errors import DATA_BYTES, READ_FAILURES, RecordError, contiguous, raise_encode_error, rejection, unsupported
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


# A dict is found before the slower check of an abstract class.
_MAPPINGS: tuple[type[Any], ...] = (dict, Mapping)
_ONE_MESSAGE = (str, bytes, bytearray, memoryview, Raw)

# JSON text is scanned byte by byte: from about so many on, scanning choices again costs more than working around them.
LONG_JSON = 2048
# MessagePack is skipped by lengths.
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
# The first byte of a map with 15 entries, the most it has room for (MessagePack specification, "Map format family").
_FULL_FIXMAP = 0x8F
_WIRE_NAMES = {name for name, _ in _FIELDS.values()}


class Format:
    """What `stamp` needs of a format."""

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
        """Return what the codec's `peek` returns for `buf`, which has these `fields`, without scanning its choices."""
        choices, fields["choices"] = fields["choices"], None
        others = self._encode(fields)
        fields["choices"] = choices
        # Never longer than in `buf`; shorter where that has duplicates, which `peek` checks, or white space.
        if len(others) - len(b"null") + len(choices) < len(Raw(buf)):
            return self.peek(buf)
        envelope = self.peek(others)
        envelope.choices = choices
        if "error" in fields:
            envelope.error = fields["error"]  # a view of what was received
        return envelope

    def _make_probe(self, names: tuple[str, ...]) -> tuple[Callable[[Buffer], Any], Any]:
        """Return a decoder that sees the fields of these wire names alone, and what it returns where none is there."""
        probe = msgspec.defstruct("Probe", [(name, Raw, UNSET) for name in names], gc=False)
        return self._decoder(probe).decode, probe()

    def _appender(self, fields: dict[str, Any]) -> Callable[[Buffer], bytes | None]:
        """Return what appends these `fields` to a message, or returns None for the exact way."""
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
        """Return what the messages hold, and the messages, changed.

        A bad message raises `RecordError`, or is given to `on_error` and left out. That a key is not UTF-8 shows only
        where it has to be read, which depends on the messages before it.
        """
        _check_many(messages)
        values: dict[str, Any] = {}
        appended = None
        try:
            removed = set_fields(values, extra, changes)
            # For one message, looking for the fields would cost as much as it saves.
            if values and not (removed or extra or (isinstance(messages, list) and len(messages) == 1)):
                appended = self._appender(values)
        except Exception as error:
            raise_encode_error(error)
        decode_fields, encode = self.decode_fields, self._encode
        # A subclass is always decoded from the whole message, which its own fields and checks have to see.
        read, long = (self.peek, self._long) if type is Envelope else (self._decoder(type).decode, _NEVER)
        fields: dict[str, Any] = {}
        envelopes: list[Any] = []
        changed: list[bytes] = []
        number = 0
        for buf in messages:
            number += 1
            message = None if appended is None else appended(buf)
            try:
                if message is not None:
                    envelope = read(buf)
                else:
                    appended = None  # the messages after it are likely to be like it
                    if isinstance(buf, str):
                        _reject_text()
                    fields = decode_fields(buf)
                    envelope = read(buf) if len(fields.get("choices", b"")) < long else self.envelope(buf, fields)
            except Exception as error:
                failure = error.with_traceback(None)
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
            # Outside the except clause, so that what it caught is not the context of what is raised.
            _report(failure, number, buf, on_error)
        return envelopes, changed


def _append_json(message: bytes, tail: bytes, _: int) -> bytes | None:
    """Return `message` with the members in `tail` after its own; None if it may have none, or ends in white space."""
    if message[-1] == _BRACE and message[-2] not in _AFTER_NO_MEMBER:
        return b"%b,%b" % (message[:-1], tail)
    return None


def _append_msgpack(message: bytes, tail: bytes, count: int) -> bytes | None:
    """Return `message` with the `count` entries in `tail` after its own; None if its head would take more bytes."""
    if message[0] <= _FULL_FIXMAP - count:
        return b"%c%b%b" % (message[0] + count, message[1:], tail)
    return None


def set_fields(fields: dict[str, Any], extra: Mapping[str, Any] | None, changes: Changes) -> list[str]:
    """Set, check and remove `fields` of a message, which have their wire names; return the names of those removed.

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
        if value is None or (isinstance(value, Raw) and not len(value)):  # a view of a field that was absent
            removed.append(name)
            fields.pop(name, None)
        else:
            fields[name] = value


def _checked(name: str, value: Any) -> Any:
    """Return `value` as the field of that name can hold it; raise `TypeError` with the name if it cannot."""
    if name == "timestamp":
        return writable_time(value)
    try:
        converted = msgspec.convert(value, _TYPES[name])
    except Exception as error:  # SystemError too, for an integer beyond a float, up to msgspec 0.21
        reason = str(error) if isinstance(error, DecodeError) else "Number out of range"
    else:
        if value.__class__ is int and _INT64_MIN <= value <= _UINT64_MAX:
            return value  # written as it is, and read as a float
        # A subclass of str is left as it is, is nothing that msgspec writes, and may have a __str__ of its own.
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


def _report(failure: Exception, number: int, buf: Buffer, on_error: Callable[[RecordError], object] | None) -> None:
    """Report the bad message with that number; raise `failure` if the message is not to blame."""
    kind, cause = rejection(failure, buf)
    error = RecordError(kind, "message", number, 0, str(cause), contiguous(buf)[:DATA_BYTES])
    error.__cause__ = cause
    try:
        if on_error is None:
            raise error
        on_error(error)
    finally:
        del error


def on_one_line(messages: list[bytes]) -> list[bytes]:
    """Return JSON messages without line breaks, which can only be white space between tokens."""
    text = b"".join(messages)
    if b"\n" not in text and b"\r" not in text:
        return messages
    return [message.replace(b"\n", b" ").replace(b"\r", b" ") for message in messages]


JSON = Format(msgspec.json.Decoder, msgspec.json.Encoder(enc_hook=unsupported).encode, _append_json, LONG_JSON)
MSGPACK = Format(msgspec.msgpack.Decoder, msgspec.msgpack.Encoder().encode, _append_msgpack, _NEVER)
