r"""Streams of JSON lines (NDJSON, JSON Lines): one record a line.

How a stream is cut into chunks never matters: any cut gives the same records and the same errors.

Only ``\n`` ends a line, and one ``\r`` before it is dropped. U+2028 and its like are text. Lines of nothing but
spaces, tabs and ``\r`` are keep-alives, and a byte order mark at the very start is skipped.
"""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from itertools import count, repeat
from typing import TYPE_CHECKING, Any

import msgspec

from . import _patches, _stream, json
from ._errors import decode_error
from ._stream import BATCH_BYTES, SHORT_TAIL, T
from ._writers import BLANK, Item, Message, aiterate, encode_lines, encode_plain, encoded, iterate, listed, not_encoded

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

_BLANK = b" \t\r\n"
_LF, _CR = b"\n\r"
_VISIBLE = b"!"
_LONG_LINE = 800
_SMALL_CHUNK = 8192
_OPEN, _CLOSE = b"{}"


class StreamDecoder(_stream.TextDecoder[T]):
    r"""Decode a stream of JSON lines, from chunks of any size.

    Args:
        type: what a line is decoded as: `ChatCompletionResponse`, `Envelope`, a Struct of your own,
            `msgspec.Raw` (a view of a line whose syntax was checked), or `bytes` (the line as it came, unchecked).
        max_record_bytes: a longer line is one bad record, told as soon as it is known, and is skipped without
            being held; ``None`` for no limit.
        on_error: is called with the `RecordError` of each bad record, in place of raising it.

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

    def _reset(self) -> None:
        super()._reset()
        # Whether lines were short in the last large chunk: then they are decoded one by one.
        self._short = True
        self._small = 0 if self._decode is bytes else min(_SMALL_CHUNK, self._limit)

    def feed(self, data: Buffer) -> list[T]:
        """Take the next chunk, of any size, and return the records that it completed.

        Raises:
            RecordError: a line is bad, and there is no `on_error`. The records before it are in its `records`.
                The chunk has been taken; the next call, with ``b""`` if need be, goes on behind it.
            TypeError: `data` has no buffer.
        """
        # Small chunks have a way of their own here: it saves a tenth of what one of 1,400 bytes takes.
        if self._ordinary and type(data) is bytes:
            if len(data) <= self._small:
                # One call for what rfind() and two slices would give.
                head, newline, rest = data.rpartition(b"\n")
                if head and head[-1] != _LF:
                    run = self._tail + head
                    size = len(run) + 1
                    # In so few bytes no line is too long, whole or not.
                    if size <= self._limit:
                        decode = self._decode
                        try:
                            # One line needs no cutting: 4 % of a record of 3 kB.
                            records = [*map(decode, BytesIO(run))] if _LF in head else [decode(run)]
                        except Exception:  # noqa: S110
                            pass  # told with its place by the long way, and not as the context of what that raises
                        else:
                            self._tail = rest
                            self._offset += size
                            self._index += len(records)
                            return records
                elif not newline and (size := len(self._tail) + len(data)) <= self._limit:
                    if size <= SHORT_TAIL:
                        self._tail += data
                    else:
                        self._hold(data)
                    return []
            else:
                much = self._cut_much(data) if self._decode is bytes else self._decode_much(data)
                if much is not None:
                    return much
        return super().feed(data)

    def _decode_much(self, data: bytes) -> list[T] | None:
        """Do as `feed` where all is in order; else return None, with nothing changed."""
        size = len(self._tail)
        # In so few bytes no line is too long, whole or not.
        if size + len(data) > self._limit:
            return None
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data)
            return []
        size += end
        try:
            if self._short:
                # Here the lines before `end` are read in place, where a run to decode costs a copy: 3 % of a delta.
                # To truncate is free unless it is to less than half.
                lines = BytesIO(data)
                lines.truncate(end)
                first = self._decode(b"".join((self._tail, lines.readline())))
                records = [first, *map(self._decode, lines)]
            else:
                records = self._decode_long(b"".join((self._tail, memoryview(data)[:end])))
        except Exception:
            return None  # told with its place by the long way, and not as the context of what that raises
        self._tail = data[end:]
        self._offset += size
        self._index += len(records)
        self._short = size < _LONG_LINE * len(records)
        return records

    def _cut_much(self, data: bytes) -> list[Any] | None:
        """Do as `_decode_much`, for lines that stay bytes."""
        size = len(self._tail) + len(data)
        if size > self._limit:
            return None
        lines: list[Any] = data.split(b"\n")
        rest = lines.pop()
        if not lines:
            self._hold(data)
            return []
        lines[0] = b"".join((self._tail, lines[0]))
        self._tail = rest
        self._offset += size - len(rest)
        self._index += len(lines)
        return _messages(lines, data)

    def _decode_long(self, run: bytes) -> list[T]:
        # decode_lines() takes two records on a line, and one spread over lines, so its result needs a proof. That
        # costs 150 ns a line, and saves 12 % of the whole at 2 kB a line; below 800 bytes it costs more than it saves.
        if lines := _count_objects(run):
            records: list[T] = self._decoder.decode_lines(run)
            if len(records) == lines:
                return records
        # BytesIO makes each line as it is wanted, so that all of them use the same memory.
        return [*map(self._decode, BytesIO(run))]

    def _can_be_ordinary(self) -> bool:
        return not (self._at_start or self._skipping)

    def _completes(self, chunk: bytes) -> bool:
        return b"\n" in chunk or len(self._tail) + len(chunk) > self._limit

    def _decode_batch(self) -> bool:
        if (self._at_start and not self._pass_bom()) or (self._skipping and not self._pass_line()):
            return False
        data, start = self._data, self._pos
        # No line that ends in this window is too long, so that none of them needs a look.
        window = start + min(BATCH_BYTES, self._limit + 1)
        end = data.rfind(b"\n", start, window) + 1 or data.find(b"\n", window) + 1
        if (end - 1 if end else len(data)) - start > self._limit:
            self._refuse_long(start, end)
        elif not end:
            return False
        else:
            self._decode_run(end)
        return True

    def _decode_run(self, end: int) -> None:
        """Decode the lines in `_data[_pos:end]`, and go behind them."""
        start, decode = self._pos, self._decode
        run = self._data[start:end]
        if decode is bytes:
            lines = run.split(b"\n")
            lines.pop()
            self._records += _messages(lines, run)  # type: ignore[arg-type]
            self._index += len(lines)
            self._pos = end
            return
        file = BytesIO(run)
        while self._pos < end:
            records: list[T] = []
            alive = 0
            line = b""
            # Left over is a bad line, told with its place below, and not as the context of what is told.
            with suppress(Exception):
                for line in file:
                    if line >= _VISIBLE or line.strip(_BLANK):
                        records.append(decode(line))
                    else:
                        alive += 1
                line = b""
            self._records += records
            self._index += alive + len(records) + bool(line)
            self._pos = start + file.tell()
            if line:
                self._decode_message(self._pos - len(line), line[:-1].removesuffix(b"\r"))

    def _pass_line(self) -> bool:
        """Go behind the end of a line that is skipped; return False if that is still to come."""
        self._skip_to(self._data.find(b"\n", self._pos) + 1)
        return not self._skipping

    def _end(self) -> None:
        if self._tail:
            self._data, self._tail = bytes(self._tail) + b"\n", b""


def _count_objects(block: bytes) -> int:
    """Return how many lines `block` has if each starts with a brace and ends with one; else 0.

    No newline between two such lines is inside a value: a string cannot hold one, and in an object or an array a
    comma would stand beside it. So if `block` holds as many values as lines, each line holds one.
    """
    lines = at = 0
    while at < len(block):
        end = block.find(b"\n", at)
        if block[at] != _OPEN or block[end - 1] != _CLOSE:
            return 0
        lines += 1
        at = end + 1
    return lines


def _messages(lines: list[bytes], block: bytes) -> list[bytes]:
    r"""Return `lines`, the first and what `block` has of others, without the ``\r`` of ``\r\n`` and blank ones."""
    # What is blank sorts before all that is not: one call, where a look at each line takes twice as long.
    if _CR not in block and _CR not in lines[0] and min(lines) >= _VISIBLE:
        return lines
    lines = [*map(bytes.removesuffix, lines, repeat(b"\r"))]
    return [line for line in lines if line >= _VISIBLE or line.strip(_BLANK)]


iter_decode = StreamDecoder.iter_decode
aiter_decode = StreamDecoder.aiter_decode

# What to write while there is nothing to send: a blank line, which readers skip.
KEEP_ALIVE: bytes = b"\n"

# What to write after the last record: nothing, since lines have no end mark.
END: bytes = b""


def encode(records: Iterable[Struct | Message]) -> bytes:
    r"""Encode records, or messages that are encoded already, as lines.

    A message that is spread over lines is put on one: white space between its tokens is dropped. Other messages are
    written unchanged, and unparsed.

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
    return _encode(records if type(records) is list else listed(records), 1)


