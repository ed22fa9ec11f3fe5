r"""Streams of JSON lines (NDJSON, JSON Lines): one record per line.

How a stream is cut into chunks never matters: any cut gives the same records and the same errors.

Only ``\n`` ends a line, and one ``\r`` before it is dropped; U+2028 and the like are text. Lines that hold only spaces,
tabs and ``\r`` are keep-alives, and a byte order mark at the very start is skipped. A last line without its ``\n`` is a
record if it decodes; if not, the stream was cut, which is a `StreamError`.
"""

from __future__ import annotations

from io import BytesIO
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec

from . import _decoder, _iterate
from ._patch import JSON
from ._record import ChatCompletionResponse, Envelope
from ._records import BYTE_ORDER_MARK, T
from ._writers import BLANK, Item, Message, aiterate, encode_json_lines, iterate, listed, on_one_line

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

# Blank lines sort before this, and lines that start with a visible character do not.
_VISIBLE = b"!"


class StreamDecoder(_decoder.StreamDecoder[T]):
    r"""Decode a stream of JSON lines, from chunks of any size.

    Args:
        type: what a line is decoded as: `ChatCompletionResponse`, `Envelope`, a Struct of your own,
            `msgspec.Raw` (a view of a line whose syntax was checked), or `bytes` (the line, not parsed).
        max_record_bytes: a longer line, not counting its ``\n``, is one bad record. It is reported as soon as it
            exceeds this, and the rest is skipped without being buffered. ``None`` for no limit.
        on_error: called with the `RecordError` for each bad record, instead of raising it; never with a `StreamError`.

    Raises:
        ValueError: `max_record_bytes` is below 1.

    >>> decoder = StreamDecoder()
    >>> [record.cost for record in decoder.feed(b'{"cost":1}\n{"co')]
    [1.0]
    >>> decoder.buffered
    4
    >>> decoder.feed(b'st":2}')
    []
    >>> [record.cost for record in decoder.finish()]
    [2.0]
    """

    _unit = "line"
    _format = msgspec.json
    _mark = BYTE_ORDER_MARK

    def _step(self) -> bool:
        buffer, start = self._buffer, self._pos
        stop = start + self._run_bytes
        end = buffer.rfind(b"\n", self._searched, stop) + 1
        if end <= start:
            return len(buffer) >= stop and self._take_record()
        file = BytesIO(buffer[start:end])
        if self._decode is not bytes:
            return self._take_run([*file], end, stop)
        lines = [*map(bytes.removesuffix, file, repeat(b"\n"))]
        count = len(lines)
        if buffer.find(b"\r", start, end) >= 0 or min(lines) < _VISIBLE:
            lines = [line for line in map(bytes.removesuffix, lines, repeat(b"\r")) if line.strip(BLANK)]
        self._pass(lines, count, end)
        return len(buffer) >= stop

    def _find_end(self) -> tuple[int, int]:
        end = self._buffer.find(b"\n", max(self._searched, self._pos)) + 1
        return (end - 1 if end else len(self._buffer)), end

    def _take(self, stop: int, end: int, failure: BaseException | None = None, *, cut: bool = False) -> None:
        line = bytes(self._buffer[self._pos : end])
        message = line.removesuffix(b"\n").removesuffix(b"\r")
        if message.strip(BLANK):
            # Decoded with its "\n", as on the fast path: the reason for an error depends on it.
            self._take_message(message if self._decode is bytes else line, end, failure, cut=cut, data=message)
        else:
            self._pass([], 1, end)


def iter_decode(
    source: Source,
    type: type[R] = ChatCompletionResponse,  # type: ignore[assignment]
    **options: Unpack[Options],
) -> Iterator[R]:
    r"""Iterate over the records of a binary file, or of an iterable of chunks.

    The options are those of `StreamDecoder`. A file is read with ``read1`` if it has one, which returns what a live
    pipe holds. The records that a chunk completed are yielded before the next chunk is requested. Records before an
    error are yielded before it is raised, and the following ``next()`` continues after it.

    Raises:
        TypeError: `source` is neither, but for example a path or a file opened as text.
        RecordError: from the iterator, as from `StreamDecoder`.
        StreamError: likewise, and at the end of a generator that has raised, because the stream was cut there.

    Exceptions from reading pass through.

    >>> [record.cost for record in iter_decode([b'{"cost":1}\n{"co', b'st":2}\n'])]
    [1.0, 2.0]
    """
    return _iterate.items(StreamDecoder(type, **options), source)


def aiter_decode(
    source: AsyncSource,
    type: type[R] = ChatCompletionResponse,  # type: ignore[assignment]
    **options: Unpack[Options],
) -> AsyncIterator[R]:
    """Iterate as `iter_decode` does, over an object with ``async read(n)`` or an async iterable of chunks.

    After a timeout around ``anext()`` you can continue to read from an `asyncio.StreamReader` or aiohttp's ``content``.
    It ends a source that is an async generator, such as httpx's ``aiter_bytes()``. Do not use one with a file that is
    read in a thread (anyio, aiofiles): the bytes that a cancelled ``read()`` took are lost.

    Raises:
        RuntimeError: from the iterator, if another task is waiting for its next chunk. Otherwise as `iter_decode`.
    """
    return _iterate.aitems(StreamDecoder(type, **options), source)


