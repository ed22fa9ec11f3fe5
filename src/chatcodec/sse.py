r"""Streams of server-sent events (``text/event-stream``): one record per event, ``data: [DONE]`` at the end.

How a stream is cut into chunks never matters: any cut gives the same records and the same errors.

Lines and fields are those of the WHATWG HTML standard, section 9.2: ``\n``, ``\r\n`` and ``\r`` end a line, a blank
line ends an event, the ``data`` lines of an event are joined with ``\n``, and comments, other fields, and a byte order
mark at the very start are skipped. Events whose data is missing or only white space are keep-alives.

A broken stream never passes as a whole one:

- A stream must end in ``data: [DONE]``, since a connection lost between two events looks like any other end. One that
  ends after a record, or has no event but keep-alives, is a `StreamError`. ``require_done=False`` is for providers that
  do not send ``[DONE]``. A record after ``[DONE]`` is read, and another ``[DONE]`` has to follow it.
- With an event of type ``error`` the provider reports a failure, which is a `StreamError` with the event's data. No
  ``[DONE]`` has to follow. Events of any other type are read as usual.
- An event without data is a bad record if it has a line that is not of an event stream (HTML, a JSON body).

The standard discards an incomplete last event. Here it is decoded, like a last line without a newline, because some
servers send no blank line after ``data: [DONE]``. If the event was cut, it does not decode, which is a `StreamError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from . import _decoder, _iterate
from ._events import DONE, EVENT_END, LINE_ENDS, before_blank, encode_events, last_end, parse, size_of, split
from ._patch import JSON
from ._record import ChatCompletionResponse, Envelope
from ._records import BYTE_ORDER_MARK, MAX_RECORD_BYTES, T
from ._writers import BLANK, Item, Message, aiterate, iterate, listed, on_one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    from msgspec import Struct
    from typing_extensions import Buffer, Unpack

    from ._codec import E
    from ._errors import RecordError
    from ._iterate import AsyncSource, Source
    from ._iterate import EventOptions as Options
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


class StreamDecoder(_decoder.StreamDecoder[T]):
    r"""Decode a stream of server-sent events, from chunks of any size.

    The `data` of its errors is the event's data, or the first bytes of an event that is too long or has no data.

    Args:
        type: what an event's data is decoded as: `ChatCompletionResponse`, `Envelope`, a Struct of your own,
            `msgspec.Raw` (a view of data whose syntax was checked), or `bytes` (the data, not parsed).
        max_record_bytes: a longer event, comments and line ends included, is one bad record. It is reported as soon
            as it exceeds this, and the rest is skipped without being buffered. ``None`` for no limit.
        on_error: called with the `RecordError` for each bad record, instead of raising it; never with a `StreamError`.
        require_done: whether a stream that does not end in ``data: [DONE]`` is broken.

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
    chatcodec.StreamError: event 4 at offset 45: stream ended without [DONE]
    """

    _unit = "event"
    _format = msgspec.json
    _mark = BYTE_ORDER_MARK
    _line_ends = LINE_ENDS
    _without_record = "stream ended without an event"

    def __init__(
        self,
        type: type[T] = ChatCompletionResponse,  # type: ignore[assignment]
        *,
        max_record_bytes: int | None = MAX_RECORD_BYTES,
        on_error: Callable[[RecordError], object] | None = None,
        require_done: bool = True,
    ) -> None:
        self._after_record = "stream ended without [DONE]" if require_done else ""
        super().__init__(type, max_record_bytes=max_record_bytes, on_error=on_error)

    def _step(self) -> bool:
        buffer, start = self._buffer, self._pos
        stop = start + self._run_bytes
        end = last_end(buffer, max(start, self._searched - 1), stop)
        if not end:
            return (len(buffer) >= stop or buffer[start : start + 1] in LINE_ENDS) and self._take_record()
        run = bytes(buffer[start:end])
        messages, idle, whole = split(run)
        if self._decode is bytes:
            count = len(messages)
            messages = before_blank(messages)  # no other type decodes what is not a record
            whole = whole and len(messages) == count
        if not whole:
            events, end = self._locate(messages, len(messages), end, idle)
            del idle[events - len(messages) :]
        return self._take_run(messages, end, stop, idle, whole=whole)

    def _locate(self, messages: list[bytes], count: int, end: int, idle: Sequence[int]) -> tuple[int, int]:
        events = count + sum(before <= count for before in idle)
        return events, self._pos + size_of(bytes(self._buffer[self._pos : end]), events)

    def _find_end(self) -> tuple[int, int]:
        buffer, start = self._buffer, self._pos
        if buffer[start : start + 1] in LINE_ENDS and self._skipped is None:
            return start, start + 1  # a blank line counts as an event
        found = EVENT_END.search(buffer, max(start, self._searched - 1))
        return (found.start() + 1, found.end()) if found else (len(buffer), 0)

    def _take(self, stop: int, end: int, failure: BaseException | None = None, *, cut: bool = False) -> None:
        start = self._pos
        text = bytes(self._buffer[start:stop])
        kind, data, foreign = parse(text)
        message = b"\n".join(data)
        visible = message.strip(BLANK)
        if kind != b"error" and visible not in (b"", DONE):
            self._take_message(message, end, failure, cut=cut)
            return
        self._pass([], 1, end)
        if kind == b"error":
            self._report("upstream", start, "an error event from upstream", message)
        elif not data and foreign:
            self._report("incomplete" if cut else "malformed", start, "no line of an event stream", text)
        elif visible:
            self._missing = ""


def iter_decode(
    source: Source,
    type: type[R] = ChatCompletionResponse,  # type: ignore[assignment]
    **options: Unpack[Options],
) -> Iterator[R]:
    r"""Iterate over the records of a binary file of events, or of an iterable of chunks.

    The options are those of `StreamDecoder`; otherwise as `chatcodec.ndjson.iter_decode`.

    >>> [record.cost for record in iter_decode([b'data: {"cost":1}\n\n', b"data: [DONE]\n\n"])]
    [1.0]
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


