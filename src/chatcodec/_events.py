r"""Server-sent events as text: where they end, what they hold, how they are written (WHATWG HTML standard, 9.2)."""

from __future__ import annotations

import re
from io import BytesIO
from itertools import count
from typing import Any

from . import json
from ._writers import BLANK, encode_lines, encode_plain, encoded, not_encoded

DONE = b"[DONE]"
LINE_ENDS = (b"\n", b"\r")
# The end of a line that a blank line follows, and that blank line. "\r\n" is one end.
EVENT_END = re.compile(rb"(?:\n(?=[\r\n])|\r(?=\r))(?:\r\n?|\n)")

_LF, _CR = b"\n\r"
_LINE_BREAK = re.compile(rb"\r\n?|\n")
# The fields of an event stream beside data, and the name that a comment has.
_KNOWN_FIELDS = (b"event", b"id", b"retry", b"")


def last_end(data: bytes | bytearray, start: int, stop: int) -> int:
    """Return where the last event that ends in `data[start:stop]` ends; 0 if none does."""
    found = -1
    if data.find(b"\r", start, data.find(b"\n", start, stop)) < 0:
        found = data.rfind(b"\n\n", start, stop)
        # After it there is mostly no other line end.
        if data.find(b"\r", max(start, found), stop) < 0:
            return found + 2 if found >= 0 else 0
    for pair in (b"\n\r", b"\n\n", b"\r\r"):
        found = max(found, data.rfind(pair, max(found, start), stop))
    if found < 0:
        return 0
    return found + (3 if data[found + 1 : found + 3] == b"\r\n" else 2)


def split(run: bytes) -> tuple[list[bytes], list[int], bool]:
    """Split a run of whole events, up to one that only the exact path can take.

    Return the data of those that have some, the numbers, from 0, of those that have none, and whether these are all.
    """
    end = b"\r\n\r\n" if run.endswith(b"\r\n\r\n") else b"\n\n"
    if run.startswith(b"data: "):
        # Most streams have no other fields, and this is three times faster than what follows.
        messages: list[bytes] = run[6 : -len(end)].split(end + b"data: ")
        text = b"".join(messages)
        if _LF not in text and _CR not in text:
            return messages, [], True
    crlf = _CR in run
    if crlf and end == b"\n\n":
        return [], [], False
    messages = []
    idle: list[int] = []
    # Lines beside data. Few of them differ, as types do, so that few have to be parsed.
    known = {b""}
    for event in run[: -len(end)].split(end):
        before, colon, value = event.partition(b"data:")
        message, newline, after = value.partition(b"\n")
        if newline:
            after += b"\n"
        if crlf:
            message = message.removesuffix(b"\r") if newline else message
            if event[-1:] == b"\r" or _CR in message:
                break
        if not colon:
            if not _is_keep_alive(event):
                break
            idle.append(len(messages) + len(idle))
            continue
        if before not in known or after not in known:
            if not (_is_ignored(before) and _is_ignored(after)):
                break
            known |= {before, after}
        messages.append(message.removeprefix(b" "))
    else:
        return messages, idle, True
    return messages, idle, False


def size_of(run: bytes, events: int) -> int:
    """Return the size of so many events at the start of `run`."""
    end = b"\r\n\r\n" if run.endswith(b"\r\n\r\n") else b"\n\n"
    size = 0
    for _ in range(events):
        size = run.index(end, size) + len(end)
    return size


def _is_ignored(lines: bytes) -> bool:
    """Whether `lines` beside data are whole ones, and change nothing."""
    if not lines:
        return True
    kind, data, _ = parse(lines)
    return lines.endswith(b"\n") and b"" not in lines.splitlines() and kind != b"error" and not data


def _is_keep_alive(event: bytes) -> bool:
    """Whether the lines of `event`, without the end of the last, are comments or fields without a meaning."""
    lines = event + b"\n"
    return _is_ignored(lines) and not parse(lines)[2]


def count_records(messages: list[bytes]) -> int:
    """Return how many of `messages` come before one that is no record: blank, or the end."""
    found = (number for number, message in enumerate(messages) if message.strip(BLANK) in (b"", DONE))
    return next(found, len(messages))


def parse(event: bytes) -> tuple[bytes, list[bytes], bool]:
    """Return the type of an event, its lines of data, and whether it has a line that is none of an event stream."""
    kind = b""
    data: list[bytes] = []
    foreign = False
    # Of bytes, splitlines() takes the three line ends of the standard and no other.
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
    rows = encode_plain(items, _rows)
    if rows and len(rows) == len(items):
        return b"data: " + b"\ndata: ".join(rows) + b"\n"
    messages = encoded(items, json.encode, first)
    text = b"".join(messages)
    visible = [*map(bytes.strip, messages)]
    if _LF in text or _CR in text or DONE in visible or not all(visible):
        messages = [*map(_data, messages, count(first))]
    return b"data: " + b"\n\ndata: ".join(messages) + b"\n\n" if messages else b""


def _rows(records: list[Any]) -> list[bytes]:
    """Return the line of each of the plain `records`; not one for each, if a view in one has brought line breaks."""
    lines = encode_lines(records)
    return [] if b"\r" in lines else [*BytesIO(lines)]


def _data(message: bytes, number: int) -> bytes:
    """Return what follows the first ``data:`` of the event that holds `message`, but for its last line end."""
    visible = message.strip(BLANK)
    if not visible:
        raise not_encoded(number, "a blank message is no record")
    if visible == DONE:
        raise not_encoded(number, "[DONE] would end the stream")
    if b"\n" in message or b"\r" in message:
        message = _LINE_BREAK.sub(b"\ndata: ", message)
    return message
