r"""Streams of server-sent events (``text/event-stream``): one record an event, ``data: [DONE]`` at the end.

How a stream is cut into chunks never matters: any cut gives the same records and the same errors.

Lines and fields are those of the WHATWG HTML standard, section 9.2: ``\n``, ``\r\n`` and ``\r`` end a line, a blank
line ends an event, the ``data`` lines of an event are joined with ``\n``, comments and other fields are skipped,
and so is a byte order mark at the very start. Events without data, or with nothing but white space in it, are
keep-alives. An event of the type ``error`` is a bad record, whatever it holds; no other type means anything here.

``data: [DONE]`` is the clean end. A connection that is lost between two events looks like any other end, so a
stream whose last event is a record ends in a `RecordError`. Who reads from a provider that sends no such end adds
it: ``decoder.feed(END)`` before ``finish()``, or ``iter_decode(itertools.chain(chunks, [END]))``. Behind an event
that was told as bad the end is not asked for: providers close the stream there. What follows ``[DONE]`` is read as
before, so that streams recorded one behind the other read as one.

The standard drops an event that the stream ends in. Here it is decoded, as the last line without a newline is:
some servers end in ``data: [DONE]`` and no blank line, and a record that was cut does not decode.
"""

from __future__ import annotations

import re
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING, Any

from . import _patches, _stream, json
from ._stream import BATCH_BYTES, T
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
_DONE_DATA = b"[DONE]"
_LINE_ENDS = (b"\n", b"\r")
_LF, _CR = b"\n\r"
# The end of a line and the blank line behind it, whose own end may be "\r\n"; behind a line "\r\n" is one end.
_PAIRS = (b"\n\r", b"\n\n", b"\r\r")