def iter_batches(
    source: Source,
    type: type[R] = ChatCompletionResponse,  # type: ignore[assignment]
    **options: Unpack[Options],
) -> Iterator[list[R]]:
    r"""Iterate over lists of the records that each chunk completed, so that one write can forward many records.

    No list is empty. A large chunk is decoded in pieces of 16 KiB, which keeps garbage collections rare. Otherwise as
    `iter_decode`.

    >>> [len(batch) for batch in iter_batches([b'{"cost":1}\n{"cost":2}\n{"co', b'st":3}\n'])]
    [2, 1]
    """
    return _iterate.items(StreamDecoder(type, **options), source, _iterate.batch)


def aiter_batches(
    source: AsyncSource,
    type: type[R] = ChatCompletionResponse,  # type: ignore[assignment]
    **options: Unpack[Options],
) -> AsyncIterator[list[R]]:
    """Iterate as `iter_batches` does, over the sources of `aiter_decode`, without an ``await`` for each record."""
    return _iterate.aitems(StreamDecoder(type, **options), source, _iterate.batch)


KEEP_ALIVE: bytes = b"\n"
"""What to write while there is nothing to send: a blank line, which readers skip."""

END: bytes = b""
"""What to write after the last record: nothing, since lines have no end mark."""


def encode(records: Iterable[Struct | Message]) -> bytes:
    r"""Encode records, or messages that are already encoded, as lines.

    A message that spans several lines is put on one by dropping the white space between its tokens. Other messages are
    written unchanged, without being parsed.

    Raises:
        msgspec.EncodeError: a record cannot be written, as in `json.encode`, or a message is blank, or has line
            breaks and is not JSON. The text starts with the record's number, from 1.
        TypeError: `records` is a single record or message, `str`, `dict`, or not iterable; a record is neither a
            Struct nor an encoded message, is an `Envelope`, or holds an object of a type that has no encoding.
        ValueError: a message is a view that has been released.

    >>> from chatcodec import ChatCompletionResponse
    >>> encode([ChatCompletionResponse(cost=0.25), b'{"cost":1.00}', b'{\n  "cost": 2.00\n}'])
    b'{"cost":0.25}\n{"cost":1.00}\n{"cost":2.00}\n'
    """
    return encode_json_lines(records if isinstance(records, list) else listed(records), 1)


def iter_encode(items: Iterable[Struct | Message | list[Item]]) -> Iterator[bytes]:
    r"""Encode records as they arrive: iterate over one chunk per item, each yielded at once.

    An item is a record, a message, or a list of them, such as `iter_batches` yields. An empty list yields no chunk.
    Nothing follows the last item, since `END` is empty here. Exceptions from `items` pass through.

    Raises:
        EncodeError, TypeError, ValueError: from the iterator, as in `encode`, with records numbered across all items.

    >>> from chatcodec import ChatCompletionResponse
    >>> list(iter_encode([ChatCompletionResponse(cost=0.5), [b'{"cost":1}', b'{"cost":2}']]))
    [b'{"cost":0.5}\n', b'{"cost":1}\n{"cost":2}\n']
    """
    return iterate(items, encode_json_lines, END)


def aiter_encode(items: AsyncIterable[Struct | Message | list[Item]]) -> AsyncIterator[bytes]:
    r"""Encode records as they arrive: iterate asynchronously over one chunk per item, each yielded at once.

    When it ends or is closed, it closes `items` if that is an async generator, or the generator that `aiter_decode` or
    `aiter_batches` reads from. A timeout around ``anext()`` ends it, as it ends any async generator.

    Otherwise as `iter_encode`.

    >>> import asyncio
    >>> async def costs():
    ...     yield b'{"cost":1}'
    ...     yield [b'{"cost":2}', b'{"cost":3}']
    >>> async def main():
    ...     return [chunk async for chunk in aiter_encode(costs())]
    >>> asyncio.run(main())
    [b'{"cost":1}\n', b'{"cost":2}\n{"cost":3}\n']
    """
    return aiterate(items, encode_json_lines, END)


def stamp(
    messages: Iterable[Buffer],
    type: type[E] = Envelope,  # type: ignore[assignment]
    *,
    on_error: Callable[[RecordError], object] | None = None,
    extra: Mapping[str, Any] | None = None,
    **changes: Unpack[Changes],
) -> tuple[list[E], bytes]:
    r"""Return an envelope for each message, and the messages as lines, with the same fields set in each.

    Like `chatcodec.json.stamp` for each message; each becomes one line, even if it had line breaks. White space and
    duplicates of untouched fields may remain.

    Args:
        messages: an iterable of JSON messages, such as a decoder of `bytes` or `msgspec.Raw` returns.
        type: `Envelope`, or a subclass with fields of your own.
        on_error: called with the `RecordError` for each bad message, which is left out; `index` is its number, from 1.
        extra: values by wire name, for fields that the record does not define. They are not checked.
        **changes: values for fields of the record, checked against its types; ``None`` removes a field.

    Raises:
        RecordError: a message is bad, and there is no `on_error`. Keys that are not UTF-8 may go undetected.
        msgspec.EncodeError: a value cannot be written, as in `chatcodec.json.encode`.
        TypeError, ValueError, BufferError: as in `chatcodec.json.stamp`, or `messages` is one message.

    >>> envelopes, lines = stamp([b'{"cost":0.25}', b'{ "cost": 1 }'], session_id="s-1")
    >>> [envelope.cost for envelope in envelopes]
    [0.25, 1.0]
    >>> lines
    b'{"cost":0.25,"sessionId":"s-1"}\n{"cost":1,"sessionId":"s-1"}\n'
    """
    envelopes, stamped = JSON.stamp_all(
        messages if isinstance(messages, list) else listed(messages), type, on_error, extra, changes
    )
    return envelopes, b"\n".join([*on_one_line(stamped), b""])
