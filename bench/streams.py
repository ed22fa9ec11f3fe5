"""Workloads on streams and files of lines and frames."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from io import BytesIO
from struct import Struct as Layout
from typing import TYPE_CHECKING, Any

import aiohttp.streams
import fastsimdjson
import httpx
import jsonlines
import msgpack as msgpack_peer
import msgspec
import orjson
import polars as pl
import pyarrow.json
from aiohttp.base_protocol import BaseProtocol

from bench.measure import Contender, Workload, as_record, each, own_code
from chatcodec import ChatCompletionResponse, Envelope, frames, json, msgpack, ndjson

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Iterator
    from pathlib import Path

    Read = Callable[[list[bytes]], Iterable[list[Any]]]

CHUNKS = (1400, 16384, 65536)
TYPES = {"records": ChatCompletionResponse, "envelopes": Envelope, "bytes": bytes}


def workloads(corpus: str, lines: list[bytes], folder: Path) -> Iterator[Workload]:
    """Yield the workloads on a stream of `lines`, which are messages in JSON."""
    whole = b"".join(line + b"\n" for line in lines)
    messages = [msgpack.encode(json.decode(line)) for line in lines]
    framed = frames.encode(messages)
    for size in CHUNKS:
        for name, type in TYPES.items():
            blocks = list(_together([line + b"\n" for line in lines], size))
            yield Workload(
                f"ndjson feed, {name}, {size} bytes a chunk",
                corpus,
                len(lines),
                [
                    *(_stream(title, read, blocks) for title, read in _whole_lines(type).items()),
                    _stream("chatcodec", _ours(ndjson, type), cut(whole, size)),
                    *(_stream(title, read, cut(whole, size)) for title, read in _peers(type).items()),
                ],
                as_record if type is not Envelope else _as_envelope,
            )
        yield Workload(
            f"frames feed, records, {size} bytes a chunk",
            corpus,
            len(lines),
            [
                _each_message("msgspec decode, of cut messages", messages),
                _stream("msgspec, of whole frames", _whole_frames, list(_together(map(_frame, messages), size))),
                _stream("chatcodec", _ours(frames, ChatCompletionResponse), cut(framed, size)),
                _stream("buffered loop + msgspec", _buffered_frames, cut(framed, size)),
                _stream("asyncio readexactly + msgspec", _readexactly, cut(framed, size)),
                _stream("msgpack.Unpacker, to dicts, unframed", _unpacker, cut(b"".join(messages), size)),
            ],
            as_record,
        )
    yield from _files(corpus, whole, len(lines), folder / f"{corpus}.ndjson")


def cut(data: bytes, size: int) -> list[bytes]:
    """Cut `data` into chunks of `size` bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def _as_envelope(result: Any) -> bytes:
    if hasattr(result, "as_dict"):
        result = result.as_dict()
    if isinstance(result, (Envelope, ChatCompletionResponse)):
        choices = json.decode_choices(result.choices) if isinstance(result, Envelope) else result.choices
        fields = {name: getattr(result, name) for name in result.__struct_fields__ if name != "choices"}
        return as_record(ChatCompletionResponse(**fields, choices=choices))
    return as_record(result)


def _stream(name: str, read: Read, chunks: list[bytes]) -> Contender:
    def run() -> None:
        for _ in read(chunks):
            pass

    return Contender(name, own_code(run), lambda: (record for batch in read(chunks) for record in batch))


def _ours(stream: Any, type: Any) -> Read:
    def read(chunks: list[bytes]) -> Iterator[list[Any]]:
        decoder = stream.StreamDecoder(type)
        for chunk in chunks:
            yield decoder.feed(chunk)
        yield decoder.finish()

    return own_code(read)


