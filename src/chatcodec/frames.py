"""Streams of MessagePack frames: one record per frame.

A frame is a 4-byte big-endian length, then that many bytes of MessagePack. Tokio's ``LengthDelimitedCodec``, Netty's
``LengthFieldPrepender(4)`` and Erlang's ``{packet, 4}`` frame messages in the same way.

How a stream is cut into chunks never matters: any cut gives the same records and the same errors.
Frames of length 0 are keep-alives.
"""

from __future__ import annotations

from struct import Struct as Layout
from typing import TYPE_CHECKING, Any

import msgspec

from . import _decoder, _iterate, msgpack
from ._patch import MSGPACK
from ._record import ChatCompletionResponse, Envelope
from ._records import T
from ._writers import Item, Message, aiterate, encode_messages, encode_plain, encoded, iterate, listed, not_encoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping

    from msgspec import Struct
    from typing_extensions import Buffer, Unpack

    from ._codec import E
    from ._errors import RecordError
    from ._iterate import AsyncSource, Options, Source
    from ._patch import Changes
    from ._records import R

__all__ = [
    "END",
    "KEEP_ALIVE",
    "StreamDecoder",
    "aiter_batches",
    "aiter_decode",
    "aiter_encode",
    "encode",
    "iter_batches",
    "iter_decode",
    "iter_encode",
    "stamp",
]

_HEADER = Layout(">I")
_SIZE = _HEADER.size
_unpack = _HEADER.unpack_from


class StreamDecoder(_decoder.StreamDecoder[T]):
    r"""Decode a stream of MessagePack frames, from chunks of any size.

    Args:
        type: what a frame is decoded as: `ChatCompletionResponse`, `Envelope`, a Struct of your own,
            `msgspec.Raw` (a view of a message whose syntax was checked), or `bytes` (the message, not parsed).
        max_record_bytes: a longer frame, not counting its header, is one bad record. It is reported as soon as its
            header has arrived, and skipped without being buffered. ``None`` for no limit.
        on_error: called with the `RecordError` for each bad record, instead of raising it; never with a `StreamError`.

    Raises:
        ValueError: `max_record_bytes` is below 1.

    >>> decoder = StreamDecoder(bytes)
    >>> decoder.feed(b"\0\0\0\1\x80" b"\0\0\0\2\x81")
    [b'\x80']
    >>> decoder.buffered
    5
    >>> decoder.finish()
    Traceback (most recent call last):
    chatcodec.StreamError: frame 2 at offset 5: stream ended after 1 of 2 bytes
    """

    _unit = "frame"
    _format = msgspec.msgpack
    _header = 4
    _too_long = "{size} bytes long, beyond the limit of {limit}"

    def _step(self) -> bool:
        buffer, start = self._buffer, self._pos
        arrived = len(buffer) - start
        if arrived < _SIZE:
            return False
        # 4 is the size of a header, as a literal: looking up a name for every frame would cost 2 %.
        begin, end = 4, 4 + _unpack(buffer, start)[0]
        if arrived < end <= self._limit + _SIZE:
            return False
        stop = start + self._run_bytes
        run = bytes(buffer[start:stop])
        size = len(run)
        messages: list[Any] = []
        while end <= size:
            messages.append(run[begin:end])
            begin = end + 4
            end = begin + _unpack(run, end)[0] if begin <= size else begin
        if not messages:
            return self._take_record()
        whole = end - begin <= self._limit  # a frame that is too long is reported without waiting for it
        end = start + begin - 4
        if self._decode is bytes and not all(messages):
            count, end = self._locate(messages, messages.index(b""), end, ())
            del messages[count:]  # an empty frame is not a record
            whole = False
        return self._take_run(messages, end, stop, whole=whole)

    def _find_end(self) -> tuple[int, int]:
        start = self._pos
        end = self._skipped[2] - self._offset if self._skipped else start + 4 + _unpack(self._buffer, start)[0]
        return end, end if end <= len(self._buffer) else 0

    def _take(self, stop: int, end: int, failure: BaseException | None = None, *, cut: bool = False) -> None:
        start = self._pos
        message = bytes(memoryview(self._buffer)[start + 4 : end])
        if message and not cut:
            self._take_message(message, end, failure)
            return
        self._pass([], 1, end)
        if cut:
            reason = (
                f"stream ended after {len(message)} of {_unpack(self._buffer, start)[0]} bytes"
                if end - start >= _SIZE
                else "stream ended inside the 4-byte length"
            )
            self._report("incomplete", start, reason, message)


def iter_decode(
    source: Source,
    type: type[R] = ChatCompletionResponse,  # type: ignore[assignment]
    **options: Unpack[Options],
) -> Iterator[R]:
    r"""Iterate over the records of a binary file of frames, or of an iterable of chunks.

    The options are those of `StreamDecoder`; otherwise as `chatcodec.ndjson.iter_decode`.

    >>> [record.cost for record in iter_decode([b"\0\0\0\1", b"\x80"])]
    [None]
    """
    return _iterate.items(StreamDecoder(type, **options), source)


