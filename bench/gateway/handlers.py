"""A gateway's job, with chatcodec and with what users would write by hand instead.

The job: read the cost and the session of each response, stamp a field on it, and forward it. A handler takes a whole
body, or a piece of a stream, and returns the bytes to forward. It adds what it has read to a `Meter`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ormsgpack

from bench import by_hand
from bench.by_hand import LATENCY
from chatcodec import Envelope, json, msgpack, ndjson, transcode

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.by_hand import Stamp

    Handler = Callable[[bytes], bytes]
    Make = Callable[["Meter"], Handler]

COST = b'"cost":'  # only in the last line of a stream, and never inside text, where quotes are escaped
FLOOR = "untouched"
LINES = 200


class Meter:
    """What was read: the total cost, and the session of the last message that had a cost."""

    def __init__(self) -> None:
        self.cost = 0.0
        self.session: str | None = None

    def add(self, cost: float | None, session: str | None) -> None:
        """Count a response, or a chunk of one."""
        if cost is not None:
            self.cost += cost
            self.session = session


def untouched(_: Meter) -> Handler:
    """Forward, and do nothing else."""
    return lambda body: body


def whole_of_chatcodec(meter: Meter) -> Handler:
    """Stamp a whole response."""

    def handle(body: bytes) -> bytes:
        envelope, body = json.stamp(body, latency=LATENCY)
        meter.add(envelope.cost, envelope.session_id)
        return body

    return handle


def whole_by_hand(stamp: Stamp, meter: Meter) -> Handler:
    """Do the same by hand."""

    def handle(body: bytes) -> bytes:
        (cost, session), body = stamp(body)
        meter.add(cost, session)
        return body

    return handle


def packed_by_chatcodec(meter: Meter) -> Handler:
    """Turn JSON into MessagePack, and read that, which costs less than reading the JSON."""

    def handle(body: bytes) -> bytes:
        packed = transcode.json_to_msgpack(body)
        envelope = msgpack.peek(packed)
        meter.add(envelope.cost, envelope.session_id)
        return packed

    return handle


def packed_by_hand(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], meter: Meter) -> Handler:
    """Do the same by hand, unchecked."""

    def handle(body: bytes) -> bytes:
        fields = decode(body)
        meter.add(fields.get("cost"), fields.get("sessionId"))
        return encode(fields)

    return handle


def packed_by_pydantic(meter: Meter) -> Handler:
    """Do the same with models."""

    def handle(body: bytes) -> bytes:
        model = by_hand.Model.model_validate_json(body)
        meter.add(model.cost, model.session_id)
        return ormsgpack.packb(model.model_dump(mode="json", by_alias=True, exclude_none=True))

    return handle


def lines_of_chatcodec(meter: Meter) -> Handler:
    """Stamp the lines of a chunk in one call."""
    decoder = ndjson.StreamDecoder(bytes)

    def handle(data: bytes) -> bytes:
        envelopes, lines = ndjson.stamp(decoder.feed(data), Envelope, latency=LATENCY)
        for envelope in envelopes:
            meter.add(envelope.cost, envelope.session_id)
        return lines

    return handle


def lines_by_hand(stamp: Stamp, meter: Meter) -> Handler:
    """Split by hand, and stamp each line."""
    feed = by_hand.Lines().feed

    def handle(data: bytes) -> bytes:
        lines = []
        for line in feed(data):
            (cost, session), stamped = stamp(line)
            meter.add(cost, session)
            lines.append(stamped + b"\n")
        return b"".join(lines)

    return handle


def last_of_chatcodec(meter: Meter) -> Handler:
    """Read each line, and stamp the one with a cost."""
    decoder = ndjson.StreamDecoder(bytes)

    def handle(data: bytes) -> bytes:
        lines = decoder.feed(data)
        for number, line in enumerate(lines):
            if json.peek(line).cost is not None:
                lines[number] = _stamped(line, meter)
        return ndjson.encode(lines)

    return handle


def found_by_chatcodec(meter: Meter) -> Handler:
    """Search for a cost in all lines of a chunk at once, from the end; read and stamp the line that has one."""
    decoder = ndjson.StreamDecoder(bytes)

    def handle(data: bytes) -> bytes:
        chunk = ndjson.encode(decoder.feed(data))
        at = chunk.rfind(COST)
        if at < 0:
            return chunk
        start, end = chunk.rfind(b"\n", 0, at) + 1, chunk.index(b"\n", at)
        return chunk[:start] + _stamped(chunk[start:end], meter) + chunk[end:]

    return handle


def _stamped(line: bytes, meter: Meter) -> bytes:
    envelope, line = json.stamp(line, latency=LATENCY)
    meter.add(envelope.cost, envelope.session_id)
    return line


def last_by_hand(read: Callable[[bytes], Any], stamp: Stamp, meter: Meter) -> Handler:
    """Split by hand, read each line, and stamp the one with a cost."""
    feed = by_hand.Lines().feed

    def handle(data: bytes) -> bytes:
        lines = []
        for line in feed(data):
            stamped = line
            if read(line) is not None:
                (cost, session), stamped = stamp(line)
                meter.add(cost, session)
            lines.append(stamped + b"\n")
        return b"".join(lines)

    return handle


def found_by_hand(stamp: Stamp, meter: Meter) -> Handler:
    """Do the same by hand, without splitting lines."""
    rest = b""

    def handle(data: bytes) -> bytes:
        nonlocal rest
        data = rest + data
        length = data.rfind(b"\n") + 1
        chunk, rest = data[:length], data[length:]
        at = chunk.rfind(COST)
        if at < 0:
            return chunk
        start, end = chunk.rfind(b"\n", 0, at) + 1, chunk.index(b"\n", at)
        (cost, session), stamped = stamp(chunk[start:end])
        meter.add(cost, session)
        return chunk[:start] + stamped + chunk[end:]

    return handle
