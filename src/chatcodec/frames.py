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

from . import _stream, msgpack
from ._stream import BATCH_BYTES, T

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["StreamDecoder", "aiter_decode", "encode", "iter_decode"]

_HEADER = Layout(">I")
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

    def _reset(self) -> None:
        super()._reset()
        self._wanted = _HEADER.size
        self._skip = 0

    @staticmethod
    def _decoder(type: Any) -> Callable[[bytes], Any]:
        return msgspec.msgpack.Decoder(type).decode

    def _completes(self, chunk: bytes) -> bool:
        return len(self._tail) + len(chunk) >= self._wanted

    def _decode_batch(self) -> bool:
        if self._skip and not self._pass_frame():
            return False
        start = self._pos
        messages, keep_alives, end = self._cut_batch(start)
        if end == start:
            return self._refuse_long(start)
        self._decode_all(messages, start, end, keep_alives)
        return True

    def _cut_batch(self, start: int) -> tuple[list[bytes], int, int]:
        """Return the messages of some whole frames, how many keep-alives are among them, and where they end.

        Sets `_wanted` to the size that the frame behind them has, as far as it is known.
        """
        data, limit, unpack = self._data, self._limit, _HEADER.unpack_from
        size = len(data)
        full = start + BATCH_BYTES
        messages = []
        keep_alives = 0
        while start + 4 <= size and start < full:
            begin = start + 4
            (length,) = unpack(data, start)
            end = begin + length
            if end > size or length > limit:
                self._wanted = 4 + length
                break
            if length:
                messages.append(data[begin:end])
            else:
                keep_alives += 1
            start = end
        else:
            self._wanted = 4
        return messages, keep_alives, start

    def _cut(self, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
        while start < end:
            begin = start
            (length,) = _HEADER.unpack_from(self._data, begin)
            start = begin + _HEADER.size + length
            yield begin, start, self._data[begin + _HEADER.size : start]

    def _refuse_long(self, start: int) -> bool:
        """Refuse the frame at `start` if it is too long; return False if it is unfinished."""
        length = self._wanted - _HEADER.size
        if length <= self._limit:
            return False
        self._index += 1
        self._pos = start + _HEADER.size
        self._skip = length
        self._refuse(start, f"{length} bytes long, beyond the limit of {self._limit}", b"")
        return True

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
        data = bytes(self._tail[_HEADER.size :])
        if len(self._tail) < _HEADER.size:
            reason = f"stream ended inside the {_HEADER.size}-byte length"
        else:
            reason = f"stream ended after {len(data)} of {self._wanted - _HEADER.size} bytes"
        self._tail.clear()
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
