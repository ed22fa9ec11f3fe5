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

from . import _patches, _sinks, _stream, msgpack
from ._stream import SHORT_TAIL, T

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable

    from typing_extensions import Buffer, Unpack

__all__ = ["StreamDecoder", "aiter_decode", "aiter_encode", "encode", "iter_decode", "patch"]

# Its size is written as 4 below: an attribute costs where every frame asks.
_HEADER = Layout(">I")
_unpack = _HEADER.unpack_from
_LONGEST = 2**32 - 1


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


def encode(records: Iterable[msgspec.Struct | msgspec.Raw | bytes]) -> bytes:
    r"""Encode `records`, or messages encoded already, as frames.

    Raises:
        msgspec.EncodeError: a record cannot be written, or a message is empty or beyond the 4 GiB that a length
            can say. The text has the record's number, from 1.
        TypeError: a record holds an object of a type that has no encoding, or is an `Envelope`.

    >>> from chatcodec import ChatCompletionResponse
    >>> encode([ChatCompletionResponse(stream=True), b"\x80"])
    b'\x00\x00\x00\t\x81\xa6stream\xc3\x00\x00\x00\x01\x80'
    """
    pieces: list[bytes] = []
    for number, message in enumerate(_stream.encode_all(records, msgpack.encode), 1):
        if not 0 < len(message) <= _LONGEST:
            reason = "longer than a length can say" if message else "an empty frame is no record"
            raise _stream.not_encoded(number, reason)
        pieces += (_HEADER.pack(len(message)), message)
    return b"".join(pieces)


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


def aiter_encode(records: AsyncIterable[msgspec.Struct | msgspec.Raw | bytes]) -> AsyncIterator[bytes]:
    """Encode records as they come: an async iterator over chunks of frames.

    What is ready goes into one chunk, some 16 KiB at most, and nothing waits for what is not. The iterator raises
    what `records` raises and what `encode` does, behind the chunk of what came before.
    """
    return _sinks.aiterate(records, encode)
