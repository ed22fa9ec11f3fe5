"""Workloads that set a field: `patch` and `stamp` of the codecs, and `stamp` of the framings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from msgspec import Raw

from bench import by_hand
from bench.measure import Contender, Workload, as_record, batched, each, one_by_one, own_code
from chatcodec import Envelope, frames, json, msgpack, ndjson, sse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Call = Callable[..., Any]

# Where the field is, and how the messages are patched beforehand.
PLACES: dict[str, dict[str, Any]] = {
    "a field absent": {"latency": None},
    "a field present": {"latency": 9.75},
    "a field in `extra`": {},
}
TOGETHER = (1, 4, 40)


def workloads(corpus: str, lines: list[bytes]) -> Iterator[Workload]:
    """Yield the workloads on `lines`, which are messages in JSON."""
    packed = [msgpack.encode(json.decode(line)) for line in lines]
    for codec, whole in ((json, lines), (msgpack, packed)):
        for place, before in PLACES.items():
            messages = [codec.patch(message, **before) if before else message for message in whole]
            yield from _of_codec(corpus, codec, place, messages)
    for framing, codec, whole in ((ndjson, json, lines), (sse, json, lines), (frames, msgpack, packed)):
        for number in TOGETHER:
            yield _of_framing(corpus, framing, codec, batched(whole, number))


def _of_codec(corpus: str, codec: Any, place: str, messages: list[bytes]) -> Iterator[Workload]:
    name = codec.__name__.split(".")[1]
    field = "ttft" if "extra" in place else "latency"
    values: dict[str, Any] = {"extra": {"ttft": by_hand.LATENCY}} if "extra" in place else {"latency": by_hand.LATENCY}
    module = getattr(msgspec, name)
    decode_raw, encode_raw = module.Decoder(dict[str, Raw]).decode, module.Encoder().encode
    peer, decode, encode = (
        ("orjson", orjson.loads, orjson.dumps) if codec is json else ("ormsgpack", by_hand.unpack, by_hand.pack)
    )
    setters = {
        "msgspec, dict[str, Raw] by hand": by_hand.dict_setter(decode_raw, encode_raw, field),
        "chatcodec": _with(codec.patch, values),
        f"{peer} by hand": by_hand.dict_setter(decode, encode, field),
    }
    yield _workload(f"{name}.patch, {place}", corpus, messages, setters, _with_field(field, as_record))
    stampers = {
        "msgspec, dict[str, Raw] by hand": by_hand.raw_stamper(module, field),
        "chatcodec": _with(codec.stamp, values),
        "chatcodec, peek and then patch": _peek_and_patch(codec, values),
        f"{peer} by hand": by_hand.dict_stamper(decode, encode, field),
    }
    if codec is json and field == "latency":
        stampers["pydantic by hand"] = by_hand.stamp_model
    yield _workload(f"{name}.stamp, {place}", corpus, messages, stampers, _with_field(field, read_and_record))


def _workload(name: str, corpus: str, messages: list[bytes], calls: dict[str, Call], plain: Call) -> Workload:
    contenders = [one_by_one(title, call, messages) for title, call in calls.items()]
    return Workload(name, corpus, len(messages), contenders, plain)


def _with(call: Call, values: dict[str, Any]) -> Call:
    return own_code(lambda message: call(message, **values))


def _peek_and_patch(codec: Any, values: dict[str, Any]) -> Call:
    return own_code(lambda message: (codec.peek(message), codec.patch(message, **values)))


def read_and_record(result: Any) -> tuple[Any, bytes]:
    """Return what was read from a message, and the message, in a form that can be compared."""
    read, message = result
    return (read.cost, read.session_id) if isinstance(read, Envelope) else read, as_record(message)


def _with_field(name: str, plain: Call) -> Call:
    def with_field(result: Any) -> Any:
        message = result if isinstance(result, bytes) else result[1]
        return plain(result), name.encode() in message

    return with_field


def _of_framing(corpus: str, framing: Any, codec: Any, batches: list[list[bytes]]) -> Workload:
    count = sum(map(len, batches))
    name = framing.__name__.split(".")[1]

    def loop(messages: list[bytes]) -> tuple[list[Envelope], bytes]:
        stamp = codec.stamp
        pairs = [stamp(message, latency=by_hand.LATENCY) for message in messages]
        return [envelope for envelope, _ in pairs], framing.encode([message for _, message in pairs])

    def at_once(messages: list[bytes]) -> tuple[list[Envelope], bytes]:
        return framing.stamp(messages, latency=by_hand.LATENCY)  # type: ignore[no-any-return]

    calls = {f"a loop over {codec.__name__.split('.')[1]}.stamp": own_code(loop), "chatcodec": own_code(at_once)}
    contenders = [
        Contender(title, each(call, batches), partial(_messages, framing, call, batches))
        for title, call in calls.items()
    ]
    return Workload(
        f"{name}.stamp, {len(batches[0])} message{'s' * (len(batches[0]) > 1)}",
        corpus,
        count,
        contenders,
        read_and_record,
    )


def _messages(framing: Any, call: Call, batches: list[list[bytes]]) -> Iterator[tuple[Envelope, bytes]]:
    for batch in batches:
        envelopes, framed = call(batch)
        options = {"require_done": False} if framing is sse else {}
        decoder = framing.StreamDecoder(bytes, **options)
        yield from zip(envelopes, [*decoder.feed(framed), *decoder.finish()], strict=True)
