"""Set fields of messages that are already encoded: `patch` and `stamp`, for one message and for many.

The exact path decodes a message into a dict of views, changes the dict and encodes it again, so that every untouched
value keeps its bytes. The fast path, for many messages, appends the fields to a message that has none of them. Checking
for that costs too much for a single message.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from msgspec import UNSET, DecodeError, Raw, structs

from ._codec import Codec
from ._errors import (
    READ_FAILURES,
    RecordError,
    contiguous,
    decode_error,
    detached,
    encode_error,
    rejection,
    report,
)
from ._record import ChatCompletionResponse, Envelope, writable_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from typing_extensions import Buffer, TypedDict, Unpack

    from ._codec import E

    class Changes(TypedDict, total=False):
        """The fields to set, by their Python names; ``None`` removes one."""

        timestamp: datetime | None
        generation_id: str | None
        session_id: str | None
        choices: list[dict[str, Any]] | None
        stream: bool | None
        cost: float | None
        latency: float | None


# Each field's wire name, its type, and the class whose values need no further check: a check costs 1.3 us.
_FIELDS = {
    field.name: (field.encode_name, field.type, get_args(field.type)[0])
    for field in structs.fields(ChatCompletionResponse)
}
_WIRE_NAMES = {names[0] for names in _FIELDS.values()}

_BRACE = ord("}")
_AFTER_NO_MEMBER = b"{ \t\r\n"
# The first byte of a map with 15 entries, the most that fit in it (MessagePack specification, "Map format family").
_FULL_FIXMAP = 0x8F


class PatchingCodec(Codec):
    """A codec with `patch` and `stamp`.

    `append` appends encoded fields, and their number, to a message, or returns None if that takes the exact path.
    """

    def __init__(self, format: Any, append: Callable[[bytes, bytes, int], bytes | None]) -> None:
        super().__init__(format)
        self._append = append
        self._decode_fields = format.Decoder(dict[str, Raw]).decode
        self._probe = cache(self._make_probe)

    def __reduce__(self) -> str:
        """Pickle as a name, so that its functions can be sent to other processes."""
        return "JSON" if self._format is msgspec.json else "MSGPACK"

    def patch(self, buf: Buffer, *, extra: Mapping[str, Any] | None = None, **changes: Unpack[Changes]) -> bytes:
        r"""Set fields of an encoded message by their Python names, and return the message.

        Unknown fields, the order, and the bytes of every untouched value are kept; white space between values and
        duplicates of untouched fields may be dropped. A field that is set keeps its place, a new field goes last, and
        ``None`` removes a field. If a field that is set has duplicates, one remains, in the place of the first.

        Args:
            buf: the message, in any C-contiguous buffer.
            extra: values by wire name, for fields that the record does not define. They are not checked.
            **changes: values for fields of the record, checked against its types.

        Raises:
            msgspec.DecodeError: `buf` is not one message of the format, or a key that had to be decoded is not UTF-8.
            msgspec.ValidationError: it is one, but not an object (JSON), or a map with text keys (MessagePack).
            msgspec.EncodeError: a value cannot be written, as in `encode`.
            TypeError: a value has the wrong type, or one in `extra` cannot be encoded; a keyword is not a field of the
                record, or a name in `extra` is; `buf` is not a buffer.
            ValueError: `buf` is closed or released.
            BufferError: `buf` is not C-contiguous.

        >>> from chatcodec import json, msgpack
        >>> message = b'{"cost":1.00,"region":"eu","stream":true}'
        >>> json.patch(message, stream=None, session_id="s-1", extra={"region": "us"})
        b'{"cost":1.00,"region":"us","sessionId":"s-1"}'
        >>> msgpack.patch(b"\x82\xa6region\xa2eu\xa6stream\xc3", stream=None, session_id="s-1")
        b'\x82\xa6region\xa2eu\xa9sessionId\xa3s-1'
        """
        try:
            fields = self._decode_fields(buf)
        except Exception as error:
            raise decode_error(error, buf)
        return self._changed(fields, extra, changes)

    def stamp(
        self,
        buf: Buffer,
        type: type[E] = Envelope,  # type: ignore[assignment]
        *,
        extra: Mapping[str, Any] | None = None,
        **changes: Unpack[Changes],
    ) -> tuple[E, bytes]:
        r"""Do `peek` and `patch` in one call: return the original message's envelope, and the message with fields set.

        Args:
            buf: the message, in any C-contiguous buffer.
            type: `Envelope`, or a subclass with fields of your own.
            extra: values by wire name, as in `patch`.
            **changes: values for fields of the record, as in `patch`.

        Raises:
            msgspec.DecodeError: as in `peek` and `patch`.
            msgspec.ValidationError: as in `peek`.
            msgspec.EncodeError: a value cannot be written, as in `encode`.
            TypeError: as in `peek` and `patch`.
            ValueError: `buf` is closed or released.
            BufferError: `buf` is not C-contiguous.

        >>> from chatcodec import json, msgpack
        >>> envelope, message = json.stamp(b'{"cost":0.25,"region":"eu"}', session_id="s-1")
        >>> envelope.cost, message
        (0.25, b'{"cost":0.25,"region":"eu","sessionId":"s-1"}')
        >>> msgpack.stamp(b"\x81\xa6stream\xc3", session_id="s-1")[1]
        b'\x82\xa6stream\xc3\xa9sessionId\xa3s-1'
        """
        try:
            fields = self._decode_fields(buf)
            envelope = self._peek(buf) if type is Envelope else self._format.decode(buf, type=type)
        except Exception as error:
            raise decode_error(error, buf)
        return envelope, self._changed(fields, extra, changes)

    def _changed(self, fields: dict[str, Any], extra: Mapping[str, Any] | None, changes: Changes) -> bytes:
        """Check the new values, set them in `fields`, and encode these."""
        try:
            _set(fields, extra, changes)
            return self._encode(fields)  # type: ignore[no-any-return]
        except Exception as error:
            raise encode_error(error)

    def stamp_all(
        self,
        messages: list[Buffer],
        type: type[E],
        on_error: Callable[[RecordError], object] | None,
        extra: Mapping[str, Any] | None,
        changes: Changes,
    ) -> tuple[list[E], list[bytes]]:
        """Return the envelopes of the messages, and the changed messages.

        A bad message raises `RecordError`, or is reported to `on_error` and left out. A key that is not UTF-8 is
        detected only if it has to be decoded, which depends on the messages before it.
        """
        read = self._peek if type is Envelope else self._format.Decoder(type).decode
        envelopes: list[E] = []
        changed: list[bytes] = []
        # For a single message, checking for the fields costs as much as it saves.
        if len(messages) != 1:
            self._append_all(messages, extra, changes, read, envelopes, changed)
        for number, buf in enumerate(messages[len(changed) :], len(changed) + 1):
            try:
                message = buf if isinstance(buf, bytes) else contiguous(buf)
                fields = self._decode_fields(message)
                envelope = read(message)
            except Exception as error:
                failure = detached(error)
            else:
                changed.append(self._changed(fields, extra, changes))
                envelopes.append(envelope)
                continue
            # Outside the `except`, so that the caught error does not become `__context__`.
            self._changed({}, extra, changes)  # a caller's mistake comes first, also if this is the only message
            kind, cause = rejection(failure, buf)
            cause.__traceback__ = None  # its frames would keep the message alive
            report(on_error, cause, kind, "message", number, 0, str(cause), contiguous(buf))
        return envelopes, changed

    def _append_all(
        self,
        messages: list[Buffer],
        extra: Mapping[str, Any] | None,
        changes: Changes,
        read: Callable[[Buffer], E],
        envelopes: list[E],
        changed: list[bytes],
    ) -> None:
        """Stamp messages up to the first that has a field to set, or for another reason takes the exact path."""
        fields: dict[str, Any] = {}
        tail = self._changed(fields, extra, changes)[1:]  # checks the values, also where there is no message
        if extra or not 0 < len(fields) == len(changes):
            return
        probe, nothing = self._probe(tuple(fields))
        try:
            for buf in messages:
                message = buf if isinstance(buf, bytes) else contiguous(buf)
                if probe(message) != nothing:
                    break
                result = self._append(message, tail, len(fields))
                if result is None:
                    break
                envelopes.append(read(message))
                changed.append(result)
        except READ_FAILURES:
            pass  # reported by the exact path

    def _make_probe(self, names: tuple[str, ...]) -> tuple[Callable[[Buffer], Any], Any]:
        """Return a decoder of only the fields with these wire names, and its result for a message with none of them."""
        probe = msgspec.defstruct("Probe", [(name, Raw, UNSET) for name in names], gc=False)
        return self._format.Decoder(probe).decode, probe()


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


def _set(fields: dict[str, Any], extra: Mapping[Any, Any] | None, changes: Changes) -> None:
    """Check the new values, and set or remove them in `fields`.

    Raises `TypeError` for a value of the wrong type and for a name that may not be set, and `EncodeError` for a time
    without an offset.
    """
    for name, value in changes.items():
        try:
            wire_name, expected, exact = _FIELDS[name]
        except KeyError:
            message = f"unexpected keyword argument {name!r}: fields of other names are set with `extra`"
            raise TypeError(message) from None
        if value is None:
            fields.pop(wire_name, None)
        else:
            fields[wire_name] = value if value.__class__ is exact else _converted(name, value, expected)
    if extra is None:
        return
    for name, value in {**extra}.items():
        if not isinstance(name, str) or name in _WIRE_NAMES:
            message = f"{name!r} in `extra`: names are strings, and fields of the record are keyword arguments"
            raise TypeError(message)
        if value is None or (isinstance(value, Raw) and not len(value)):  # the view of an absent field
            fields.pop(name, None)
        else:
            fields[name] = value


def _converted(name: str, value: Any, expected: Any) -> Any:
    """Return `value` in a form that the field `name` can hold; raise `TypeError`, with the name, if there is none."""
    if name == "timestamp":
        return writable_time(value)
    try:
        converted = msgspec.convert(value, expected)
    except Exception as error:  # SystemError too, for an integer beyond a float, up to msgspec 0.21
        message = f"{name}: {error if isinstance(error, DecodeError) else 'Number out of range'}"
        raise TypeError(message) from None
    # msgspec passes an instance of a subclass of str, but does not encode it. It may have a __str__ of its own.
    return str.__str__(converted) if isinstance(converted, str) else converted


JSON = PatchingCodec(msgspec.json, _append_json)
MSGPACK = PatchingCodec(msgspec.msgpack, _append_msgpack)
