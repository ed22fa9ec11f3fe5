"""Streams of MessagePack frames: one record a frame.

A frame is a 4-byte big-endian length, then that many bytes of MessagePack: what Tokio's
``LengthDelimitedCodec``, Netty's ``LengthFieldPrepender(4)`` and Erlang's ``{packet, 4}`` speak.

How a stream is cut into chunks never matters: any cut gives the same records and the same errors.
Frames of length 0 are keep-alives.
"""

from __future__ import annotations

from struct import Struct as Layout
from typing import TYPE_CHECKING, Any

import msgspec

from . import _patches, _stream, msgpack
from ._stream import SHORT_TAIL, T
from ._writers import Item, Message, aiterate, encode_messages, encode_plain, encoded, iterate, listed, not_encoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

    from msgspec import Struct
    from typing_extensions import Buffer, Unpack

__all__ = [
    "END",
    "KEEP_ALIVE",
    "StreamDecoder",
    "aiter_decode",
    "aiter_encode",
    "encode",
    "iter_decode",
    "iter_encode",
    "patch",
]

# Its size is written as 4 below: an attribute costs where every frame asks.
_HEADER = Layout(">I")
_unpack = _HEADER.unpack_from


class StreamDecoder(_stream.StreamDecoder[T]):
    r"""Decode a stream of MessagePack frames, from chunks of any size.

    Args:
        type: what a frame is decoded as: `ChatCompletionResponse`, `Envelope`, a Struct of your own,
            `msgspec.Raw` (a view of a message whose syntax was checked), or `bytes` (the message as it came,
            unchecked).
        max_record_bytes: a longer frame is one bad record, told from its header, and is skipped without being
            held; ``None`` for no limit.
        on_error: is called with the `RecordError` of each bad record, in place of raising it.

    Raises:
        ValueError: `max_record_bytes` is below 1.

    >>> decoder = StreamDecoder(bytes)
    >>> decoder.feed(b"\0\0\0\1\x80" b"\0\0\0\2\x81")
    [b'\x80']
    >>> decoder.buffered
    5
    >>> decoder.finish()
    Traceback (most recent call last):
    chatcodec.RecordError: frame 2 at offset 5: stream ended after 1 of 2 bytes
    """

    _unit = "frame"
    _format = msgspec.msgpack

    def _reset(self) -> None:
        super()._reset()
        self._wanted = 4
        self._skip = 0

    def feed(self, data: Buffer) -> list[T]:
        """Take the next chunk, of any size, and return the records that it completed.

        Raises:
            RecordError: a frame is bad, and there is no `on_error`. The records before it are in its `records`.
                The chunk has been taken; the next call, with ``b""`` if need be, goes on behind it.
            TypeError: `data` has no buffer.
        """
        # The short way is written out: each call out of it costs 2 % of what a chunk of 1,400 bytes takes.
        if self._ordinary and type(data) is bytes:
            tail = self._tail
            size = len(tail) + len(data)
            # In so few bytes no whole frame is too long.
            if size <= self._limit:
                end = self._wanted
                if size < end:
                    if size <= SHORT_TAIL:
                        self._tail = tail + data
                    else:
                        self._hold(data)
                    return []
                run = tail + data if type(tail) is bytes else b"".join((tail, data))
                begin = 4
                if end == begin:
                    end += _unpack(run)[0]
                messages: list[Any] = []
                while end <= size:
                    messages.append(run[begin:end])
                    begin = end + 4
                    end = begin + _unpack(run, end)[0] if begin <= size else begin
                decode = self._decode
                # Keep-alives are no bytes, and no codec takes them.
                if end - begin <= self._limit and (decode is not bytes or all(messages)):
                    try:
                        records: list[Any] = [*map(decode, messages)]
                    except Exception:  # noqa: S110
                        pass  # told with its place by the long way, and not as the context of what that raises
                    else:
                        begin -= 4
                        self._tail = run[begin:]
                        self._wanted = end - begin
                        self._offset += begin
                        self._index += len(records)
                        return records
        return super().feed(data)

    def _can_be_ordinary(self) -> bool:
        return not self._skip

    def _completes(self, chunk: bytes) -> bool:
        return len(self._tail) + len(chunk) >= self._wanted

    def _decode_batch(self) -> bool:
        if self._skip and not self._pass_frame():
            return False
        # One frame at a time: to cut a batch again behind every error would cost the square of its frames.
        data, start = self._data, self._pos
        begin = start + 4
        self._wanted = 4 + _unpack(data, start)[0] if begin <= len(data) else 4
        end = start + self._wanted
        if self._wanted - 4 > self._limit:
            self._refuse_long(start)
            return True
        if end > len(data):
            return False
        self._index += 1
        self._pos = end
        if end > begin:
            self._decode_message(start, data[begin:end])
        return True

    def _refuse_long(self, start: int) -> None:
        length = self._wanted - 4
        self._index += 1
        self._pos = start + 4
        self._skip = length
        self._refuse(start, f"{length} bytes long, beyond the limit of {self._limit}", b"")

    def _pass_frame(self) -> bool:
        """Go as far as the data goes behind a frame that is skipped; return False if it goes no further."""
        step = min(self._skip, len(self._data) - self._pos)
        self._skip -= step
        self._pos += step
        return not self._skip

    def _end(self) -> None:
        if not self._tail:
            return
        self._index += 1
        data = bytes(self._tail[4:])
        if len(self._tail) < _HEADER.size:
            reason = "stream ended inside the 4-byte length"
        else:
            reason = f"stream ended after {len(data)} of {self._wanted - 4} bytes"
        self._refuse(0, reason, data)


