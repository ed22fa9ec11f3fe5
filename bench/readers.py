"""Ways to read a stream: functions from a list of chunks to batches of records."""

from __future__ import annotations

import asyncio
import contextlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import aiohttp.streams
import fastsimdjson
import httpx
import msgspec
import orjson
from aiohttp.base_protocol import BaseProtocol

from bench.by_hand import HEADER, Events, Lines
from bench.measure import drive, own_code
from chatcodec import ChatCompletionResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Iterator

    Read = Callable[[list[bytes]], Iterable[list[Any]]]

LIMIT = 2**24
# It is never run: the streams below are fed before they are read.
LOOP = asyncio.new_event_loop()

_decode_json = msgspec.json.Decoder(ChatCompletionResponse).decode
_decode_msgpack = msgspec.msgpack.Decoder(ChatCompletionResponse).decode


def cut(data: bytes, size: int) -> list[bytes]:
    """Cut `data` into chunks of `size` bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def together(records: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """Yield lists of as many whole lines, frames or messages as fit into `size` bytes, but at least one."""
    block: list[bytes] = []
    length = 0
    for record in records:
        if block and length + len(record) > size:
            yield block
            block, length = [], 0
        block.append(record)
        length += len(record)
    yield block


def chatcodec(framing: Any, type: Any) -> Read:
    """Read with a `StreamDecoder`; bad records are left out."""

    def read(chunks: list[bytes]) -> Iterator[list[Any]]:
        decoder = framing.StreamDecoder(type, on_error=_ignore)
        for chunk in chunks:
            yield decoder.feed(chunk)
        yield decoder.finish()

    return own_code(read)


def _ignore(_: Exception) -> None:
    pass


def by_hand(split: Callable[[], Any], decode: Callable[[bytes], Any] | None) -> Read:
    """Read with one of the classes in `bench.by_hand`, and decode each message with `decode`, if any."""

    def read(chunks: list[bytes]) -> Iterator[list[Any]]:
        feed = split().feed
        for chunk in chunks:
            messages = feed(chunk)
            yield [*map(decode, messages)] if decode else messages

    return own_code(read)


def line_by_line(decode: Callable[[bytes], Any]) -> Read:
    """Read blocks of whole lines: the minimum cost of being able to report a bad line with its number."""

    def read(blocks: list[bytes]) -> Iterator[list[Any]]:
        for block in blocks:
            yield [*map(decode, BytesIO(block))]

    return own_code(read)


def of_httpx(prefix: int = 0) -> Read:
    """Read the lines of a response, or events of one line."""

    def read(chunks: list[bytes]) -> Iterator[list[Any]]:
        for line in httpx.Response(200, content=iter(chunks)).iter_lines():
            if line and not line.endswith("[DONE]"):
                with contextlib.suppress(msgspec.DecodeError):  # halves of a line that was split at U+2028
                    yield [_decode_json(line[prefix:])]

    return read


def _awaited(lines: Callable[[list[bytes]], AsyncIterable[bytes]]) -> Read:
    async def collect(chunks: list[bytes]) -> list[Any]:
        return [_decode_json(line) async for line in lines(chunks)]

    return lambda chunks: [drive(collect(chunks))]


async def _asyncio_lines(chunks: list[bytes]) -> AsyncIterable[bytes]:
    async for line in _fed(asyncio.StreamReader(LIMIT, LOOP), chunks):
        yield line.rstrip(b"\n")


async def _aiohttp_lines(chunks: list[bytes]) -> AsyncIterable[bytes]:
    async for line in _fed(aiohttp.streams.StreamReader(BaseProtocol(LOOP), LIMIT, loop=LOOP), chunks):
        yield line.rstrip(b"\n")


def _fed(reader: Any, chunks: list[bytes]) -> Any:
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    return reader


def _loads_many(chunks: list[bytes]) -> Iterator[list[Any]]:
    tail = b""
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            yield [*fastsimdjson.loads_many(tail + chunk[:end])]
            tail = chunk[end:]
        else:
            tail += chunk


def _read_exactly(chunks: list[bytes]) -> list[list[Any]]:
    async def collect() -> list[Any]:
        reader = _fed(asyncio.StreamReader(LIMIT, LOOP), chunks)
        records = []
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                (length,) = HEADER.unpack(await reader.readexactly(4))
                records.append(_decode_msgpack(await reader.readexactly(length)))
        return records

    return [drive(collect())]


# The readers that other libraries offer, by framing.
PEERS: dict[str, dict[str, Read]] = {
    "ndjson": {
        "split by hand + orjson, to dicts": by_hand(Lines, orjson.loads),
        "httpx iter_lines + msgspec": of_httpx(),
        "asyncio readline + msgspec": _awaited(_asyncio_lines),
        "aiohttp lines + msgspec": _awaited(_aiohttp_lines),
        "fastsimdjson loads_many, to dicts": _loads_many,
    },
    "sse": {
        "split by hand + orjson, to dicts": by_hand(Events, orjson.loads),
        "httpx iter_lines + msgspec": of_httpx(len("data: ")),
    },
    "frames": {"asyncio readexactly + msgspec": _read_exactly},
}
