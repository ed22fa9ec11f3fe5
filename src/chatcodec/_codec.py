"""Decode, peek at and encode single messages: what `chatcodec.json` and `chatcodec.msgpack` share."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

from msgspec import DecodeError, Struct

from ._errors import decode_error, encode_error
from ._record import DATETIME, UTC, ChatCompletionResponse, Choices, Envelope, writable

if TYPE_CHECKING:
    from typing_extensions import Buffer, TypeVar

    T = TypeVar("T", default=ChatCompletionResponse)
    E = TypeVar("E", bound=Envelope, default=Envelope)


class Codec:
    """The functions that read or write whole messages of a format: `format` is msgspec's module for it."""

    def __init__(self, format: Any) -> None:
        encoder = format.Encoder()
        self._format = format
        self._decode = format.Decoder(ChatCompletionResponse).decode
        self._peek = format.Decoder(Envelope).decode
        self._decode_choices = format.Decoder(Choices | None).decode
        self._encode = encoder.encode
        self._encode_into = encoder.encode_into

    def decode(self, buf: Buffer, type: type[T] = ChatCompletionResponse) -> T:  # type: ignore[assignment]
        r"""Decode one message, and check all of it against `type`.

        Unknown fields are ignored; the last of duplicate keys wins.

        Args:
            buf: the message, in any C-contiguous buffer.
            type: `ChatCompletionResponse`, a subclass with fields of your own, or any type that msgspec supports.

        Raises:
            msgspec.DecodeError: `buf` is not one message of the format, has text that is not UTF-8, or is too deeply
                nested.
            msgspec.ValidationError: it is one, but does not fit `type`.
            TypeError: `buf` is not a buffer, or msgspec does not support `type`.
            ValueError: `buf` is closed or released.
            BufferError: `buf` is not C-contiguous.

        >>> from chatcodec import json, msgpack
        >>> json.decode(b'{"sessionId":"s-1","cost":0.25}').session_id
        's-1'
        >>> msgpack.decode(b"\x81\xa9sessionId\xa3s-1").session_id
        's-1'
        """
        try:
            if type is ChatCompletionResponse:
                return self._decode(buf)  # type: ignore[no-any-return]
            return self._format.decode(buf, type=type)  # type: ignore[no-any-return]
        except Exception as error:
            raise decode_error(error, buf)

    def peek(self, buf: Buffer, type: type[E] = Envelope) -> E:  # type: ignore[assignment]
        r"""Decode one message in one pass, leaving its choices and its error as views into `buf`.

        The other fields are checked; for the choices and the error, only the syntax is. A view keeps `buf` alive, and
        later writes to `buf` show in it.

        Args:
            buf: the message, in any C-contiguous buffer.
            type: `Envelope`, or a subclass with fields of your own.

        Raises:
            msgspec.DecodeError: `buf` is not one message of the format, or is nested beyond the recursion limit.
            msgspec.ValidationError: it is one, but not an object (JSON), or a map with text keys (MessagePack), or a
                field has the wrong type.
            TypeError: `buf` is not a buffer, or msgspec does not support `type`.
            ValueError: `buf` is closed or released.
            BufferError: `buf` is not C-contiguous.

        >>> from chatcodec import json, msgpack
        >>> envelope = json.peek(b'{"choices":[{"index":0}],"cost":0.25}')
        >>> envelope.cost, bytes(envelope.choices)
        (0.25, b'[{"index":0}]')
        >>> bytes(msgpack.peek(b"\x81\xa7choices\x91\x81\xa5index\x00").choices)
        b'\x91\x81\xa5index\x00'
        """
        try:
            return self._peek(buf) if type is Envelope else self._format.decode(buf, type=type)  # type: ignore[no-any-return]
        except Exception as error:
            raise decode_error(error, buf)

    def decode_choices(self, view: Buffer) -> Choices | None:
        """Decode the choices of an envelope from `peek`; ``None`` if they are absent or null.

        Raises:
            msgspec.DecodeError: text in them is not UTF-8, or they are nested beyond the recursion limit.
            msgspec.ValidationError: they are not a list of objects.
            TypeError: `view` is not a buffer.
            ValueError: `view` is closed or released.
            BufferError: `view` is not C-contiguous.

        >>> from chatcodec import json
        >>> json.decode_choices(json.peek(b'{"choices":[{"index":0}]}').choices)
        [{'index': 0}]
        """
        try:
            return self._decode_choices(view)  # type: ignore[no-any-return]
        except Exception as error:
            # An absent field. Checking for it first would make small choices a third slower.
            if isinstance(error, DecodeError) and not memoryview(view).nbytes:
                return None
            raise decode_error(error, view)

    def encode(self, response: Struct) -> bytes:
        r"""Encode `response` without fields that are ``None``, in JSON also without white space.

        In JSON, NaN and infinities become null, binary becomes base64 text, and a timestamp whose offset has seconds is
        written in UTC. In MessagePack, a timestamp is written as its instant, without its offset.

        Raises:
            msgspec.EncodeError: it holds a cycle, half a surrogate pair, in MessagePack an integer beyond 64 bits, or a
                timestamp without an offset.
            TypeError: it holds an object of a type that the format cannot encode, its timestamp is not a datetime, or
                it is an `Envelope`.

        >>> from chatcodec import json, msgpack
        >>> json.encode(ChatCompletionResponse(session_id="s-1", cost=0.25))
        b'{"sessionId":"s-1","cost":0.25}'
        >>> msgpack.encode(ChatCompletionResponse(session_id="s-1", stream=True))
        b'\x82\xa9sessionId\xa3s-1\xa6stream\xc3'
        """
        try:
            # A record with a time in UTC, as decoding gives it, needs no further check: 60 ns instead of 550.
            if type(response) is not ChatCompletionResponse or (
                (timestamp := response.timestamp) is not None
                and (timestamp.__class__ not in DATETIME or timestamp.tzinfo is not UTC)
            ):
                response = writable(response)
            return self._encode(response)  # type: ignore[no-any-return]
        except Exception as error:
            raise encode_error(error)

    def encode_into(self, response: Struct, buffer: bytearray, offset: int = 0) -> None:
        """Encode `response` into `buffer` at `offset`, and resize the buffer to end after it.

        Args:
            response: the record.
            buffer: ends with the record afterwards. If an error is raised, the bytes before `offset` are unchanged.
            offset: in bytes; -1 means the end of the buffer.

        Raises:
            msgspec.EncodeError: as in `encode`.
            TypeError: as in `encode`.
            ValueError: `offset` is beyond the buffer's end, or below -1.
            BufferError: `buffer` has to be resized, and a view of it exists. At offset 0 msgspec may shrink it
                regardless.

        >>> from chatcodec import json
        >>> buffer = bytearray(b"data: ")
        >>> json.encode_into(ChatCompletionResponse(cost=0.25), buffer, 6)
        >>> buffer
        bytearray(b'data: {"cost":0.25}')
        """
        size = len(buffer)
        if not -1 <= index(offset) <= size:
            # msgspec 0.22 accepts an offset beyond the end, and leaves uninitialised memory in the gap.
            message = f"offset {offset} is outside the buffer of {size} bytes"
            raise ValueError(message)
        try:
            if type(response) is not ChatCompletionResponse or (
                (timestamp := response.timestamp) is not None
                and (timestamp.__class__ not in DATETIME or timestamp.tzinfo is not UTC)
            ):
                response = writable(response)
            if offset:
                self._encode_into(response, buffer, offset)
            else:
                self._encode_into(response, buffer)  # an explicit 0 makes msgspec shrink the buffer first: 110 ns
        except Exception as error:
            if len(buffer) > size:  # only a bytearray can have grown
                del buffer[size:]
            raise encode_error(error)
