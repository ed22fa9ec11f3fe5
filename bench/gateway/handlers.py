"""What the gateway can do with what passes through it, with chatcodec and with what users would pick instead.

A case's handler takes a whole body, or is made anew for each stream: a callable that takes what has arrived and
returns what is to be sent on.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import orjson
import ormsgpack
import pydantic
from msgspec import Meta, Raw, Struct
from pydantic.alias_generators import to_camel

from chatcodec import ChatCompletionResponse, Envelope, json, msgpack, ndjson, transcode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Handler = Callable[[bytes], bytes]

SESSION, LATENCY = "gateway-session-0001", 12.5
COST = b'"cost":'  # what the last line of a stream alone has, and no text: a quote inside one is escaped


class RawResponse(Struct, rename="camel", kw_only=True, omit_defaults=True):
    """The record, its choices spliced in as they came."""

    timestamp: Annotated[datetime, Meta(tz=True)] | None = None
    generation_id: str | None = None
    session_id: str | None = None
    choices: Raw = Raw()
    stream: bool | None = None
    cost: float | None = None
    latency: float | None = None


class Model(pydantic.BaseModel):
    """The record, as FastAPI users write it."""

    model_config = pydantic.ConfigDict(alias_generator=to_camel, extra="allow")
    timestamp: pydantic.AwareDatetime | None = None
    generation_id: str | None = None
    session_id: str | None = None
    choices: list[dict[str, Any]] | None = None
    stream: bool | None = None
    cost: float | None = None
    latency: float | None = None


_dump = partial(Model.model_dump_json, by_alias=True, exclude_none=True)


def _stamp(body: bytes) -> bytes:
    return json.patch(body, session_id=SESSION, latency=LATENCY)


def _stamped_by_structs(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> Handler:
    def stamp(body: bytes) -> bytes:
        record = decode(body)
        record.session_id = SESSION
        record.latency = LATENCY
        return encode(record)

    return stamp


def _stamped_by_dicts(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> Handler:
    def stamp(body: bytes) -> bytes:
        fields = decode(body)
        fields["sessionId"] = SESSION
        fields["latency"] = LATENCY
        return encode(fields)

    return stamp


_encode = msgspec.json.Encoder().encode
_decode_record = msgspec.json.Decoder(ChatCompletionResponse).decode

STAMPS: dict[str, Handler] = {
    "chatcodec": _stamp,
    "msgspec": _stamped_by_structs(_decode_record, _encode),
    "msgspec, choices Raw": _stamped_by_structs(msgspec.json.Decoder(RawResponse).decode, _encode),
    "msgspec, dict[str, Raw]": _stamped_by_dicts(msgspec.json.Decoder(dict[str, Raw]).decode, _encode),
    "orjson": _stamped_by_dicts(orjson.loads, orjson.dumps),
    "pydantic": _stamped_by_structs(Model.model_validate_json, lambda model: _dump(model).encode()),
}

TRANSCODERS: dict[str, Handler] = {
    "chatcodec": transcode.json_to_msgpack,
    "msgspec": lambda body: msgpack.encode(_decode_record(body)),
    "orjson": lambda body: ormsgpack.packb(orjson.loads(body)),
    "pydantic": lambda body: ormsgpack.packb(
        Model.model_validate_json(body).model_dump(mode="json", by_alias=True, exclude_none=True)
    ),
}


def lines_of_chatcodec() -> Handler:
    """Stamp the lines of a chunk in one go."""
    decoder = ndjson.StreamDecoder(bytes)
    return lambda data: ndjson.stamp(decoder.feed(data), session_id=SESSION, latency=LATENCY)[1]


def last_of_chatcodec() -> Handler:
    """Look for a cost in all lines of a chunk at once, and stamp the line that has it."""
    decoder = ndjson.StreamDecoder(bytes)

    def stamp(data: bytes) -> bytes:
        lines = ndjson.encode(decoder.feed(data))
        at = len(lines)
        while (at := lines.rfind(COST, 0, at)) >= 0:
            start, end = lines.rfind(b"\n", 0, at) + 1, lines.index(b"\n", at)
            lines = lines[:start] + _stamp(lines[start:end]) + lines[end:]
            at = start
        return lines

    return stamp


def meter_of_chatcodec() -> Handler:
    """Read envelopes beside the chunk, which goes on as it came."""
    decoder = ndjson.StreamDecoder(Envelope)

    def meter(data: bytes) -> bytes:
        _total(envelope.cost for envelope in decoder.feed(data))
        return data

    return meter


def _total(costs: Iterable[float | None]) -> float:
    return sum(cost for cost in costs if cost)


def _cut(rest: bytes, data: bytes) -> tuple[list[bytes], bytes]:
    *lines, rest = (rest + data).split(b"\n")
    return lines, rest


class LinesOfPeer:
    """Split by hand, and stamp each line."""

    def __init__(self, stamp: Handler) -> None:
        self._stamp, self._rest = stamp, b""

    def __call__(self, data: bytes) -> bytes:
        """Take what has arrived, and return what is to be sent on."""
        lines, self._rest = _cut(self._rest, data)
        return b"".join([self._stamp(line) + b"\n" for line in lines])


class LastOfPeer:
    """Split by hand, read each line, and stamp the one with a cost."""

    def __init__(self, decode: Callable[[bytes], Any], cost: Callable[[Any], Any], stamp: Handler) -> None:
        self._decode, self._cost, self._stamp, self._rest = decode, cost, stamp, b""

    def __call__(self, data: bytes) -> bytes:
        """Take what has arrived, and return what is to be sent on."""
        lines, self._rest = _cut(self._rest, data)
        return b"".join(
            [(self._stamp(line) if self._cost(self._decode(line)) is not None else line) + b"\n" for line in lines]
        )


class MeterOfPeer:
    """Split by hand, and read each line beside the chunk, which goes on as it came."""

    def __init__(self, decode: Callable[[bytes], Any], cost: Callable[[Any], Any]) -> None:
        self._decode, self._cost, self._rest = decode, cost, b""

    def __call__(self, data: bytes) -> bytes:
        """Take what has arrived, and return what is to be sent on."""
        lines, self._rest = _cut(self._rest, data)
        _total([self._cost(self._decode(line)) for line in lines])
        return data


READERS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], Any]]] = {
    "msgspec": (_decode_record, lambda record: record.cost),
    "msgspec, choices Raw": (msgspec.json.Decoder(RawResponse).decode, lambda record: record.cost),
    "orjson": (orjson.loads, lambda fields: fields.get("cost")),
    "pydantic": (Model.model_validate_json, lambda model: model.cost),
}


def _pass(body: bytes) -> bytes:
    return body


FLOOR = "untouched"

# Whole bodies: contenders by case.
WHOLE: dict[str, dict[str, Handler]] = {
    "stamp a whole response": {FLOOR: _pass, **STAMPS},
    "JSON in, MessagePack out": {FLOOR: _pass, **TRANSCODERS},
}
# Streams: what makes a contender's handler, by case.
STREAMS: dict[str, dict[str, Callable[[], Handler]]] = {
    "stamp every line of 200": {
        FLOOR: lambda: _pass,
        "chatcodec": lines_of_chatcodec,
        **{name: partial(LinesOfPeer, stamp) for name, stamp in STAMPS.items() if name != "chatcodec"},
    },
    "read 200 lines, stamp the last": {
        FLOOR: lambda: _pass,
        "chatcodec": last_of_chatcodec,
        **{name: partial(LastOfPeer, *reader, STAMPS[name]) for name, reader in READERS.items()},
    },
    "read 200 lines beside the stream": {
        FLOOR: lambda: _pass,
        "chatcodec": meter_of_chatcodec,
        **{name: partial(MeterOfPeer, *reader) for name, reader in READERS.items()},
    },
}
CASES = [*WHOLE, *STREAMS]


def contenders(case: str) -> list[str]:
    """Return the names of those that handle `case`, the floor first."""
    return list(WHOLE.get(case) or STREAMS[case])


def handler(case: str, contender: str) -> Handler:
    """Return what handles one response of `case`."""
    return WHOLE[case][contender] if case in WHOLE else STREAMS[case][contender]()
