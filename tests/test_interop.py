"""Other languages and libraries: what they write is read here, and what is written here is read there."""

from __future__ import annotations

import asyncio
import json as stdlib_json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import msgpack as peer_msgpack  # type: ignore[import-untyped, unused-ignore]
import ormsgpack
import pytest

from chatcodec import ChatCompletionResponse, DecodeError, frames, json, msgpack, ndjson

from .oddities import EPOCH, MILLISECOND, odd_records
from .support import cut
from .wire import UTC

pytestmark = pytest.mark.extras

orjson = pytest.importorskip("orjson")  # no wheel for Python 3.15 yet

NODE = Path(__file__).parent / "node"
SECONDS = 60  # a peer that says nothing for so long has stopped

# Each format by its name: its module, how its messages are read, and how many records the tests send.
# A stream carries many on one connection; a message alone is all that a connection carries.
FORMATS: dict[str, tuple[Any, Any, int]] = {
    "json": (json, json, 150),
    "msgpack": (msgpack, msgpack, 150),
    "ndjson": (ndjson, json, 2500),
    "frames": (frames, msgpack, 2500),
}
formats = pytest.mark.parametrize("format", FORMATS)


class Described(ChatCompletionResponse):
    """A record from Node, with what Node says it holds."""

    described: str = ""


def describe(value: Any, *, javascript_numbers: bool) -> str:  # noqa: PLR0911  (one return a kind)
    """Say what `value` holds, as tests/node/peer.ts does: JSON's numbers are all floats there."""
    if isinstance(value, str):
        return f'"{value.encode().hex()}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        if javascript_numbers or float(value) == value:
            return struct.pack(">d", value).hex()
        return f"{value}n"
    if isinstance(value, datetime):
        return f"{(value - EPOCH) // MILLISECOND}ms"
    if isinstance(value, list):
        return f"[{','.join(describe(item, javascript_numbers=javascript_numbers) for item in value)}]"
    if value is None:
        return "null"
    fields = [f"{key.encode().hex()}:{describe(value[key], javascript_numbers=javascript_numbers)}" for key in value]
    return f"{{{','.join(sorted(fields))}}}"


def fields_of(record: ChatCompletionResponse) -> dict[str, Any]:
    """Return the fields of a record, and of no subclass, by their names on the wire."""
    names = zip(ChatCompletionResponse.__struct_encode_fields__, ChatCompletionResponse.__struct_fields__, strict=True)
    return {wire: getattr(record, name) for wire, name in names if getattr(record, name) is not None}


def describe_record(record: ChatCompletionResponse, codec: Any) -> str:
    return describe(fields_of(record), javascript_numbers=codec is json)


