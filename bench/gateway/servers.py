"""The upstream and the lean gateway: HTTP/1.1 on `asyncio` protocols, with as little overhead as possible.

Bodies come and go in chunked encoding, whole ones in one chunk.

    python -m bench.gateway.servers upstream FOLDER     # prints its port
    python -m bench.gateway.servers gateway PORT        # prints its port
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from bench.gateway.cases import CASES, handler
from bench.gateway.handlers import COST, LINES, Meter
from chatcodec import json, media_types

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE_HEAD, LINES_HEAD = (HEAD % kind.encode() for kind in (media_types.JSON, media_types.NDJSON))
END = b"0\r\n\r\n"
# How many responses and streams a cell asks for: some milliseconds of the gateway's time.
WHOLE, STREAMS = 128, 8
STREAM_CHUNK = 4096  # what an upstream flushes at a time


def chunk(data: bytes) -> bytes:
    """Return one chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def request(*path: object) -> bytes:
    """Return a request."""
    return b"POST /%b HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n" % "/".join(map(str, path)).encode()


class Body:
    """A response's body, as it arrives."""

    def __init__(self) -> None:
        self._rest = b""
        self._in_head = True
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived, and return the part of it that belongs to the body."""
        data = self._rest + data
        start = 0
        if self._in_head:
            start = data.find(b"\r\n\r\n") + 4
            if start < 4:
                self._rest = data
                return b""
            self._in_head = False
        pieces = []
        while (line_end := data.find(b"\r\n", start)) >= 0:
            begin = line_end + 2
            end = begin + int(data[start:line_end], 16)
            if len(data) < end + 2:
                break
            start = end + 2
            if begin == end:
                self.ended = True
                break
            pieces.append(data[begin:end])
        self._rest = data[start:]
        return b"".join(pieces)


class Server(asyncio.Protocol):
    """One connection; requests come one after the other."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take a request: small enough that it comes in one piece."""
        self.respond(data.split(b" ", 2)[1].decode()[1:].split("/"))

    def respond(self, path: list[str]) -> None:
        """Answer it."""
        raise NotImplementedError


class Upstream(Server):
    """What a completion service would send; `held` streams stop after their first line until they are released."""

    held: asyncio.Transport | None = None

    def __init__(self, bodies: dict[str, list[bytes]]) -> None:
        self._bodies = bodies
        self._sent = {
            kind: [on_the_wire(body) if "lines" in kind else chunk(body) for body in some]
            for kind, some in bodies.items()
        }

    def respond(self, path: list[str]) -> None:
        """Send a body; a stream in the chunks that its service flushes."""
        kind, number = path[0], int(path[1])
        action, _, held = kind.partition("-")
        if action == "held":
            Upstream.held = self.transport
            self.transport.write(WHOLE_HEAD + chunk(first_line(self._bodies[held][number])))
        elif action == "release":
            body = self._bodies[held][number]
            cast("asyncio.Transport", Upstream.held).write(chunk(body[len(first_line(body)) :]) + END)
            self.transport.write(WHOLE_HEAD + END)
        else:
            self.transport.write((LINES_HEAD if action == "lines" else WHOLE_HEAD) + self._sent[kind][number] + END)


def first_line(body: bytes) -> bytes:
    """Return the first line of a stream."""
    return body[: body.find(b"\n") + 1]


class Gateway(Server):
    """Forwards requests, and handles what comes back."""

    def __init__(self, upstream_port: int) -> None:
        self._port = upstream_port
        self._upstream: FromUpstream | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def respond(self, path: list[str]) -> None:
        """Answer with the CPU time so far, or with what upstream sends, handled as the path says."""
        if path == ["cpu"]:
            self.transport.write(WHOLE_HEAD + chunk(b"%d" % time.process_time_ns()) + END)
        elif self._upstream is None:
            task = asyncio.get_running_loop().create_task(self._connect(path))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            case, contender, kind, number = path
            self._upstream.start(self.transport.write, _handler(case, contender))
            self._upstream.transport.write(request(kind, number))

    async def _connect(self, path: list[str]) -> None:
        loop = asyncio.get_running_loop()
        _, self._upstream = await loop.create_connection(FromUpstream, "127.0.0.1", self._port)
        self.respond(path)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side too."""
        super().connection_lost(exc)
        if self._upstream:
            self._upstream.transport.close()


def _handler(case: str, contender: str) -> Callable[[bytes], bytes]:
    return handler(list(CASES)[int(case)], contender.replace("%20", " "), Meter())


class FromUpstream(asyncio.Protocol):
    """The gateway's connection to upstream."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def start(self, write: Callable[[bytes], object], handle: Callable[[bytes], bytes]) -> None:
        """Get ready for a response."""
        self._write, self._handle = write, handle
        self._body = Body()
        write(WHOLE_HEAD)

    def data_received(self, data: bytes) -> None:
        """Handle what has arrived, and send it on in one write."""
        out = b""
        arrived = self._body.feed(data)
        if arrived and (handled := self._handle(arrived)):
            out = chunk(handled)
        if self._body.ended:
            out += END
        if out:
            self._write(out)


def bodies(folder: Path) -> dict[str, list[bytes]]:
    """Return what upstream sends: whole responses and streams of lines, without the field and with it."""
    responses = (folder / "responses.ndjson").read_bytes().splitlines()
    lines = (folder / "deltas.ndjson").read_bytes().splitlines()
    last = next(line for line in reversed(lines) if COST in line)
    plain = [line for line in lines if COST not in line]
    starts = _spread(range(0, len(plain) - LINES + 2, LINES - 1), STREAMS)
    found = {}
    for place, value in (("absent", None), ("present", 9.75)):
        whole = [json.patch(body, latency=value) for body in _spread(responses, WHOLE)]
        streams = [[*plain[start : start + LINES - 1], last] for start in starts]
        found[f"whole-{place}"] = whole
        found[f"lines-{place}"] = [
            b"".join(json.patch(line, latency=value) + b"\n" for line in stream) for stream in streams
        ]
    return found


def _spread(items: Sequence[T], count: int) -> Sequence[T]:
    """Return `count` of `items`, evenly spaced."""
    return [items[number * len(items) // count] for number in range(count)]


def on_the_wire(body: bytes) -> bytes:
    """Return a body in the chunks that it is sent in."""
    return b"".join(chunk(body[at : at + STREAM_CHUNK]) for at in range(0, len(body), STREAM_CHUNK))


async def serve(make: Callable[[], Server]) -> None:
    """Serve on loopback, on a port that is printed."""
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve as one of the two."""
    kind, argument = sys.argv[1:]
    if kind == "upstream":
        asyncio.run(serve(partial(Upstream, bodies(Path(argument)))))
    else:
        port = int(argument)
        asyncio.run(serve(partial(Gateway, port)))


if __name__ == "__main__":
    main()