class StreamDecoder(_stream.TextDecoder[T]):
    r"""Decode a stream of server-sent events, from chunks of any size.

    The `data` of its errors is the event's data, or the first bytes of an event that is too long.

    Args:
        type: what an event's data is decoded as: `ChatCompletionResponse`, `Envelope`, a Struct of your own,
            `msgspec.Raw` (a view of data whose syntax was checked), or `bytes` (the data as it came, unchecked).
        max_record_bytes: a longer event, its comments and line ends counted, is one bad record, told as soon as it
            is known, and is skipped without being held; ``None`` for no limit.
        on_error: is called with the `RecordError` of each bad record, in place of raising it.

    Raises:
        ValueError: `max_record_bytes` is below 1.

    >>> decoder = StreamDecoder()
    >>> [record.cost for record in decoder.feed(b': hello\n\ndata: {"cost":1}\n\ndata: {"co')]
    [1.0]
    >>> decoder.buffered
    10
    >>> [record.cost for record in decoder.feed(b'st":2}\n\n')]
    [2.0]
    >>> decoder.finish()
    Traceback (most recent call last):
    chatcodec.RecordError: event 4 at offset 45: stream ended without [DONE]
    """

    _unit = "event"

    def _reset(self) -> None:
        super()._reset()
        self._after_cr = False
        self._owes_done = False

    def feed(self, data: Buffer) -> list[T]:
        """Take the next chunk, of any size, and return the records that it completed.

        Raises:
            RecordError: an event is bad, and there is no `on_error`. The records before it are in its `records`.
                The chunk has been taken; the next call, with ``b""`` if need be, goes on behind it.
            TypeError: `data` has no buffer.
        """
        if self._ordinary and type(data) is bytes:
            tail = self._tail
            end = (data.rfind(b"\n\n") + 1 or -1) + 1
            rest = data[end:]
            if _CR in rest:
                end = _last_end(data, 0, len(data))
                rest = data[end:]
            size = len(tail) + (end or len(data))
            # Where a line has just ended, its blank line may be cut in two.
            if size <= self._limit and len(rest) <= self._limit and (end or tail[-1:] not in _LINE_ENDS):
                if not end:
                    self._hold(data)
                    return []
                try:
                    records = self._decode_whole(bytes(tail + data[:end]))
                except Exception:  # noqa: S110
                    pass  # told with its place by the long way, and not as the context of what that raises
                else:
                    self._tail = rest
                    self._offset += size
                    self._index += len(records)
                    return records
        return super().feed(data)

    def _decode_whole(self, run: bytes) -> list[T]:
        """Return the records of a run of whole events; raise if one is bad, or needs a look of its own."""
        messages, alive = _split(run)
        if self._decode is bytes and (_DONE_DATA in messages[:-1] or not all(map(bytes.strip, messages))):
            raise ValueError
        done = messages[-1:] == [_DONE_DATA]
        if done:
            messages.pop()
        records = messages if self._decode is bytes else list(map(self._decode, messages))
        if done or messages:
            self._owes_done = not done
        self._index += done + alive
        return records  # type: ignore[return-value]

    def _can_be_ordinary(self) -> bool:
        return not (self._at_start or self._skipping or self._after_cr)

    def _completes(self, chunk: bytes) -> bool:
        tail = self._tail
        return bool(
            self._skipping
            or self._at_start
            or len(tail) + len(chunk) > self._limit
            or (tail[-1:] in _LINE_ENDS and chunk[:1] in _LINE_ENDS)
            or _find_end(chunk, 0, len(chunk))[1]
        )

    def _decode_batch(self) -> bool:
        if (self._at_start and not self._pass_bom()) or (self._skipping and not self._pass_event()):
            return False
        if self._pass_blank_lines():
            return True
        data, start = self._data, self._pos
        # No event that ends in this window is too long, so that none of them needs a look.
        window = start + min(BATCH_BYTES, self._limit + 1)
        end = _last_end(data, start, window)
        if not end:
            stop, end = _find_end(data, window - 1, len(data))
            if stop - start > self._limit:
                self._refuse_long(start, end)
                return True
            if not end:
                return False
        self._look_for_cr(end)
        self._decode_run(end)
        return True

    def _decode_run(self, end: int) -> None:
        """Decode the events in `_data[_pos:end]`, and go behind them."""
        try:
            records = self._decode_whole(self._data[self._pos : end])
        except Exception:  # noqa: S110
            pass  # told with its place below, and not as the context of what is told
        else:
            self._records += records
            self._index += len(records)
            self._pos = end
            return
        self._decode_one_by_one(end)

    def _decode_one_by_one(self, end: int) -> None:
        """Decode `_data[_pos:end]` with an eye on each event; `_pos` goes along."""
        while (begin := self._pos) < end:
            self._pos = _event_end(self._data, begin, end)
            self._index += 1
            kind, data = _parse(self._data[begin : self._pos])
            message = b"\n".join(data)
            if kind == b"error":
                self._refuse(begin, "an event of the type error", message)
            elif message == _DONE_DATA:
                self._owes_done = False
            elif message.strip(_BLANK):
                self._owes_done = True
                self._decode_message(begin, message)

    def _refuse(self, begin: int, reason: str, data: bytes, cause: Exception | None = None) -> None:
        self._owes_done = False
        super()._refuse(begin, reason, data, cause)

    def _pass_event(self) -> bool:
        """Go behind the end of an event that is skipped; return False if that is still to come."""
        self._skip_to(_find_end(self._data, self._pos, len(self._data))[1])
        return not self._skipping

    def _skip_to(self, end: int) -> None:
        super()._skip_to(end)
        if not end:
            self._pos -= self._data.endswith(_LINE_ENDS)
        self._look_for_cr(end)

    def _pass_blank_lines(self) -> bool:
        """Go behind blank lines between events, each of them a keep-alive; return False if there are none."""
        if self._after_cr and not self._pos:
            self._after_cr = False
            self._pos = int(self._data.startswith(b"\n"))
        start = self._pos
        while self._data[self._pos : self._pos + 1] in _LINE_ENDS:
            self._pos = _event_end(self._data, self._pos, len(self._data))
            self._index += 1
            self._look_for_cr(self._pos)
        return self._pos > start

    def _look_for_cr(self, end: int) -> None:
        r"""Note whether the event that ends there ends in a ``\r`` whose ``\n`` may be in the next chunk."""
        self._after_cr = end == len(self._data) and self._data.endswith(b"\r")

    def _end(self) -> None:
        if self._tail:
            self._data, self._tail = bytes(self._tail), b""
            self._decode_one_by_one(len(self._data))
        if self._owes_done:
            self._index += 1
            self._refuse(self._pos, "stream ended without [DONE]", b"")


