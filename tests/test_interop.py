"""Other languages and libraries: what they write is read here, and what is written here is read there."""

from __future__ import annotations

import asyncio
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
from .wire import UTC, WIRE

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


def describe(value: Any, codec: Any) -> str:
    """Say what `value` holds, as tests/node/peer.ts does: JSON's numbers are all floats there."""
    if isinstance(value, str):
        return f'"{value.encode().hex()}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return struct.pack(">d", value).hex() if codec is json or float(value) == value else f"{value}n"
    if isinstance(value, datetime):
        return f"{(value - EPOCH) // MILLISECOND}ms"
    if isinstance(value, list):
        return f"[{','.join(describe(item, codec) for item in value)}]"
    fields = (f"{key.encode().hex()}:{describe(value[key], codec)}" for key in value)
    return f"{{{','.join(sorted(fields))}}}"


def fields_of(record: ChatCompletionResponse) -> dict[str, Any]:
    """Return the fields of a record, and of no subclass, by their names on the wire."""
    names = zip(WIRE, ChatCompletionResponse.__struct_fields__, strict=True)
    return {wire: getattr(record, name) for wire, name in names if getattr(record, name) is not None}


def unsigned(described: str) -> str:
    """Replace -0, which Node writes as 0."""
    return described.replace(struct.pack(">d", -0.0).hex(), struct.pack(">d", 0.0).hex())


# Node: @msgpack/msgpack, JSON, and class-transformer with @Type(() => Date)


@pytest.fixture(scope="session")
def peer(pytestconfig: pytest.Config) -> list[str]:
    """Install what the peer is made of, once for each set of versions, and return the command that runs it."""
    sources = [NODE / name for name in ("package.json", "tsconfig.json", "peer.ts")]
    version = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("node and npm are not installed")
    assert pytestconfig.cache
    home = pytestconfig.cache.mkdir("node") / version
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
        assert process.stdout
        yield orjson.loads(process.stdout.readline())
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0


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
def test_node_reads_records_written_here_and_sends_them_back(format: str, ports: dict[str, int]) -> None:
    _, codec, count = FORMATS[format]
    random = Random(format)
    records = odd_records(random, count)
    for record, answer in zip(records, through_node(format, ports[format], records, random), strict=True):
        assert answer.described == describe(fields_of(record), codec)
        assert unsigned(describe(fields_of(answer), codec)) == unsigned(answer.described)


@formats
def test_records_that_node_writes_are_read_here_and_sent_back(format: str, peer: list[str]) -> None:
    module, codec, count = FORMATS[format]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if module is codec:
            writer.write(codec.encode(checked(codec.decode(await reader.read(-1), Described))))
        else:
            async for received in module.aiter_decode(reader, Described):
                writer.write(module.encode([checked(received)]))
                await writer.drain()
        writer.close()
        await writer.wait_closed()

    def checked(received: Described) -> Described:
        assert received.described == describe(fields_of(received), codec)
        return received

    async def main() -> bytes:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            command = [*peer, "call", format, str(server.sockets[0].getsockname()[1]), "20260101", str(count)]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            printed, _ = await asyncio.wait_for(process.communicate(), 2 * SECONDS)
        assert process.returncode == 0
        return printed

    assert int(asyncio.run(main())) == count


@formats
def test_a_date_holds_the_milliseconds_of_a_timestamp(format: str, ports: dict[str, int]) -> None:
    sent = [ChatCompletionResponse(timestamp=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))]
    (answer,) = through_node(format, ports[format], sent, Random(1))
    assert answer.timestamp == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.mark.parametrize("milliseconds", ["8.64e15", "253402300800000", "-62135596800001", "-8.64e15"])
def test_a_date_beyond_the_years_1_to_9999_is_a_decode_error(peer: list[str], milliseconds: str) -> None:
    for codec, encode in ((json, "JSON.stringify"), (msgpack, "require('@msgpack/msgpack').encode")):
        script = f"process.stdout.write({encode}({{ timestamp: new Date({milliseconds}), cost: 1 }}))"
        message = subprocess.check_output([peer[0], "-e", script], cwd=Path(peer[-1]).parent, timeout=SECONDS)
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


def instant_of(kind: int, data: bytes | memoryview) -> Any:
    assert kind == -1
    return peer_msgpack.Timestamp.from_bytes(bytes(data)).to_datetime()


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
