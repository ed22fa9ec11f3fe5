"""What the JSON and the MessagePack codec share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Raw

from ._errors import raise_decode_error, raise_encode_error
from ._record import writable_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from typing import Protocol

    from msgspec import UnsetType
    from typing_extensions import Buffer

    class Patch(Protocol):
        """The type of `patch` in both codecs."""

        def __call__(
            self,
            buf: Buffer,
            *,
            timestamp: datetime | None | UnsetType = ...,
            generation_id: str | None | UnsetType = ...,
            session_id: str | None | UnsetType = ...,
            choices: Choices | None | UnsetType = ...,
            stream: bool | None | UnsetType = ...,
            cost: float | None | UnsetType = ...,
            latency: float | None | UnsetType = ...,
        ) -> bytes: ...


Choices = list[dict[str, Any]]


def make_patch(decode_fields: Callable[[Buffer], dict[str, Any]], encode: Callable[[Any], bytes]) -> Patch:
    """Return `patch` for a format. Made this way it costs one call, and stands here once."""

    def patch(
        buf: Buffer,
        *,
        timestamp: datetime | None | UnsetType = UNSET,
        generation_id: str | None | UnsetType = UNSET,
        session_id: str | None | UnsetType = UNSET,
        choices: Choices | None | UnsetType = UNSET,
        stream: bool | None | UnsetType = UNSET,
        cost: float | None | UnsetType = UNSET,
        latency: float | None | UnsetType = UNSET,
    ) -> bytes:
        r"""Set fields of an encoded message, and leave the rest of it as it came.

        Unknown fields, the order and the bytes of every untouched value stay; white space between values does not.
        A field that is set keeps its place, a new one goes last, and ``None`` removes one. Of duplicate keys the last
        value stays, in the first one's place.

        Raises:
            msgspec.DecodeError: `buf` is not one message of the format, or a key in it is no UTF-8.
            msgspec.ValidationError: it is, and no object with keys that are text.
            msgspec.EncodeError: a new value cannot be written, as in `encode`.
            TypeError: a new value has a type that has no encoding, or `choices` is a view.

        >>> from chatcodec import json, msgpack
        >>> json.patch(b'{"cost":1.00,"region":"eu","stream":true}', stream=None, session_id="s-1")
        b'{"cost":1.00,"region":"eu","sessionId":"s-1"}'
        >>> msgpack.patch(b"\x82\xa6region\xa2eu\xa6stream\xc3", stream=None, session_id="s-1")
        b'\x82\xa6region\xa2eu\xa9sessionId\xa3s-1'
        """
        try:
            fields = decode_fields(buf)
        except Exception as error:
            raise_decode_error(error)
        try:
            if timestamp is not UNSET:
                fields["timestamp"] = timestamp and writable_time(timestamp)
            if generation_id is not UNSET:
                fields["generationId"] = generation_id
            if session_id is not UNSET:
                fields["sessionId"] = session_id
            if choices is not UNSET:
                fields["choices"] = _no_view(choices)
            if stream is not UNSET:
                fields["stream"] = stream
            if cost is not UNSET:
                fields["cost"] = cost
            if latency is not UNSET:
                fields["latency"] = latency
            if (
                timestamp is None or generation_id is None or session_id is None or choices is None
                or stream is None or cost is None or latency is None
            ):  # fmt: skip
                fields = {name: value for name, value in fields.items() if value is not None}
            return encode(fields)
        except Exception as error:
            raise_encode_error(error)

    return patch


def _no_view(choices: Choices | None) -> Choices | None:
    """Return `choices`; raise `TypeError` for a view, which could be of another format."""
    if isinstance(choices, Raw):
        message = "choices are set as a list: a view could be of another format"
        raise TypeError(message)
    return choices


def offset_error(offset: int, size: int) -> ValueError:
    """Return the error for an `offset` outside a buffer of `size` bytes.

    msgspec 0.22 takes an offset beyond the end, and leaves uninitialised memory in the gap.
    """
    return ValueError(f"offset {offset} is outside the buffer of {size} bytes")