def _together(records: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield blocks of whole lines or frames, as many as fit into `size` bytes: chunks somebody cut at their ends."""
    block: list[bytes] = []
    length = 0
    for record in records:
        if block and length + len(record) > size:
            yield b"".join(block)
            block, length = [], 0
        block.append(record)
        length += len(record)
    yield b"".join(block)


def _whole_lines(type: Any) -> dict[str, Read]:
    """Return the limit, a block in one call, and what it costs at least to look at each line."""
    if type is bytes:
        return {"bytes.splitlines, of whole lines": partial(map, bytes.splitlines)}
    decoder = msgspec.json.Decoder(type)

    def one_by_one(blocks: list[bytes]) -> Iterator[list[Any]]:
        decode = decoder.decode
        for block in blocks:
            yield [*map(decode, BytesIO(block))]

    return {
        "msgspec decode_lines, of whole lines": partial(map, decoder.decode_lines),
        "msgspec line by line, of whole lines": one_by_one,
    }


def _frame(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def _whole_frames(blocks: list[bytes]) -> Iterator[list[Any]]:
    """Read frames from blocks of whole ones: what it costs at least to cut them."""
    decode = msgspec.msgpack.Decoder(ChatCompletionResponse).decode
    unpack = Layout(">I").unpack_from
    for block in blocks:
        messages = []
        start = 0
        while start < len(block):
            end = start + 4 + unpack(block, start)[0]
            messages.append(block[start + 4 : end])
            start = end
        yield [*map(decode, messages)]


def _each_message(name: str, messages: list[bytes]) -> Contender:
    decode = msgspec.msgpack.Decoder(ChatCompletionResponse).decode
    return Contender(name, each(decode, messages), lambda: map(decode, messages))


def _peers(type: Any) -> dict[str, Read]:
    """Return what users write for lines: a line reader of some library, and msgspec behind it."""
    decode: Callable[..., Any] = bytes if type is bytes else msgspec.json.Decoder(type).decode

    def split(chunks: list[bytes]) -> Iterator[list[Any]]:
        tail = b""
        for chunk in chunks:
            lines = (tail + chunk).split(b"\n")
            tail = lines.pop()
            yield [decode(line) for line in lines if line]

    def split_in_a_class(chunks: list[bytes]) -> Iterator[list[Any]]:
        reader = _Split(decode)
        for chunk in chunks:
            yield reader.feed(chunk)

    def lines_of_httpx(chunks: list[bytes]) -> Iterator[list[Any]]:
        for line in httpx.Response(200, content=iter(chunks)).iter_lines():
            with contextlib.suppress(msgspec.DecodeError):  # halves of a line that was split at U+2028
                data: Any = line.encode() if type is bytes else line
                yield [decode(data)]

    def awaited(lines: Callable[[list[bytes]], AsyncIterable[bytes]]) -> Read:
        async def collect(chunks: list[bytes]) -> list[Any]:
            return [decode(line) async for line in lines(chunks)]

        return lambda chunks: [asyncio.run(collect(chunks))]

    peers: dict[str, Read] = {
        "split with a carried tail + msgspec": split,
        "the same, fed to an object": split_in_a_class,
        "httpx iter_lines + msgspec": lines_of_httpx,
        "asyncio readline + msgspec": awaited(_asyncio_lines),
        "aiohttp lines + msgspec": awaited(_aiohttp_lines),
    }
    if type is ChatCompletionResponse:
        peers["fastsimdjson loads_many, to dicts"] = _carrying(fastsimdjson.loads_many)
    if type is Envelope:
        peers["fastsimdjson parse_many, six fields"] = _carrying(_parse_many)
    return peers


class _Split:
    """`split` with a carried tail as something that can be fed: no place, no limit, no errors of its own."""

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        self._decode = decode
        self._tail = b""

    def feed(self, chunk: bytes) -> list[Any]:
        decode = self._decode
        lines = (self._tail + chunk).split(b"\n")
        self._tail = lines.pop()
        return [decode(line) for line in lines if line]


def _parse_many(block: bytes) -> Iterator[Any]:
    for item in fastsimdjson.parse_many(block):
        for name in ("timestamp", "generationId", "sessionId", "stream", "cost", "latency"):
            item.get(name)
        yield item


def _carrying(decode_many: Callable[[bytes], Iterable[Any]]) -> Read:
    def read(chunks: list[bytes]) -> Iterator[list[Any]]:
        tail = b""
        for chunk in chunks:
            end = chunk.rfind(b"\n") + 1
            if end:
                yield list(decode_many(tail + chunk[:end]))
                tail = chunk[end:]
            else:
                tail += chunk

    return read


async def _asyncio_lines(chunks: list[bytes]) -> AsyncIterable[bytes]:
    reader = asyncio.StreamReader(limit=2**24)
    await _fed(reader, chunks)
    async for line in reader:
        yield line.rstrip(b"\n")


async def _aiohttp_lines(chunks: list[bytes]) -> AsyncIterable[bytes]:
    loop = asyncio.get_running_loop()
    reader = aiohttp.streams.StreamReader(BaseProtocol(loop), 2**24, loop=loop)
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    async for line in reader:
        yield line.rstrip(b"\n")


async def _fed(reader: asyncio.StreamReader, chunks: list[bytes]) -> None:
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()


def _buffered_frames(chunks: list[bytes]) -> Iterator[list[Any]]:
    decode = msgspec.msgpack.Decoder(ChatCompletionResponse).decode
    header = Layout(">I")
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        records = []
        start = 0
        while len(buffer) - start >= header.size:
            (length,) = header.unpack_from(buffer, start)
            if len(buffer) - start < header.size + length:
                break
            records.append(decode(bytes(buffer[start + header.size : start + header.size + length])))
            start += header.size + length
        del buffer[:start]
        yield records


def _readexactly(chunks: list[bytes]) -> list[list[Any]]:
    decode = msgspec.msgpack.Decoder(ChatCompletionResponse).decode

    async def collect() -> list[Any]:
        reader = asyncio.StreamReader(limit=2**24)
        await _fed(reader, chunks)
        records = []
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                length = int.from_bytes(await reader.readexactly(4), "big")
                records.append(decode(await reader.readexactly(length)))
        return records

    return [asyncio.run(collect())]


def _unpacker(chunks: list[bytes]) -> Iterator[list[Any]]:
    unpacker = msgpack_peer.Unpacker(timestamp=3)
    for chunk in chunks:
        unpacker.feed(chunk)
        yield list(unpacker)


def _files(corpus: str, whole: bytes, count: int, path: Path) -> Iterator[Workload]:
    """Yield the reading of a file; into a table where a library has nothing else."""
    path.write_bytes(whole)
    decoder = msgspec.json.Decoder(ChatCompletionResponse)

    def line_by_line(decode: Callable[[bytes], Any]) -> Callable[[], None]:
        def run() -> None:
            with path.open("rb") as file:
                for line in file:
                    decode(line)

        return own_code(run)

    def iterate(records: Callable[[], Iterable[Any]]) -> Callable[[], None]:
        def run() -> None:
            for _ in records():
                pass

        return run

    def ours() -> Iterator[Any]:
        return ndjson.iter_decode(path.open("rb"))

    options = pyarrow.json.ReadOptions(block_size=2**24)
    yield Workload(
        "ndjson file, records",
        corpus,
        count,
        [
            Contender(
                "msgspec decode_lines, of the file at once",
                iterate(lambda: decoder.decode_lines(path.read_bytes())),
                lambda: decoder.decode_lines(whole),
            ),
            Contender("chatcodec iter_decode", iterate(ours), ours),
            Contender("for line in file + msgspec", line_by_line(decoder.decode)),
            Contender("for line in file + orjson, to dicts", line_by_line(orjson.loads)),
            Contender("jsonlines, to dicts", iterate(lambda: jsonlines.open(str(path)))),
            Contender("polars, to a table", lambda: pl.read_ndjson(path, infer_schema_length=None)),
            Contender("pyarrow, to a table", lambda: pyarrow.json.read_json(path, read_options=options)),
        ],
        as_record,
    )
