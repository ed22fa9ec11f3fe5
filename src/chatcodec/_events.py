r"""Server-sent events as text: where they end, and what they hold (WHATWG HTML standard, section 9.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ._writers import BLANK

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE = b"[DONE]"
LINE_ENDS = (b"\n", b"\r")
# The end of a line that a blank line follows, and that blank line. "\r\n" is one end.
EVENT_END = re.compile(rb"(?:\n(?=[\r\n])|\r(?=\r))(?:\r\n?|\n)")

_LF, _CR = b"\n\r"
# The fields of an event stream beside data, and the name that a comment has.
_KNOWN_FIELDS = (b"event", b"id", b"retry", b"")


def last_end(data: bytes | bytearray, start: int, stop: int) -> int:
    """Return where the last event that ends in `data[start:stop]` ends; 0 if none does."""
    found = -1
    if data.find(b"\r", start, data.find(b"\n", start, stop)) >= 0:
        found = data.rfind(b"\n\r", start, stop)  # first, as there may be no other pair in all the data
    found = max(found, data.rfind(b"\n\n", max(found, start), stop))
    if data.find(b"\r", max(found + 1, start), stop) >= 0:
        found = max(found, data.rfind(b"\n\r", max(found, start), stop), data.rfind(b"\r\r", max(found, start), stop))
    if found < 0:
        return 0
    return found + (3 if data[found + 1 : found + 3] == b"\r\n" else 2)


def split(run: bytes) -> tuple[list[bytes], Sequence[int], int]:
    """Split a run of whole events, up to one that only the exact path can take.

    Return the data of those that have some, the number of each among all, from 0, and how many they are. Where it
    stopped at an event, that one's number comes last.
    """
    end = b"\r\n\r\n" if run.endswith(b"\r\n\r\n") else b"\n\n"
    if run.startswith(b"data: "):
        # Most streams have no other fields, and this is three times faster than what follows.
        messages = run[6 : -len(end)].split(end + b"data: ")
        text = b"".join(messages)
        if _LF not in text and _CR not in text:
            return messages, range(len(messages)), len(messages)
    if end == b"\n\n" and _CR in run:
        return [], (0,), 0
    messages = []
    numbers = []
    # Lines beside data. Few of them differ, as types do, so that few have to be parsed.
    known = {b""}
    number = 0
    for number, event in enumerate(run[: -len(end)].split(end)):
        if not event or event[-1:] == b"\r":
            break
        before, colon, value = event.partition(b"data:")
        if not colon:
            if event not in known and not _is_keep_alive(event):
                break
            known.add(event)
            continue
        message, newline, after = value.partition(b"\n")
        if newline:
            message = message.removesuffix(b"\r")
            after += b"\n"
        if before not in known or after not in known:
            if not (_is_ignored(before) and _is_ignored(after)):
                break
            known |= {before, after}
        if _CR in message:
            break
        messages.append(message.removeprefix(b" "))
        numbers.append(number)
    else:
        return messages, numbers, number + 1
    return messages, [*numbers, number], number


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
    data = []
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
