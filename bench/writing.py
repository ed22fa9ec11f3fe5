"""Workloads that write streams: `encode`, `iter_encode` and `aiter_encode`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import ormsgpack

from bench import by_hand
from bench.measure import Contender, Workload, as_record, batched, drive, each, own_code
from chatcodec import frames, json, msgpack, ndjson, sse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    Write = Callable[[list[Any]], bytes]
    Chunks = Callable[[list[Any]], list[bytes]]

FRAMINGS = {"ndjson": ndjson, "sse": sse, "frames": frames}
TOGETHER = (1, 100)
ITEMS = 200
PER_BATCH = 20


def workloads(corpus: str, lines: list[bytes]) -> Iterator[Workload]:
    """Yield the workloads that write the records in `lines`, which are messages in JSON."""
    records = [json.decode(line) for line in lines]
    packed = [msgpack.encode(record) for record in records]
    dicts = [orjson.loads(line) for line in lines]
    encode_json, encode_msgpack = msgspec.json.Encoder().encode, msgspec.msgpack.Encoder().encode
    encode_lines = msgspec.json.Encoder().encode_lines
    of_records: dict[str, list[tuple[str, Write, list[Any]]]] = {
        "ndjson": [
            ("msgspec encode_lines", encode_lines, records),
            ("chatcodec", ndjson.encode, records),
            ("msgspec, joined by hand", _lines(encode_json), records),
            ("orjson, joined by hand, from dicts", _lines(orjson.dumps), dicts),
        ],
        "sse": [
            ("msgspec encode_lines, no events", encode_lines, records),
            ("chatcodec", sse.encode, records),
            ("msgspec, joined by hand", _events(encode_json), records),
            ("orjson, joined by hand, from dicts", _events(orjson.dumps), dicts),
        ],
        "frames": [
            ("msgspec, joined by hand", _frames(encode_msgpack), records),
            ("chatcodec", frames.encode, records),
            ("ormsgpack, joined by hand, from dicts", _frames(ormsgpack.packb), dicts),
        ],
    }
    for name, framing in FRAMINGS.items():
        for number in TOGETHER:
            writers = [
                _writer(framing, title, write, batched(items, number)) for title, write, items in of_records[name]
            ]
            title = f"{name}.encode, {number} {'records' if number > 1 else 'record'}"
            yield Workload(title, corpus, len(lines), writers, as_record)
        messages = batched(packed if framing is frames else lines, 100)
        joined = {"ndjson": _lines, "sse": _events, "frames": _frames}[name](_same)
        yield Workload(
            f"{name}.encode, 100 messages",
            corpus,
            len(lines),
            [
                _writer(framing, "joined by hand", joined, messages),
                _writer(framing, "chatcodec", framing.encode, messages),
            ],
            as_record,
        )
        yield from _iterated(corpus, name, framing, records)


def _same(message: bytes) -> bytes:
    return message


def _lines(encode: Callable[[Any], bytes]) -> Write:
    return own_code(lambda records: b"\n".join([encode(record) for record in records]) + b"\n")


def _events(encode: Callable[[Any], bytes]) -> Write:
    return own_code(lambda records: b"".join([b"data: %b\n\n" % encode(record) for record in records]))


def _frames(encode: Callable[[Any], bytes]) -> Write:
    pack = by_hand.HEADER.pack

    def write(records: list[Any]) -> bytes:
        parts: list[bytes] = []
        for record in records:
            message = encode(record)
            parts += pack(len(message)), message
        return b"".join(parts)

    return own_code(write)


def _writer(framing: Any, name: str, write: Write, batches: list[list[Any]]) -> Contender:
    return Contender(name, each(write, batches), lambda: _messages(framing, map(write, batches)))


def _messages(framing: Any, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Return the messages that were written; the base of events writes lines."""
    for chunk in chunks:
        reader = ndjson if framing is sse and not chunk.startswith(b"data:") else framing
        options: dict[str, Any] = {"require_done": False} if reader is sse else {}
        yield from reader.iter_decode([chunk], bytes, **options)


def _iterated(corpus: str, name: str, framing: Any, records: list[Any]) -> Iterator[Workload]:
    """Yield the workloads that write ready records, one by one and in batches; the base is a loop over `encode`."""
    streams = batched(records, ITEMS)
    batches = [batched(stream, PER_BATCH) for stream in streams]
    for title, items, loop in (
        ("records", streams, _record_by_record(framing.encode)),
        (f"records in batches of {PER_BATCH}", batches, _batch_by_batch(framing.encode)),
    ):
        ways = {
            "async for, encode": loop,
            "chatcodec aiter_encode": _asynchronous(framing.aiter_encode),
            "chatcodec iter_encode": _synchronous(framing.iter_encode),
        }
        contenders = [
            Contender(way, each(write, items), _written(framing, write, items)) for way, write in ways.items()
        ]
        yield Workload(f"{name}, {ITEMS} {title}, iterated", corpus, len(records), contenders, as_record)


def _written(framing: Any, write: Chunks, items: list[list[Any]]) -> Callable[[], Iterator[bytes]]:
    return lambda: _messages(framing, (b"".join(write(stream)) for stream in items))


async def _ready(items: list[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def _record_by_record(encode: Write) -> Chunks:
    async def write(records: list[Any]) -> list[bytes]:
        return [encode([record]) async for record in _ready(records)]

    return lambda records: drive(write(records))


def _batch_by_batch(encode: Write) -> Chunks:
    async def write(batches: list[Any]) -> list[bytes]:
        return [encode(batch) async for batch in _ready(batches)]

    return lambda batches: drive(write(batches))


def _asynchronous(aiter_encode: Callable[..., Any]) -> Chunks:
    async def write(items: list[Any]) -> list[bytes]:
        return [chunk async for chunk in aiter_encode(_ready(items))]

    return lambda items: drive(write(items))


def _synchronous(iter_encode: Callable[..., Any]) -> Chunks:
    return own_code(lambda items: [*iter_encode(items)])
