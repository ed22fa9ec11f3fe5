r"""Server-sent events as text: where they end, what they hold, how they are written (WHATWG HTML standard, 9.2)."""

from __future__ import annotations

import re
from io import BytesIO
from itertools import islice, takewhile
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
# Lines without data, but for those that make an event an error.
_OTHER_LINES = re.compile(rb"(?:(?:(?:event(?!: ?error\n)|id|retry)(?::[^\n]*)?|:[^\n]*)\n)*")
# The fields of an event stream; a comment is a line with an empty field name.
_FIELDS = {b"data", b"event", b"id", b"retry", b""}


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


def split(run: bytes) -> tuple[list[bytes], list[int], bool]:
    """Split a run of whole events, up to the first that needs the exact path.

    Return the data of the events that have some; for each event that has none, how many of these come before it; and
    whether the whole run was split.
    """
    end = b"\r\n\r\n" if run.endswith(b"\r\n\r\n") else b"\n\n"
    if run.startswith(b"data: "):
        # Most streams have no other fields, and this is three times faster than what follows.
        messages: list[bytes] = run[6 : -len(end)].split(end + b"data: ")
        text = b"".join(messages)
        if _LF not in text and _CR not in text:
            return messages, [], True
    if _CR in run:
        run = b"\n".join([*run.splitlines(), b""])  # splits bytes at the three line ends of the standard, and no other
    messages = []
    idle: list[int] = []
    known = {b""}  # they vary little
    for event in run[:-2].split(b"\n\n"):
        before, name, value = event.partition(b"data:")
        message, newline, after = value.partition(b"\n")
        others = before if name else event + b"\n"
        if (others not in known and not _OTHER_LINES.fullmatch(others)) or (
            newline and not _OTHER_LINES.fullmatch(after + newline)
        ):
            return messages, idle, False
        known.add(others)
        if name:
            messages.append(message.removeprefix(b" "))
        else:
            idle.append(len(messages))
    return messages, idle, True


def before_blank(messages: list[bytes]) -> list[bytes]:
    """Return `messages` up to the first that is not a record: a blank one, or ``[DONE]``."""
    if messages and min(messages) < b"{":  # JSON objects are always records, and other JSON is rare
        return [*takewhile(lambda message: message.strip(BLANK) not in (b"", DONE), messages)]
    return messages


def size_of(run: bytes, events: int) -> int:
    """Return the size of the first `events` events of `run`."""
    ends = (EVENT_END if _CR in run else _LF_EVENT_END).finditer(run)
    return max((end.end() for end in islice(ends, events)), default=0)


def parse(event: bytes) -> tuple[bytes, list[bytes], bool]:
    """Return the type of an event, its lines of data, and whether it has a line that is not of an event stream."""
    # splitlines() splits bytes at the three line ends of the standard, and no other.
    lines = [(name, value) for name, _, value in (line.partition(b":") for line in event.splitlines())]
    fields = dict(lines)
    data = [value.removeprefix(b" ") for name, value in lines if name == b"data"]
    return fields.get(b"event", b"").removeprefix(b" "), data, not fields.keys() <= _FIELDS


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
