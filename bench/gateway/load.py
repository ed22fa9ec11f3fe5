"""The load generator: small cells of requests in random order, each byte that comes back verified."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import msgspec

from bench.gateway import handlers, servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Figures = dict[str, dict[str, float]]

READ_BYTES = 256 * 1024
# So many requests are under way at a time: a gateway that is asleep between them measures cold caches.
CONNECTIONS = 8


class Client:
    """One connection, blocking."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, *path: object) -> bytes:
        """Return the body of a response."""
        self.send(*path)
        return b"".join(self.pieces())

    def send(self, *path: object) -> None:
        """Send a request."""
        self._socket.sendall(servers.request(*path))

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        body = servers.Body()
        while not body.ended:
            data = self._socket.recv(READ_BYTES)
            if not data:
                message = "the connection was closed"
                raise ConnectionError(message)
            if piece := body.feed(data):
                yield piece

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@contextmanager
def running(folder: Path) -> Iterator[tuple[Client, list[Client]]]:
    """Run upstream and gateway, and yield a connection to the one and several to the other."""
    with _process("upstream", str(folder)) as upstream, _process("gateway", str(upstream)) as gateway:
        clients = [Client(upstream), *(Client(gateway) for _ in range(CONNECTIONS))]
        try:
            yield clients[0], clients[1:]
        finally:
            for client in clients:
                client.close()


@contextmanager
def _process(*arguments: str) -> Iterator[int]:
    command = [sys.executable, "-m", "bench.gateway.servers", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - this project's own
        try:
            yield int(process.stdout.readline() if process.stdout else b"")
        finally:
            process.terminate()


class Load:
    """What is asked for, and what must come back."""

    def __init__(self, folder: Path) -> None:
        self._bodies = servers.bodies(folder, servers.PER_CELL)
        self._expected: dict[tuple[str, str, int], bytes] = {}

    def kind(self, case: str) -> str:
        """Return what a case asks upstream for."""
        return "whole" if case in handlers.WHOLE else "streams"

    def cell(self, gateway: list[Client], case: str, contender: str) -> float:
        """Return the gateway's CPU time for a response, in microseconds, as the mean of a few."""
        kind = self.kind(case)
        count = servers.PER_CELL[kind]
        before = int(gateway[0].get("cpu"))
        got = []
        for start in range(0, count, CONNECTIONS):
            for client, number in zip(gateway, range(start, count), strict=False):
                client.send(*place(case, contender), kind, number)
            got += [b"".join(client.pieces()) for client, _ in zip(gateway, range(start, count), strict=False)]
        after = int(gateway[0].get("cpu"))
        for number, body in enumerate(got):
            if body != self.expected(case, contender, number):
                message = f"{contender}, {case}: response {number} came back wrong"
                raise AssertionError(message)
        return (after - before) / count / 1e3

    def expected(self, case: str, contender: str, number: int) -> bytes:
        """Return what a contender makes of a body that it gets in one piece, once it was found right."""
        key = case, contender, number
        if key not in self._expected:
            body = self._bodies[self.kind(case)][number]
            made = handlers.handler(case, contender)(body)
            if contender != handlers.FLOOR:
                check(case, body, made)
            self._expected[key] = made
        return self._expected[key]


def place(case: str, contender: str) -> tuple[int, str]:
    """Return what the gateway's path says of the two."""
    return handlers.CASES.index(case), contender.replace(" ", "%20")


def check(case: str, body: bytes, made: bytes) -> None:
    """Raise `AssertionError` unless `made` is what `case` asks for."""
    if case not in handlers.WHOLE:
        wanted, got = list(map(json.loads, body.splitlines())), list(map(json.loads, made.splitlines()))
        stamped = {"stamp every line of 200": wanted, "read 200 lines, stamp the last": wanted[-1:]}.get(case, [])
    else:
        wanted = [json.loads(body)]
        packed = case == "JSON in, MessagePack out"
        got = [msgspec.msgpack.decode(made) if packed else json.loads(made)]
        stamped = [] if packed else wanted
    for record in stamped:
        record["sessionId"], record["latency"] = handlers.SESSION, handlers.LATENCY
    if list(map(_with_time, got)) != list(map(_with_time, wanted)):
        message = f"{case}: not what was asked for"
        raise AssertionError(message)


def _with_time(record: dict[str, Any]) -> dict[str, Any]:
    """Return `record` with its time as one: contenders write it with three digits, with six, or as an extension."""
    time = record["timestamp"]
    return {**record, "timestamp": msgspec.convert(time, datetime)}


def check_first_line_leaves_first(upstream: Client, gateway: Client, load: Load) -> None:
    """Raise unless each handler sends a stream's first line on before the second has left upstream."""
    for case in handlers.STREAMS:
        for contender in handlers.contenders(case):
            gateway.send(*place(case, contender), "held", 0)
            pieces = gateway.pieces()
            first = next(pieces)  # it times out if the gateway waits for more
            upstream.get("release", 0)
            if first + b"".join(pieces) != load.expected(case, contender, 0):
                message = f"{contender}, {case}: a stream in two parts came back wrong"
                raise AssertionError(message)


def measure(folder: Path, rounds: int) -> Figures:
    """Return microseconds of gateway CPU for a response: by case, the floor's own and what contenders add to it."""
    load = Load(folder)
    pairs = [(case, name) for case in handlers.CASES for name in handlers.contenders(case)]
    cells: dict[tuple[str, str], list[float]] = {pair: [] for pair in pairs}
    with running(folder) as (upstream, gateway):
        check_first_line_leaves_first(upstream, gateway[0], load)
        for pair in pairs:
            load.cell(gateway, *pair)  # warms up, and works out what is expected
        shuffle = random.Random(1).shuffle
        for _ in range(rounds):
            shuffle(pairs)  # round by round, so that all of them see the same moments of the machine
            for pair in pairs:
                cells[pair].append(load.cell(gateway, *pair))
    return {case: _added({name: cells[case, name] for name in handlers.contenders(case)}) for case in handlers.CASES}


def _added(cells: dict[str, list[float]]) -> dict[str, float]:
    # The tenth percentile is the steadiest: what else the machine does only ever adds.
    steady = {name: quantiles(values, n=10, method="inclusive")[0] for name, values in cells.items()}
    floor = steady[handlers.FLOOR]
    return {name: value if name == handlers.FLOOR else value - floor for name, value in steady.items()}
