"""What a stream means, read from the specifications alone: slow, simple, and apart from the library.

Lines are split at newlines, frames by their lengths, and events as section 9.2.6 of the WHATWG HTML standard says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest.mock import ANY

from msgspec import DecodeError, Raw, ValidationError

from .support import BOM, EVENTS, FRAMES, LINES, Bad, Framing, plain

LINE_END = re.compile(rb"[\r\n]")
NO_EVENT_STREAM = "no line of an event stream"


class Block(NamedTuple):
    """A line, a frame or an event: where it starts, what the limit counts of it, and what it says."""

    offset: int
    size: int
    raw: bytes
    message: bytes | None  # None for a keep-alive
    ended: bool
    kind: bytes = b""  # the event's type
    foreign: bool = False  # it has lines of no event stream, and no data


def blocks_of_lines(data: bytes) -> Iterator[Block]:
    at = len(BOM) * data.startswith(BOM)
    while at < len(data):
        found = data.find(b"\n", at)
        end = len(data) if found < 0 else found
        line = data[at:end]
        message = line.removesuffix(b"\r")
        yield Block(at, len(line), line, message if message.strip(b" \t\r") else None, found >= 0)
        at = end + 1


def blocks_of_frames(data: bytes) -> Iterator[Block]:
    at = 0
    while at < len(data):
        header = data[at : at + 4]
        size = int.from_bytes(header, "big") if len(header) == 4 else 0
        body = data[at + 4 : at + 4 + size]
        ended = len(header) == 4 and len(body) == size
        yield Block(at, size, b"", None if ended and not size else body, ended)
        at += 4 + size


def blocks_of_events(data: bytes) -> Iterator[Block]:
    """Read line after line, each ended by CR LF, LF or CR, and dispatch at blank lines."""
    at = len(BOM) * data.startswith(BOM)
    while at < len(data):
        start, begin, kind, values, foreign, ended = at, at, b"", [], False, False
        while at < len(data) and not ended:
            begin = at
            end = LINE_END.search(data, at)
            at = end.start() if end else len(data)
            line = data[begin:at]
            at = min(len(data), at + (2 if data[at : at + 2] == b"\r\n" else 1))
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if not line:
                ended = True
            elif name == b"data":
                values.append(value)
            elif name == b"event":
                kind = value
            else:
                foreign = foreign or name not in (b"", b"id", b"retry")
        size = (begin if ended else len(data)) - start
        joined = b"\n".join(values)
        message = joined if joined.strip(b" \t\r\n") else None
        yield Block(start, size, data[start:at], message, ended, kind, foreign and not values)


HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")  # of a surrogate pair
BLOCKS = {LINES: blocks_of_lines, FRAMES: blocks_of_frames, EVENTS: blocks_of_events}


def decoded(framing: Framing, block: Block, type: Any) -> tuple[Any, str, Any]:
    """Return the record of a block, or what kind of error it is and why."""
    message = block.message
    try:
        if not block.ended and type is bytes:
            framing.codec.decode(HALF.sub(rb"\\nxxxx", message or b""), Raw)  # which is good syntax
        elif not block.ended:
            framing.codec.decode(block.raw if framing is LINES else message, type)  # a "\r" counts for the reason
        record = message if type is bytes else plain(framing.codec.decode(message, type))
    except DecodeError as error:
        if block.ended:
            return (None, "invalid", str(error)) if isinstance(error, ValidationError) else (None, "malformed", ANY)
        return None, "incomplete", ANY if framing is FRAMES or HALF.search(message or b"") else str(error)
    return (None, "incomplete", ANY) if framing is FRAMES and not block.ended else (record, "", "")


def expected(
    framing: Framing, data: bytes, type: Any, max_record_bytes: int | None = None, *, require_done: bool = True
) -> list[Any]:
    """Return what `support.outcome` is to return for a stream in one chunk. What no specification says is `ANY`."""
    seen: list[Any] = []
    longest = min(1024, max_record_bytes or 1024)
    index, empty, missing_end, broken = 0, True, False, False

    def report(kind: str, reason: Any = ANY, data: Any = ANY) -> None:
        seen.append(Bad(kind, framing.unit, index, block.offset, reason, data))

    for index, block in enumerate(BLOCKS[framing](data), 1):  # noqa: B007
        message = block.message
        if max_record_bytes and block.size > max_record_bytes:
            report("too_long", data=block.raw[:longest])
            missing_end = True
            if broken := not block.ended:
                report("incomplete")
        elif framing is EVENTS and block.kind == b"error":
            report("upstream", data=ANY if message is None else message[:longest])
            missing_end = False
        elif block.foreign:
            report("malformed" if block.ended else "incomplete", NO_EVENT_STREAM, block.raw[: min(block.size, longest)])
            missing_end, broken = True, not block.ended
        elif message is None:
            continue
        elif framing is EVENTS and message.strip(b" \t\r\n") == b"[DONE]":
            missing_end = False
        else:
            missing_end = True
            record, kind, reason = decoded(framing, block, type)
            broken = kind == "incomplete"
            if kind:
                report(kind, reason, message[:longest])
            else:
                seen.append(record)
        empty = False
    if framing is EVENTS and not broken and (empty or (missing_end and require_done)):
        seen.append(Bad("incomplete", "event", index + 1, len(data), ANY, ANY))
    return seen
