"""Fan-out: events from a provider, stamped, become lines for the caller and frames for a consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import ormsgpack

from bench import by_hand, readers
from bench.measure import Contender, Workload, as_record, batched, each, own_code
from chatcodec import ChatCompletionResponse, Envelope, frames, ndjson, sse, transcode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    # Takes the chunks of a stream; returns the bytes for the caller and those for the consumer.
    FanOut = Callable[[list[bytes]], tuple[bytes, bytes]]

EVENTS = 200
CHUNK = 1400


def workloads(corpus: str, lines: list[bytes]) -> Iterator[Workload]:
    """Yield the workload, on streams of `lines`, which are messages in JSON."""
    streams = [
        readers.cut(b"".join(b"data: %b\n\n" % line for line in stream) + sse.END, CHUNK)
        for stream in batched(lines, EVENTS)
    ]
    ways: dict[str, FanOut] = {
        "orjson and ormsgpack, by hand": _by_hand(orjson.loads, _set_key, orjson.dumps, ormsgpack.packb),
        "chatcodec, decoded once and encoded twice": own_code(decoded_once),
        "chatcodec, unknown fields kept": own_code(all_kept),
        "msgspec to a Struct, by hand": _by_hand(
            msgspec.json.Decoder(ChatCompletionResponse).decode,
            _set_attribute,
            msgspec.json.Encoder().encode,
            msgspec.msgpack.Encoder().encode,
        ),
    }
    contenders = [Contender(way, each(fan_out, streams), _results(fan_out, streams)) for way, fan_out in ways.items()]
    yield Workload(f"fan-out of {EVENTS} events", corpus, len(streams), contenders, as_record)


def decoded_once(chunks: list[bytes]) -> tuple[bytes, bytes]:
    """Decode to records, set a field of each, and encode them twice. Unknown fields are dropped."""
    decoder = sse.StreamDecoder(ChatCompletionResponse)
    lines, framed = [], []
    for chunk in chunks:
        records = decoder.feed(chunk)
        for record in records:
            record.latency = by_hand.LATENCY
        lines.append(ndjson.encode(records))
        framed.append(frames.encode(records))
    decoder.finish()
    return b"".join(lines), b"".join(framed)


def all_kept(chunks: list[bytes]) -> tuple[bytes, bytes]:
    """Stamp each message, and transcode the result. Unknown fields are kept."""
    decoder = sse.StreamDecoder(bytes)
    lines, framed = [], []
    for chunk in chunks:
        _, stamped = ndjson.stamp(decoder.feed(chunk), Envelope, latency=by_hand.LATENCY)
        lines.append(stamped)
        framed.append(frames.encode([*map(transcode.json_to_msgpack, stamped.splitlines())]))
    decoder.finish()
    return b"".join(lines), b"".join(framed)


def _set_key(fields: Any) -> None:
    fields["latency"] = by_hand.LATENCY


def _set_attribute(record: Any) -> None:
    record.latency = by_hand.LATENCY


def _by_hand(
    decode: Callable[[bytes], Any],
    stamp: Callable[[Any], None],
    encode_json: Callable[[Any], bytes],
    encode_msgpack: Callable[[Any], bytes],
) -> FanOut:
    pack = by_hand.HEADER.pack

    def fan_out(chunks: list[bytes]) -> tuple[bytes, bytes]:
        feed = by_hand.Events().feed
        lines: list[bytes] = []
        framed: list[bytes] = []
        for chunk in chunks:
            for message in feed(chunk):
                record = decode(message)
                stamp(record)
                lines += encode_json(record), b"\n"
                packed = encode_msgpack(record)
                framed += pack(len(packed)), packed
        return b"".join(lines), b"".join(framed)

    return own_code(fan_out)


def _results(fan_out: FanOut, streams: list[list[bytes]]) -> Callable[[], Iterator[bytes]]:
    def results() -> Iterator[bytes]:
        for chunks in streams:
            lines, framed = fan_out(chunks)
            yield from ndjson.iter_decode([lines], bytes)
            yield from frames.iter_decode([framed], bytes)

    return results
