"""Workloads on single messages: decode, encode, peek, transcode."""

from __future__ import annotations

import json as stdlib
from functools import partial
from typing import TYPE_CHECKING, Any

import fastsimdjson
import msgpack as msgpack_peer
import msgspec
import orjson
import ormsgpack
import simdjson
from pydantic import BaseModel

from bench import by_hand
from bench.measure import Contender, Workload, as_record, each, one_by_one, own_code
from chatcodec import ChatCompletionResponse, Envelope, json, msgpack, transcode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Call = Callable[..., Any]

SIX = ("timestamp", "generationId", "sessionId", "stream", "cost", "latency")


def workloads(corpus: str, lines: list[bytes]) -> Iterator[Workload]:
    """Yield the workloads on `lines`, which are messages in JSON."""
    records = [json.decode(line) for line in lines]
    packed = [msgpack.encode(record) for record in records]
    models = [by_hand.Model.model_validate_json(line) for line in lines]
    dicts = [orjson.loads(line) for line in lines]
    count = len(lines)

    def workload(name: str, *contenders: Contender, plain: Any = as_record) -> Workload:
        return Workload(name, corpus, count, list(contenders), plain)

    yield workload(
        "json.decode",
        *_limit(msgspec.json.Decoder(ChatCompletionResponse).decode, lines),
        one_by_one("chatcodec", json.decode, lines),
        one_by_one("orjson, to dicts", orjson.loads, lines),
        one_by_one("fastsimdjson, to dicts", fastsimdjson.loads, lines),
        one_by_one("pydantic", by_hand.Model.model_validate_json, lines),
        one_by_one("json, to dicts", stdlib.loads, lines),
    )
    yield workload(
        "msgpack.decode",
        *_limit(msgspec.msgpack.Decoder(ChatCompletionResponse).decode, packed),
        one_by_one("chatcodec", msgpack.decode, packed),
        one_by_one("ormsgpack, to dicts", by_hand.unpack, packed),
        one_by_one("msgpack, to dicts", lambda data: msgpack_peer.unpackb(data, timestamp=3), packed),
    )
    yield workload(
        "json.encode",
        *_limit(msgspec.json.Encoder().encode, records),
        one_by_one("chatcodec", json.encode, records),
        Contender("orjson, from dicts", each(orjson.dumps, dicts), lambda: map(orjson.dumps, dicts)),
        Contender("pydantic", each(by_hand.model_dump, models), lambda: map(by_hand.model_dump, models)),
        Contender("json, from dicts", each(stdlib.dumps, dicts), lambda: map(stdlib.dumps, dicts)),
    )
    yield workload(
        "msgpack.encode",
        *_limit(msgspec.msgpack.Encoder().encode, records),
        one_by_one("chatcodec", msgpack.encode, records),
        Contender("ormsgpack, from dicts", each(ormsgpack.packb, dicts), lambda: map(ormsgpack.packb, dicts)),
        Contender("msgpack, from dicts", each(msgpack_peer.packb, dicts), lambda: map(msgpack_peer.packb, dicts)),
    )
    for codec, name in ((json, "json"), (msgpack, "msgpack")):
        yield workload(f"{name}.encode_into", *_encode_into(getattr(msgspec, name).Encoder(), codec, records))
    yield workload(
        "json.peek",
        *_limit(msgspec.json.Decoder(Envelope).decode, lines),
        one_by_one("chatcodec", json.peek, lines),
        one_by_one("fastsimdjson parse", lambda line: _read_six(fastsimdjson.parse(line).get), lines),
        one_by_one("pysimdjson", _pysimdjson(simdjson.Parser()), lines),
        one_by_one("orjson", orjson.loads, lines),
        one_by_one("pydantic", by_hand.Model.model_validate_json, lines),
        plain=_six,
    )
    yield workload(
        "msgpack.peek",
        *_limit(msgspec.msgpack.Decoder(Envelope).decode, packed),
        one_by_one("chatcodec", msgpack.peek, packed),
        one_by_one("ormsgpack", by_hand.unpack, packed),
        plain=_six,
    )
    yield workload(
        "json_to_msgpack",
        one_by_one(
            "msgspec, parsed once, unchecked", _through(msgspec.json.Decoder(), msgspec.msgpack.Encoder()), lines
        ),
        one_by_one("chatcodec", transcode.json_to_msgpack, lines),
        one_by_one("orjson + ormsgpack, unchecked", lambda line: ormsgpack.packb(orjson.loads(line)), lines),
    )
    yield workload(
        "msgpack_to_json",
        one_by_one(
            "msgspec, parsed once, unchecked", _through(msgspec.msgpack.Decoder(), msgspec.json.Encoder()), packed
        ),
        one_by_one("chatcodec", transcode.msgpack_to_json, packed),
        one_by_one("ormsgpack + orjson, unchecked", lambda data: orjson.dumps(by_hand.unpack(data)), packed),
    )


def _limit(call: Call, items: list[Any]) -> list[Contender]:
    """Return two lower bounds: the bare call, and the least for a library in Python, a function around that call."""

    def function(item: Any) -> Any:
        return call(item)

    return [one_by_one("msgspec", call, items), one_by_one("msgspec, in a Python function", own_code(function), items)]


def _through(decoder: Any, encoder: Any) -> Call:
    decode, encode = decoder.decode, encoder.encode
    return own_code(lambda message: encode(decode(message)))


def _encode_into(encoder: Any, codec: Any, records: list[Any]) -> list[Contender]:
    buffer = bytearray(64 * 1024)

    def through(encode_into: Call) -> Call:
        def run(record: Any) -> bytes:
            encode_into(record, buffer)
            return bytes(buffer)

        return run

    return [
        Contender(name, each(_into(encode_into, buffer), records), partial(map, through(encode_into), records))
        for name, encode_into in (("msgspec", encoder.encode_into), ("chatcodec", codec.encode_into))
    ]


def _into(encode_into: Call, buffer: bytearray) -> Call:
    return own_code(lambda record: encode_into(record, buffer))


def _read_six(get: Call) -> tuple[Any, ...]:
    return get("timestamp"), get("generationId"), get("sessionId"), get("stream"), get("cost"), get("latency")


def _pysimdjson(parser: Any) -> Call:
    return lambda line: _read_six(parser.parse(line).get)


def _six(result: Any) -> bytes:
    """Return six fields as bytes, which are equal if the fields are."""
    if isinstance(result, tuple):
        result = dict(zip(SIX, result, strict=True))
    elif isinstance(result, (Envelope, BaseModel)):
        names = ("timestamp", "generation_id", "session_id", "stream", "cost", "latency")
        result = {wire: getattr(result, name) for wire, name in zip(SIX, names, strict=True)}
    return as_record({name: result.get(name) for name in SIX})
