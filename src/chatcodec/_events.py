r"""Server-sent events as text: where they end, what they hold, how they are written (WHATWG HTML standard, 9.2)."""

from __future__ import annotations

import re
from io import BytesIO
from itertools import islice
from typing import Any

from ._writers import BLANK, NO_RECORDS, encode_lines, encode_plain, json_messages

DONE = b"[DONE]"
_NO_RECORDS = {**NO_RECORDS, DONE: "[DONE] would end the stream"}
LINE_ENDS = (b"\n", b"\r")
# The end of a line, and the blank line that follows. "\r\n" is one line end.
EVENT_END = re.compile(rb"(?:\n(?=[\r\n])|\r(?=\r))(?:\r\n?|\n)")
_LF_EVENT_END = re.compile(rb"\n\n")  # for runs without "\r": at least seven times as fast

_LF, _CR = b"\n\r"
_LINE_BREAK = re.compile(rb"\r\n?|\n")
# The fields of an event stream besides data; a comment is a line with an empty field name.
_KNOWN_FIELDS = (b"event", b"id", b"retry", b"")


def last_end(data: bytes | bytearray, start: int, stop: int) -> int:
    """Return the end of the last event that ends in `data[start:stop]`; 0 if none does."""
    if data.find(b"\r", start, stop) < 0:
        found = data.rfind(b"\n\n", start, stop)
        return found + 2 if found >= 0 else 0
    found = -1
    for pair in (b"\n\r", b"\n\n", b"\r\r"):
        found = max(found, data.rfind(pair, max(found, start), stop))
    if found < 0:
        return 0
    return found + (3 if data[found + 1 : found + 3] == b"\r\n" else 2)


def split(run: bytes) -> tuple[list[bytes], bool]:
    """Return the data of the events in a run, up to the first that needs the exact path, and whether there is none."""
    end = b"\r\n\r\n" if run.endswith(b"\r\n\r\n") else b"\n\n"
    if run.startswith(b"data: "):
        # Most streams have no other fields, and this is three times faster than what follows.
        messages: list[bytes] = run[6 : -len(end)].split(end + b"data: ")
        text = b"".join(messages)
        if _LF not in text and _CR not in text:
            return messages, True
    if _CR in run:
        run = b"\n".join([*run.splitlines(), b""])  # splits bytes at the three line ends of the standard, and no other
    messages = []
    # Whether an event with these bytes around its data is a record. They vary little, so few events have to be parsed.
    known: dict[tuple[bytes, ...], bool] = {}
    for event in run[:-2].split(b"\n\n"):
        before, name, value = event.partition(b"data:")
        message, newline, after = value.partition(b"\n")
        shape = before, name, newline, after
        if shape not in known:
            known[shape] = _is_record(event, before)
        if not known[shape]:
            return messages, False
        messages.append(message.removeprefix(b" "))
    return messages, True


def _is_record(event: bytes, before: bytes) -> bool:
    """Return whether `event` is a record with one line of data, which follows `before`."""
    kind, data, _ = parse(event)
    # Extra blank lines count as events of their own.
    return kind != b"error" and len(data) == 1 and before[-1:] in (b"", b"\n") and _LF not in (event[0], event[-1])


def before_blank(messages: list[bytes]) -> list[bytes]:
    """Return `messages` up to the first that is not a record: a blank one, or ``[DONE]``."""
    if not _may_be_blank(messages):
        return messages
    found = (number for number, message in enumerate(messages) if message.strip(BLANK) in (b"", DONE))
    return messages[: next(found, len(messages))]


def _may_be_blank(messages: list[bytes]) -> bool:
    """Whether any of `messages` might not be a record. JSON objects always are, and other JSON is rare."""
    return bool(messages) and min(messages) < b"{"


def size_of(run: bytes, events: int) -> int:
    """Return the size of the first `events` events of `run`."""
    ends = (EVENT_END if _CR in run else _LF_EVENT_END).finditer(run)
    return max((end.end() for end in islice(ends, events)), default=0)


def parse(event: bytes) -> tuple[bytes, list[bytes], bool]:
    """Return the type of an event, its lines of data, and whether it has a line that is not of an event stream."""
    kind = b""
    data: list[bytes] = []
    foreign = False
    # splitlines() splits bytes at the three line ends of the standard, and no other.
    for line in event.splitlines():
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            kind = value.removeprefix(b" ")
        elif name not in _KNOWN_FIELDS:
            foreign = True
    return kind, data, foreign


def encode_events(items: list[Any], first: int) -> bytes:
    """Encode records and messages as events; `first` is the number of the first."""
    lines = encode_plain(items, encode_lines)
    # A view in a record's choices can hold line breaks.
    if lines is not None and _CR not in lines:
        rows = [*BytesIO(lines)]
        if len(rows) == len(items):
            return b"data: " + b"\ndata: ".join(rows) + b"\n" if rows else b""
    return b"data: " + b"\n\ndata: ".join(json_messages(items, first, _NO_RECORDS, _data)) + b"\n\n"


def _data(message: bytes, _: int) -> bytes:
    """Return `message` as it stands in an event after the first ``data: ``, without its last line end."""
    return _LINE_BREAK.sub(b"\ndata: ", message)