KEEP_ALIVE: bytes = b":\n\n"
"""What to write while there is nothing to send: a comment, which readers skip."""

END: bytes = b"data: [DONE]\n\n"
"""What to write after the last record: without it, readers take the stream to be cut."""


def encode(records: Iterable[Struct | Message]) -> bytes:
    r"""Encode records, or messages that are already encoded, as events. Write `END` after the last.

    A message that has line breaks (``\n``, ``\r\n`` or ``\r``) becomes an event with a ``data`` line for each of its
    lines; readers see each break as ``\n``. Messages are not parsed.

    Raises:
        msgspec.EncodeError: a record cannot be written, as in `json.encode`, or a message is blank, or is the
            ``[DONE]`` that would end the stream. The text starts with the record's number, from 1.
        TypeError, ValueError: as in `chatcodec.ndjson.encode`.

    >>> from chatcodec import ChatCompletionResponse
    >>> encode([ChatCompletionResponse(cost=0.25), b'{\n"cost":1.00}']) + END
    b'data: {"cost":0.25}\n\ndata: {\ndata: "cost":1.00}\n\ndata: [DONE]\n\n'
    """
    return encode_events(records if isinstance(records, list) else listed(records), 1)


def iter_encode(items: Iterable[Struct | Message | list[Item]]) -> Iterator[bytes]:
    r"""Encode records as they arrive: iterate over one chunk per item, each yielded at once.

    As `chatcodec.ndjson.iter_encode`, but `END` comes last, even if there is no item; it does not follow an error.

    >>> from chatcodec import ChatCompletionResponse
    >>> list(iter_encode([ChatCompletionResponse(cost=0.5), [b'1', b'2']]))
    [b'data: {"cost":0.5}\n\n', b'data: 1\n\ndata: 2\n\n', b'data: [DONE]\n\n']
    """
    return iterate(items, encode_events, END)


def aiter_encode(items: AsyncIterable[Struct | Message | list[Item]]) -> AsyncIterator[bytes]:
    """Encode records as they arrive, as `iter_encode` and `chatcodec.ndjson.aiter_encode` do."""
    return aiterate(items, encode_events, END)


def stamp(
    messages: Iterable[Buffer],
    type: type[E] = Envelope,  # type: ignore[assignment]
    *,
    on_error: Callable[[RecordError], object] | None = None,
    extra: Mapping[str, Any] | None = None,
    **changes: Unpack[Changes],
) -> tuple[list[E], bytes]:
    r"""Return an envelope for each message, and the messages as events, with the same fields set in each.

    Like `chatcodec.ndjson.stamp`, with the same arguments and errors, but the messages are written as events.

    >>> envelopes, events = stamp([b'{"cost":0.25}', b'{"stream":true}'], session_id="s-1", stream=None)
    >>> [envelope.cost for envelope in envelopes]
    [0.25, None]
    >>> events
    b'data: {"cost":0.25,"sessionId":"s-1"}\n\ndata: {"sessionId":"s-1"}\n\n'
    """
    envelopes, stamped = JSON.stamp_all(
        messages if isinstance(messages, list) else listed(messages), type, on_error, extra, changes
    )
    return envelopes, b"".join([b"data: %b\n\n" % line for line in on_one_line(stamped)])
