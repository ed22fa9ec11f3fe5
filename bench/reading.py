"""Workloads that read streams: `feed`, and iteration over records and batches."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from bench import by_hand, readers
from bench.measure import Contender, Workload, as_record, drive, own_code
from chatcodec import ChatCompletionResponse, Envelope, frames, json, msgpack, ndjson, sse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from bench.readers import Read

CHUNKS = (1400, 16384, 65536)
TYPES = {"records": ChatCompletionResponse, "envelopes": Envelope, "bytes": bytes}
BAD = b'{"cost":"x"}'  # not bad for `bytes`, which is not parsed


def workloads(corpus: str, lines: list[bytes]) -> Iterator[Workload]:
    """Yield the workloads on streams of `lines`, which are messages in JSON."""
    packed = [msgpack.encode(json.decode(line)) for line in lines]
    for framing, messages, traffic, split in (
        (ndjson, lines, _lines(lines), by_hand.Lines),
        (sse, lines, _events(lines), by_hand.Events),
        (frames, packed, _frames(packed), by_hand.Frames),
    ):
        for size in CHUNKS:
            for name, type in TYPES.items():
                yield _feed(corpus, framing, (name, type), size, messages, traffic, split)
            yield _iteration(corpus, framing, size, traffic[""], len(messages))


def _lines(messages: list[bytes]) -> dict[str, bytes]:
    """Return streams of lines, by what is unusual in them."""
    lines = [message + b"\n" for message in messages]
    return {
        "": b"".join(lines),
        ", CRLF": b"".join(lines).replace(b"\n", b"\r\n"),
        ", 1 in 50 blank": _one_in_50(b"\n", lines),
        ", 1 in 50 bad": _one_in_50(BAD + b"\n", lines),
    }


def _events(messages: list[bytes]) -> dict[str, bytes]:
    """Return event streams, by what is unusual in them."""
    events = [b"data: %b\n\n" % message for message in messages]
    kinds = {
        "": b"".join(events),
        ", CRLF": b"".join(events).replace(b"\n", b"\r\n"),
        ", `event:`": b"event: message\n" + b"event: message\n".join(events),
        ", `id:` and `event:`": b"id: 7\nevent: message\n" + b"id: 7\nevent: message\n".join(events),
        ", 1 in 50 a comment": _one_in_50(b": ping\n\n", events),
        ", 1 in 50 bad": _one_in_50(b"data: %b\n\n" % BAD, events),
    }
    return {kind: stream + sse.END for kind, stream in kinds.items()}


def _frames(messages: list[bytes]) -> dict[str, bytes]:
    """Return streams of frames, by what is unusual in them."""
    framed = [by_hand.frame(message) for message in messages]
    return {
        "": b"".join(framed),
        ", 1 in 50 empty": _one_in_50(frames.KEEP_ALIVE, framed),
        ", 1 in 50 bad": _one_in_50(by_hand.frame(msgspec.msgpack.encode({"cost": "x"})), framed),
    }


def _one_in_50(unusual: bytes, usual: list[bytes]) -> bytes:
    return b"".join(chain.from_iterable((unusual, *usual[at : at + 49]) for at in range(0, len(usual), 49)))


def _feed(
    corpus: str,
    framing: Any,
    kind: tuple[str, Any],
    size: int,
    messages: list[bytes],
    traffic: dict[str, bytes],
    split: Callable[[], Any],
) -> Workload:
    """Return the workload that feeds all kinds of traffic."""
    name = _name(framing)
    title, type = kind
    module = msgspec.msgpack if framing is frames else msgspec.json
    decode = None if type is bytes else module.Decoder(type).decode
    plain = readers.cut(traffic[""], size)
    blocks = list(readers.together(messages, size))
    contenders = [
        *_bases(framing, type, decode, blocks),
        *(
            _stream("chatcodec" + unusual, readers.chatcodec(framing, type), readers.cut(data, size))
            for unusual, data in traffic.items()
            if type is not bytes or "bad" not in unusual
        ),
        _stream("split by hand + msgspec" if decode else "split by hand", readers.by_hand(split, decode), plain),
    ]
    if type is ChatCompletionResponse and size == 16384:
        contenders += [_stream(peer, read, plain) for peer, read in readers.PEERS[name].items()]
    return Workload(
        f"{name} feed, {title}, {size} bytes a chunk",
        corpus,
        len(messages),
        contenders,
        as_record if type is not Envelope else _as_envelope,
    )


def _bases(framing: Any, type: Any, decode: Any, blocks: list[list[bytes]]) -> list[Contender]:
    """Return lower bounds for reading: blocks of whole messages, in one call each."""
    if framing is ndjson:
        lines = [b"\n".join([*block, b""]) for block in blocks]
        if decode is None:
            return [_stream("bytes.splitlines, of whole lines", partial(map, bytes.splitlines), lines)]
        decode_lines = msgspec.json.Decoder(type).decode_lines
        return [
            _stream("msgspec decode_lines, of whole lines", partial(map, decode_lines), lines),
            _stream("msgspec line by line, of whole lines", readers.line_by_line(decode), lines),
        ]
    if decode is not None:
        return [_stream("msgspec, of cut messages", lambda blocks: ([*map(decode, block)] for block in blocks), blocks)]
    if framing is sse:
        events = [b"\n\n".join(block) for block in blocks]
        return [_stream("bytes.split, of whole messages", _split_at_blank_lines, events)]
    return [
        _stream("copies of cut messages", _copies, [[memoryview(message) for message in block] for block in blocks])
    ]


def _split_at_blank_lines(blocks: list[bytes]) -> Iterator[list[bytes]]:
    return (block.split(b"\n\n") for block in blocks)


def _copies(blocks: list[list[memoryview]]) -> Iterator[list[bytes]]:
    return ([*map(bytes, block)] for block in blocks)


def _stream(name: str, read: Read | Any, chunks: list[Any]) -> Contender:
    def run() -> None:
        for _ in read(chunks):
            pass

    return Contender(name, own_code(run), lambda: (record for batch in read(chunks) for record in batch))


def _as_envelope(result: Any) -> bytes:
    if isinstance(result, Envelope):
        choices = json.decode_choices if bytes(result.choices).startswith(b"[") else msgpack.decode_choices
        fields = {name: getattr(result, name) for name in ChatCompletionResponse.__struct_fields__ if name != "choices"}
        return as_record(ChatCompletionResponse(**fields, choices=choices(result.choices)))
    return as_record(result)


def _iteration(corpus: str, framing: Any, size: int, data: bytes, count: int) -> Workload:
    """Return the workload that iterates over records, one by one and in batches; the base is `feed`."""
    chunks = readers.cut(data, size)
    contenders = [
        _stream("chatcodec feed", readers.chatcodec(framing, ChatCompletionResponse), chunks),
        _stream("chatcodec iter_batches", framing.iter_batches, chunks),
        _asynchronous("chatcodec aiter_batches", framing.aiter_batches, chunks),
        _stream("chatcodec iter_decode", lambda chunks: ([record] for record in framing.iter_decode(chunks)), chunks),
        _asynchronous("chatcodec aiter_decode", framing.aiter_decode, chunks),
    ]
    return Workload(f"{_name(framing)} iteration, {size} bytes a chunk", corpus, count, contenders, as_record)


def _name(framing: Any) -> str:
    return framing.__name__.split(".")[1]  # type: ignore[no-any-return]


async def _ready(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _asynchronous(name: str, iterate: Callable[..., Any], chunks: list[bytes]) -> Contender:
    async def drop() -> None:
        async for _ in iterate(_ready(chunks)):
            pass

    async def collect() -> list[Any]:
        return [some async for some in iterate(_ready(chunks))]

    def results() -> Iterator[Any]:
        for some in drive(collect()):
            yield from some if isinstance(some, list) else [some]

    return Contender(name, lambda: drive(drop()), results)
