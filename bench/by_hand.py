"""What users write by hand with msgspec, orjson, ormsgpack and pydantic, where the work takes more than one call."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from struct import Struct as Layout
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import ormsgpack
from msgspec import Raw
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from bench.measure import own_code

if TYPE_CHECKING:
    from collections.abc import Callable

    # What is read from a message: its cost and its session.
    Read = tuple[float | None, str | None]
    Stamp = Callable[[bytes], tuple[Read, bytes]]

LATENCY = 12.5  # the value that is stamped
HEADER = Layout(">I")


class Model(BaseModel):
    """The record, as FastAPI users write it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")

    timestamp: datetime | None = None
    generation_id: str | None = None
    session_id: str | None = None
    choices: list[dict[str, Any]] | None = None
    stream: bool | None = None
    cost: float | None = None
    latency: float | None = None


def model_dump(model: Model) -> bytes:
    """Encode a model."""
    return model.model_dump_json(by_alias=True, exclude_none=True).encode()


unpack = partial(ormsgpack.unpackb, option=ormsgpack.OPT_DATETIME_AS_TIMESTAMP_EXT)
pack = partial(ormsgpack.packb, option=ormsgpack.OPT_DATETIME_AS_TIMESTAMP_EXT)


def frame(message: bytes) -> bytes:
    """Return a message with its length before it."""
    return HEADER.pack(len(message)) + message


class Lines:
    """Splits lines with `bytes.split`, without limits, positions or errors."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completed."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line for line in lines if line]


class Events:
    """Splits events with `bytes.split`, which works while each is one ``data`` line and lines end with a line feed."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that `data` completed."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        return [event[6:] for event in events if event.startswith(b"data: {")]


class Frames:
    """Splits frames in a loop over their lengths."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that `data` completed."""
        self._buffer += data
        buffer, start, messages = self._buffer, 0, []
        while len(buffer) - start >= 4:
            end = start + 4 + HEADER.unpack_from(buffer, start)[0]
            if len(buffer) < end:
                break
            messages.append(bytes(buffer[start + 4 : end]))
            start = end
        del buffer[:start]
        return messages


def dict_setter(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], name: str = "latency") -> Any:
    """Return a function that sets a field of a message, decoded to a dict."""

    def set_field(message: bytes) -> bytes:
        fields = decode(message)
        fields[name] = LATENCY
        return encode(fields)

    return own_code(set_field)


def dict_stamper(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], name: str = "latency") -> Stamp:
    """Return a function that reads cost and session of a message, decoded to a dict, and sets a field."""

    def stamp(message: bytes) -> tuple[Read, bytes]:
        fields = decode(message)
        read = fields.get("cost"), fields.get("sessionId")
        fields[name] = LATENCY
        return read, encode(fields)

    return own_code(stamp)


def raw_stamper(module: Any, name: str = "latency") -> Stamp:
    """Return one that does the same with a dict of views, decodes the two values, and keeps the other bytes."""
    decode_fields = module.Decoder(dict[str, Raw]).decode
    decode_cost, decode_session = module.Decoder(float | None).decode, module.Decoder(str | None).decode
    encode = module.Encoder().encode

    def stamp(message: bytes) -> tuple[Read, bytes]:
        fields = decode_fields(message)
        cost, session = fields.get("cost"), fields.get("sessionId")
        read = cost and decode_cost(cost), session and decode_session(session)
        fields[name] = LATENCY
        return read, encode(fields)

    return own_code(stamp)


def stamp_model(message: bytes) -> tuple[Read, bytes]:
    """Do the same with pydantic."""
    model = Model.model_validate_json(message)
    model.latency = LATENCY
    return (model.cost, model.session_id), model_dump(model)


JSON_STAMPS: dict[str, Stamp] = {
    "msgspec, dict[str, Raw]": raw_stamper(msgspec.json),
    "orjson": dict_stamper(orjson.loads, orjson.dumps),
    "pydantic": stamp_model,
}