def aiter_decode(
    source: AsyncSource,
    type: type[R] = ChatCompletionResponse,  # type: ignore[assignment]
    **options: Unpack[Options],
) -> AsyncIterator[R]:
    """Iterate as `iter_decode` does, over an object with ``async read(n)`` or an async iterable of chunks."""
    return _iterate.aitems(StreamDecoder(type, **options), source)


def iter_batches(
    source: Source,
    type: type[R] = ChatCompletionResponse,  # type: ignore[assignment]
    **options: Unpack[Options],
) -> Iterator[list[R]]:
    """Iterate over lists of the records that each chunk completed, as `chatcodec.ndjson.iter_batches` does."""
    return _iterate.items(StreamDecoder(type, **options), source, _iterate.batch)


def aiter_batches(
    source: AsyncSource,
    type: type[R] = ChatCompletionResponse,  # type: ignore[assignment]
    **options: Unpack[Options],
) -> AsyncIterator[list[R]]:
    """Iterate as `iter_batches` does, over the sources of `aiter_decode`, without an ``await`` for each record."""
    return _iterate.aitems(StreamDecoder(type, **options), source, _iterate.batch)


KEEP_ALIVE: bytes = bytes(4)
"""What to write while there is nothing to send: an empty frame, which readers skip."""

END: bytes = b""
"""What to write after the last record: nothing, since frames have no end mark."""

_LONGEST = 2**32 - 1


def encode(records: Iterable[Struct | Message]) -> bytes:
    r"""Encode records, or messages that are already encoded, as frames. Messages are not parsed.

    Raises:
        msgspec.EncodeError: a record cannot be written, as in `msgpack.encode`, or a message is empty or longer than
            2**32 - 1 bytes, the most that a header can declare. The text starts with the record's number, from 1.
        TypeError: `records` is a single record or message, `str`, `dict`, or not iterable; a record is neither a
            Struct nor an encoded message, is an `Envelope`, or holds an object of a type that has no encoding.
        ValueError: a message is a view that has been released.

    >>> from chatcodec import ChatCompletionResponse
    >>> encode([ChatCompletionResponse(stream=True), b"\x80"])
    b'\x00\x00\x00\t\x81\xa6stream\xc3\x00\x00\x00\x01\x80'
    """
    return _encode(records if isinstance(records, list) else listed(records), 1)


def _encode(items: list[Any], first: int) -> bytes:
    messages = encode_plain(items, encode_messages) or encoded(items, msgpack.encode, first)
    frames: list[bytes] = []
    for message in messages:
        size = len(message)
        if not 0 < size <= _LONGEST:
            raise not_encoded(
                first + len(frames) // 2,
                f"{size} bytes are longer than a frame can be" if size else "an empty message is no record",
            )
        frames += _HEADER.pack(size), message
    return b"".join(frames)


def iter_encode(items: Iterable[Struct | Message | list[Item]]) -> Iterator[bytes]:
    r"""Encode records as they arrive: iterate over one chunk per item, each yielded at once.

    An item is a record, a message, or a list of them, such as `iter_batches` yields. An empty list yields no chunk.
    Nothing follows the last item, since `END` is empty here. Exceptions from `items` pass through.

    Raises:
        EncodeError, TypeError, ValueError: from the iterator, as in `encode`, with records numbered across all items.

    >>> from chatcodec import ChatCompletionResponse
    >>> list(iter_encode([ChatCompletionResponse(), [b"\x80", b"\xc0"]]))
    [b'\x00\x00\x00\x01\x80', b'\x00\x00\x00\x01\x80\x00\x00\x00\x01\xc0']
    """
    return iterate(items, _encode, END)


def aiter_encode(items: AsyncIterable[Struct | Message | list[Item]]) -> AsyncIterator[bytes]:
    """Encode records as they arrive, as `iter_encode` and `chatcodec.ndjson.aiter_encode` do."""
    return aiterate(items, _encode, END)


def stamp(
    messages: Iterable[Buffer],
    type: type[E] = Envelope,  # type: ignore[assignment]
    *,
    on_error: Callable[[RecordError], object] | None = None,
    extra: Mapping[str, Any] | None = None,
    **changes: Unpack[Changes],
) -> tuple[list[E], bytes]:
    r"""Return an envelope for each message, and the messages as frames, with the same fields set in each.

    Like `chatcodec.msgpack.stamp` for each message; each becomes one frame. Duplicates of untouched fields may remain.

    Arguments and errors are those of `chatcodec.ndjson.stamp`.

    >>> envelopes, stamped = stamp([b"\x80", b"\x81\xa6stream\xc3"], stream=False)
    >>> [envelope.stream for envelope in envelopes]
    [None, True]
    >>> stamped
    b'\x00\x00\x00\t\x81\xa6stream\xc2\x00\x00\x00\t\x81\xa6stream\xc2'
    """
    envelopes, stamped = MSGPACK.stamp_all(
        messages if isinstance(messages, list) else listed(messages), type, on_error, extra, changes
    )
    return envelopes, encode(stamped)