def _encode(items: list[Any], first: int) -> bytes:
    lines = encode_plain(items, encode_lines)
    # A view in a record's choices can hold line breaks. BytesIO splits in a third of the time of count().
    if lines is not None and len([*BytesIO(lines)]) == len(items):
        return lines
    messages = encoded(items, json.encode, first)
    lines = b"\n".join([*messages, b""])
    # strip() without an argument takes all that is blank, and more.
    if len([*BytesIO(lines)]) != len(items) or not all(map(bytes.strip, messages)):
        lines = b"\n".join([*map(_one_line, messages, count(first)), b""])
    return lines


def _one_line(message: bytes, number: int) -> bytes:
    if not message.strip(BLANK):
        raise not_encoded(number, "a blank message is no record")
    if b"\n" not in message:
        return message
    try:
        return msgspec.json.format(message, indent=-1)
    except Exception as error:
        failure = error
    # Outside the `except`, or `failure`, which can hold the data, would be the context.
    cause = decode_error(failure.with_traceback(None))
    raise not_encoded(number, f"line breaks in what is not JSON: {cause}") from cause


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
    >>> list(iter_encode([ChatCompletionResponse(cost=0.5), [b'{"cost":1}', b'{"cost":2}']]))
    [b'{"cost":0.5}\n', b'{"cost":1}\n{"cost":2}\n']
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
    ...     yield b'{"cost":1}'
    ...     yield [b'{"cost":2}', b'{"cost":1}']
    >>> asyncio.run(write(records()))
    [b'{"cost":1}\n', b'{"cost":2}\n{"cost":1}\n']
    """
    return aiterate(items, _encode, END)


def patch(messages: Iterable[Buffer], **changes: Unpack[_patches.Changes]) -> bytes:
    r"""Set the same fields in all of `messages`, and encode them as lines.

    It returns what `encode` makes of ``json.patch(message, **changes)`` for each, in less time.

    Raises:
        msgspec.DecodeError: a message is bad, as for `json.patch`. The text has its number, from 1.
        msgspec.ValidationError: it is JSON, and no object.
        msgspec.EncodeError: a new value cannot be written, or a newline in a value would end the line.
        TypeError: a new value has a type that has no encoding, or `choices` is a view.

    >>> patch([b'{"cost":1.00}', b'{"stream":true,"sessionId":"s-0"}'], session_id="s-1")
    b'{"cost":1.00,"sessionId":"s-1"}\n{"stream":true,"sessionId":"s-1"}\n'
    """
    lines = list(messages)
    return _patches.patch_lines(lines, changes) or encode(_patches.patch_each(lines, changes, json))