def numbers_as_floats(value: Any) -> Any:
    """Return `value` with what JavaScript makes of JSON's integers."""
    if isinstance(value, dict):
        return {key: numbers_as_floats(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [numbers_as_floats(inner) for inner in value]
    return float(value) if type(value) is int else value


def plain(record: ChatCompletionResponse, codec: Any) -> dict[str, Any]:
    """Return the fields of the record alone, as they are after a way through JavaScript."""
    fields = {name: getattr(record, name) for name in ChatCompletionResponse.__struct_fields__}
    return numbers_as_floats(fields) if codec is json else fields


# Node: @msgpack/msgpack, JSON, and class-transformer with @Type(() => Date)


@pytest.fixture(scope="session")
def peer(pytestconfig: pytest.Config) -> list[str]:
    """Install what the peer is made of, once for each set of versions, and return the command that runs it."""
    sources = [NODE / name for name in ("package.json", "tsconfig.json", "peer.ts")]
    version = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        reason = "node and npm are not installed"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    cache = pytestconfig.cache
    assert cache
    home = cache.mkdir("node") / version
    if not home.exists():
        built = Path(tempfile.mkdtemp(dir=home.parent))  # processes that run these tests side by side have one each
        for source in sources:
            shutil.copy(source, built)
        install = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        for command in (install, [node, "node_modules/typescript/bin/tsc"]):
            done = subprocess.run(command, cwd=built, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        try:
            built.rename(home)
        except OSError:  # another process was first
            shutil.rmtree(built)
    return [node, "--unhandled-rejections=strict", str(home / "peer.js")]


@pytest.fixture(scope="session")
def ports(peer: list[str]) -> Iterator[dict[str, int]]:
    """Run a Node server, and return its port for each format."""
    with subprocess.Popen([*peer, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        yield stdlib_json.loads(process.stdout.readline())
        process.stdin.close()
        process.stdout.close()
        assert process.wait(SECONDS) == 0


def converse(port: int, pieces: list[bytes]) -> Iterator[bytes]:
    """Send `pieces` and the end to a server, and yield what comes back meanwhile."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:

        def send() -> None:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while chunk := connection.recv(65536):
            yield chunk
        sender.join()


def through_node(format: str, port: int, records: list[ChatCompletionResponse], random: Random) -> list[Described]:
    """Send `records` to Node, cut anyhow, and return what it sends back."""
    module, codec, _ = FORMATS[format]
    if module is codec:
        return [codec.decode(b"".join(converse(port, [codec.encode(record)])), Described) for record in records]
    whole = module.encode(records)
    pieces = cut(whole, random.choices(range(len(whole)), k=500))
    return list(module.iter_decode(converse(port, pieces), Described))


@formats
def test_node_reads_what_is_written_here_and_back(format: str, ports: dict[str, int]) -> None:
    _, codec, count = FORMATS[format]
    random = Random(format)
    records = odd_records(random, count)
    answers = through_node(format, ports[format], records, random)
    assert len(answers) == len(records)
    for record, answer in zip(records, answers, strict=True):
        assert answer.described == describe_record(record, codec)
        assert plain(answer, codec) == plain(record, codec)


@formats
def test_what_node_writes_is_read_here_and_back(format: str, peer: list[str]) -> None:
    module, codec, count = FORMATS[format]
    seen = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        if module is codec:
            received = codec.decode(await reader.read(-1), Described)
            writer.write(codec.encode(check(received)))
            seen += 1
        else:
            async for received in module.aiter_decode(reader, Described):
                writer.write(module.encode([check(received)]))
                await writer.drain()
                seen += 1
        writer.close()
        await writer.wait_closed()

    def check(received: Described) -> ChatCompletionResponse:
        assert received.described == describe_record(received, codec)
        return ChatCompletionResponse(
            **{name: getattr(received, name) for name in ChatCompletionResponse.__struct_fields__}
        )

    async def main() -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            command = [*peer, "call", format, str(server.sockets[0].getsockname()[1]), "20260101", str(count)]
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            printed, errors = await asyncio.wait_for(process.communicate(), 2 * SECONDS)
        assert process.returncode == 0, errors.decode()
        return printed

    assert int(asyncio.run(main())) == seen == count


@formats
def test_a_date_holds_the_milliseconds_of_a_timestamp(format: str, ports: dict[str, int]) -> None:
    sent = [ChatCompletionResponse(timestamp=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))]
    (answer,) = through_node(format, ports[format], sent, Random(1))
    assert answer.timestamp == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def node(peer: list[str], script: str) -> bytes:
    """Run `script` beside the peer and return what it prints, from base64."""
    home = Path(peer[-1]).parent
    return subprocess.run([peer[0], "-e", script], cwd=home, capture_output=True, check=True, timeout=SECONDS).stdout


@pytest.mark.parametrize("milliseconds", ["8.64e15", "253402300800000", "-62135596800001", "-8.64e15"])
def test_a_date_beyond_the_years_1_to_9999_is_a_decode_error(peer: list[str], milliseconds: str) -> None:
    record = f"{{ timestamp: new Date({milliseconds}), cost: 1 }}"
    for codec, write in (
        (json, f"process.stdout.write(JSON.stringify({record}))"),
        (msgpack, f"process.stdout.write(require('@msgpack/msgpack').encode({record}))"),
    ):
        message = node(peer, write)
        assert b"cost" in message
        for read in (codec.decode, codec.peek):
            with pytest.raises(DecodeError):
                read(message)
        assert codec.decode(codec.patch(message, timestamp=None)).cost == 1


# Python's own peers


def loads_with_instant(message: bytes) -> Any:
    fields = orjson.loads(message)
    if "timestamp" in fields:
        fields["timestamp"] = datetime.fromisoformat(fields["timestamp"].replace("Z", "+00:00"))
    return fields


def instant_of(kind: int, data: bytes | memoryview) -> datetime:
    assert kind == -1
    instant: datetime = peer_msgpack.Timestamp.from_bytes(bytes(data)).to_datetime()
    return instant


# Each peer by its name: the codec that reads and writes the same, how it encodes and how it decodes.
PEERS: dict[str, tuple[Any, Any, Any]] = {
    "orjson": (json, orjson.dumps, loads_with_instant),
    "msgpack": (msgpack, partial(peer_msgpack.packb, datetime=True), partial(peer_msgpack.unpackb, timestamp=3)),
    # As text: ormsgpack 1.13 cuts what it writes as an extension to seconds, and wraps it in 2106.
    "ormsgpack": (msgpack, ormsgpack.packb, partial(ormsgpack.unpackb, ext_hook=instant_of)),
}


@pytest.mark.parametrize("name", PEERS)
def test_a_python_peer_reads_what_is_written_here_and_writes_what_is_read_here(name: str) -> None:
    codec, dumps, loads = PEERS[name]
    for record in odd_records(Random(name), 2000):
        fields = fields_of(record)
        assert loads(codec.encode(record)) == fields
        assert codec.decode(dumps(fields)) == record
        stamped = codec.patch(dumps(fields), timestamp=record.timestamp, cost=0.25)
        assert loads(stamped) == fields | {"cost": 0.25}