iter_decode = StreamDecoder.iter_decode
aiter_decode = StreamDecoder.aiter_decode

# What to write while there is nothing to send: an empty frame, which readers skip.
KEEP_ALIVE: bytes = bytes(4)

# What to write after the last record: nothing, since frames have no end mark.
END: bytes = b""

_LONGEST = 2**32 - 1


def encode(records: Iterable[Struct | Message]) -> bytes:
    r"""Encode records, or messages that are encoded already, as frames. Messages are not parsed.

    Raises:
        msgspec.EncodeError: a record cannot be written, as in `msgpack.encode`, or a message is empty or longer than
            2**32 - 1 bytes, which the length cannot say. The text starts with the record's number, from 1.
        TypeError: `records` is a single record or message, `str`, `dict`, or not iterable; a record is neither a
            Struct nor an encoded message, is an `Envelope`, or holds an object of a type that has no encoding.
        ValueError: a message is a view that has been released.

    >>> from chatcodec import ChatCompletionResponse
    >>> encode([ChatCompletionResponse(stream=True), b"\x80"])
    b'\x00\x00\x00\t\x81\xa6stream\xc3\x00\x00\x00\x01\x80'
    """
    return _encode(records if type(records) is list else listed(records), 1)


def _encode(items: list[Any], first: int) -> bytes:
    messages = encode_plain(items, encode_messages)
    if messages is None:
        messages = encoded(items, msgpack.encode, first)
    pieces: list[bytes] = []
    pack = _HEADER.pack
    for message in messages:
        size = len(message)
        if not 0 < size <= _LONGEST:
            reason = f"{size} bytes are longer than a frame can be" if size else "an empty message is no record"
            raise not_encoded(first + len(pieces) // 2, reason)
        pieces += pack(size), message
    return b"".join(pieces)


def iter_encode(items: Iterable[Struct | Message | list[Item]]) -> Iterator[bytes]:
    r"""Encode records as they come: an iterator over one chunk per item, at once.

    An item is a record, a message, or a list of them, such as `iter_batches` gives. An empty list gives no chunk.
    Nothing follows the last item, since `END` is empty here. What `items` raises passes through.

    Raises:
        msgspec.EncodeError: from the iterator, as in `encode`; records are numbered through all items, from 1.
        TypeError: at once, where `items` are a single record or message, `str`, `dict`, or not iterable; from the
            iterator, as in `encode`.
        ValueError: from the iterator, as in `encode`.

    >>> from chatcodec import ChatCompletionResponse
    >>> list(iter_encode([ChatCompletionResponse(), [b"\x80", b"\xc0"]]))
    [b'\x00\x00\x00\x01\x80', b'\x00\x00\x00\x01\x80\x00\x00\x00\x01\xc0']
    """
    return iterate(items, _encode, END)


def aiter_encode(items: AsyncIterable[Struct | Message | list[Item]]) -> AsyncIterator[bytes]:
    r"""Encode records as they come: an async iterator over one chunk per item, at once.

    As `iter_encode`, over an async iterable. When it ends or is closed, so is an async generator in `items`.

    Raises:
        msgspec.EncodeError: as from `iter_encode`.
        TypeError: at once, where `items` are not an async iterable; from the iterator, as in `encode`.
        ValueError: as from `iter_encode`.

    >>> import asyncio
    >>> async def write(source):
    ...     return [chunk async for chunk in aiter_encode(source)]
    >>> async def records():
    ...     yield b"\x80"
    ...     yield [b"\xc0", b"\x80"]
    >>> asyncio.run(write(records()))
    [b'\x00\x00\x00\x01\x80', b'\x00\x00\x00\x01\xc0\x00\x00\x00\x01\x80']
    """
    return aiterate(items, _encode, END)


def patch(messages: Iterable[Buffer], **changes: Unpack[_patches.Changes]) -> bytes:
    r"""Set the same fields in all of `messages`, and encode them as frames.

    It returns what `encode` makes of ``msgpack.patch(message, **changes)`` for each, in less time.

    Raises:
        msgspec.DecodeError: a message is bad, as for `msgpack.patch`. The text has its number, from 1.
        msgspec.ValidationError: it is MessagePack, and no map with keys that are text.
        msgspec.EncodeError: a new value cannot be written, or a message gets beyond what a length can say.
        TypeError: a new value has a type that has no encoding, or `choices` is a view.

    >>> patch([b"\x80", b"\x81\xa6stream\xc3"], stream=False)
    b'\x00\x00\x00\t\x81\xa6stream\xc2\x00\x00\x00\t\x81\xa6stream\xc2'
    """
    return encode(_patches.patch_each(messages, changes, msgpack))