def _last_end(data: bytes, start: int, stop: int) -> int:
    r"""Return where the last event in `data[start:stop]` ends, with the ``\n`` of a last ``\r\n``; 0 for none."""
    found = -1
    for pair in _PAIRS if _CR in data else _PAIRS[1:2]:
        found = max(found, data.rfind(pair, max(found, start), stop))
    if found < 0:
        return 0
    return found + (3 if data[found + 1 : found + 3] == b"\r\n" else 2)


def _find_end(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """Return where the first blank line behind a line in `data[start:stop]` begins and ends; else `stop` and 0."""
    found = stop
    for pair in _PAIRS if data.find(b"\r", start, stop) >= 0 else _PAIRS[1:2]:
        at = data.find(pair, start, min(found + 1, stop))
        found = at if at >= 0 else found
    if found == stop:
        return stop, 0
    return found + 1, found + (3 if data[found + 1 : found + 3] == b"\r\n" else 2)


def _event_end(data: bytes, begin: int, end: int) -> int:
    """Return where the event ends that begins at `begin`, a blank line alone included; `end` if not before."""
    if data[begin] in (_LF, _CR):
        return begin + (2 if data[begin : begin + 2] == b"\r\n" else 1)
    return _find_end(data, begin, end)[1] or end


def _split(run: bytes) -> tuple[list[bytes], int]:
    """Return the data of events that have one line of it, and the number of events without data.

    Raises `ValueError` for other events, and for those of the type error.
    """
    end = b"\n\n" if run.endswith(b"\n\n") else b"\r\n\r\n"
    if not run.endswith(end):
        raise ValueError
    if run.startswith(b"data: "):
        # Most streams have no other fields, and this takes a third of the time of what follows.
        messages = run[6 : -len(end)].split(end + b"data: ")
        # One look at all of them: count() of the line ends would take four times as long.
        text = b"".join(messages)
        if _LF not in text and _CR not in text:
            return messages, 0
    if _CR in run:
        run = run.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if run.endswith(b"\n\n\n"):
        raise ValueError
    messages = []
    # What events have beside their data. There are few that differ, such as types, and so few to look at: an event
    # with a type takes 0.4 of the time that it would one by one.
    others = set()
    events = run[:-2].split(b"\n\n")
    for event in events:
        before, colon, value = event.partition(b"data:")
        message, _, behind = value.partition(b"\n")
        if colon:
            messages.append(message.removeprefix(b" "))
        others.add(before if colon else before + b"\n")
        if behind:
            others.add(behind + b"\n")
    if not all(map(_is_skipped, others)):
        raise ValueError
    return messages, len(events) - len(messages)


def _is_skipped(lines: bytes) -> bool:
    """Whether `lines`, of an event, are whole ones without a meaning, or none."""
    if not lines:
        return True
    kind, data = _parse(lines)
    return lines[0] != _LF and lines[-1] == _LF and kind != b"error" and not data


def _parse(event: bytes) -> tuple[bytes, list[bytes]]:
    """Return the type and the lines of data of an event."""
    kind = b""
    data = []
    # Of bytes, splitlines() takes the three line ends of the standard and no other.
    for line in event.splitlines():
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            kind = value.removeprefix(b" ")
    return kind, data


iter_decode = StreamDecoder.iter_decode
aiter_decode = StreamDecoder.aiter_decode

# What to write while there is nothing to send: a comment, which readers skip.
KEEP_ALIVE: bytes = b":\n\n"

# What to write after the last record: without it readers take the stream for cut.
END: bytes = b"data: [DONE]\n\n"

_LINE_BREAK = re.compile(rb"\r\n?|\n")


def encode(records: Iterable[Struct | Message]) -> bytes:
    r"""Encode records, or messages that are encoded already, as events. Write `END` after the last.

    A message that has line breaks (``\n``, ``\r\n`` or ``\r``) becomes an event with a ``data`` line for each of its
    lines; readers see each break as ``\n``. Messages are not parsed.

    Raises:
        msgspec.EncodeError: a record cannot be written, as in `json.encode`, or a message is blank, or is the
            ``[DONE]`` that would end the stream. The text starts with the record's number, from 1.
        TypeError: `records` is a single record or message, `str`, `dict`, or not iterable; a record is neither a
            Struct nor an encoded message, is an `Envelope`, or holds an object of a type that has no encoding.
        ValueError: a message is a view that has been released.

    >>> from chatcodec import ChatCompletionResponse
    >>> encode([ChatCompletionResponse(cost=0.25), b'{\n"cost":1.00}']) + END
    b'data: {"cost":0.25}\n\ndata: {\ndata: "cost":1.00}\n\ndata: [DONE]\n\n'
    """
    return _encode(records if type(records) is list else listed(records), 1)


def _encode(items: list[Any], first: int) -> bytes:
    rows = encode_plain(items, _rows)
    if rows is None or len(rows) != len(items):
        rows = [*map(_data, encoded(items, json.encode, first), count(first))]
    if not rows:
        return b""
    rows[0] = b"data: " + rows[0]
    rows[-1] += b"\n"
    return b"\ndata: ".join(rows)


def _rows(records: list[Any]) -> list[bytes]:
    """Return the line of each of the plain `records`; not one for each, if a view in one has brought line breaks."""
    lines = encode_lines(records)
    return [] if b"\r" in lines else [*BytesIO(lines)]


def _data(message: bytes, number: int) -> bytes:
    """Return what follows the first ``data:`` of the event that holds `message`, but for its blank line."""
    visible = message.strip(BLANK)
    if not visible:
        raise not_encoded(number, "a blank message is no record")
    if visible == b"[DONE]":
        raise not_encoded(number, "[DONE] would end the stream")
    if b"\n" in message or b"\r" in message:
        message = _LINE_BREAK.sub(b"\ndata: ", message)
    return message + b"\n"


def iter_encode(items: Iterable[Struct | Message | list[Item]]) -> Iterator[bytes]:
    r"""Encode records as they come: an iterator over one chunk per item, at once.

    An item is a record, a message, or a list of them, such as `iter_batches` gives. An empty list gives no chunk.
    `END` follows the last item, also where there was none. What `items` raises passes through, and `END` does not
    follow it.

    Raises:
        msgspec.EncodeError: from the iterator, as in `encode`; records are numbered through all items, from 1.
        TypeError: at once, where `items` are a single record or message, `str`, `dict`, or not iterable; from the
            iterator, as in `encode`.
        ValueError: from the iterator, as in `encode`.

    >>> from chatcodec import ChatCompletionResponse
    >>> list(iter_encode([ChatCompletionResponse(cost=0.5), [b'1', b'2']]))
    [b'data: {"cost":0.5}\n\n', b'data: 1\n\ndata: 2\n\n', b'data: [DONE]\n\n']
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
    ...     yield b'1'
    ...     yield [b'2', b'1']
    >>> asyncio.run(write(records()))
    [b'data: 1\n\n', b'data: 2\n\ndata: 1\n\n', b'data: [DONE]\n\n']
    """
    return aiterate(items, _encode, END)


def patch(messages: Iterable[Buffer], **changes: Unpack[_patches.Changes]) -> bytes:
    r"""Set the same fields in all of `messages`, and encode them as events.

    It returns what `encode` makes of ``json.patch(message, **changes)`` for each, in less time.

    Raises:
        msgspec.DecodeError: a message is bad, as for `json.patch`. The text has its number, from 1.
        msgspec.ValidationError: it is JSON, and no object.
        msgspec.EncodeError: a new value cannot be written, or a line end in a value would end the data.
        TypeError: a new value has a type that has no encoding, or `choices` is a view.

    >>> patch([b'{"cost":1.00}', b'{"stream":true}'], stream=None, session_id="s-1")
    b'data: {"cost":1.00,"sessionId":"s-1"}\n\ndata: {"sessionId":"s-1"}\n\n'
    """
    events = list(messages)
    lines = _patches.patch_lines(events, changes)
    if not lines or _CR in lines:
        return encode(_patches.patch_each(events, changes, json))
    return b"data: " + lines[:-1].replace(b"\n", b"\n\ndata: ") + b"\n\n"
