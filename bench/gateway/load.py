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
def running(folder: Path) -> Iterator[tuple[Client, Client]]:
    """Run upstream and gateway, and yield a connection to each."""
    with _process("upstream", str(folder)) as upstream, _process("gateway", str(upstream)) as gateway:
        clients = Client(upstream), Client(gateway)
        try:
            yield clients
        finally:
            for client in clients:
                client.close()


@contextmanager
def _process(*arguments: str) -> Iterator[int]:
    command = [sys.executable, "-m", "bench.gateway.servers", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.terminate()


class Load:
    """What is asked for, and what must come back."""

    def __init__(self, folder: Path, per_cell: dict[str, int]) -> None:
        self._bodies = servers.bodies(folder)
        self._per_cell = per_cell
        self._expected: dict[tuple[str, str, int], bytes] = {}
        self._next = 0

    def kind(self, case: str) -> str:
        """Return what a case asks upstream for."""
        return "whole" if case in handlers.WHOLE else "streams"

    def cell(self, gateway: Client, case: str, contender: str) -> float:
        """Return the gateway's CPU time for a response, in microseconds, as the mean of a few."""
        kind = self.kind(case)
        place = handlers.CASES.index(case), contender.replace(" ", "%20"), kind
        count = self._per_cell[kind]
        numbers = range(count)  # the same in each cell, so that cells can be compared
        before = int(gateway.get("cpu"))
        got = [gateway.get(*place, number) for number in numbers]
        after = int(gateway.get("cpu"))
        for number, body in zip(numbers, got, strict=True):
            if body != self.expected(case, contender, number):
                message = f"{contender}, {case}: response {number} came back wrong"
                raise AssertionError(message)
        return (after - before) / count / 1e3

    def expected(self, case: str, contender: str, number: int) -> bytes:
        """Return what a contender makes of a body that it gets in one piece, once it was found right."""
        key = case, contender, number
        if key not in self._expected:
            body = self._bodies["whole" if self.kind(case) == "whole" else "stream"][number]
            made = handlers.handler(case, contender)(body)
            if contender != handlers.FLOOR:
                check(case, body, made)
            self._expected[key] = made
        return self._expected[key]


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
    if isinstance(time, str):
        time = datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%f%z" if "." in time else "%Y-%m-%dT%H:%M:%S%z")
    return {**record, "timestamp": time}


def check_first_line_leaves_first(upstream: Client, gateway: Client, load: Load) -> None:
    """Raise unless each handler sends a stream's first line on before the second has left upstream."""
    for case in handlers.STREAMS:
        for contender in handlers.contenders(case):
            gateway.send(handlers.CASES.index(case), contender.replace(" ", "%20"), "held", 0)
            pieces = gateway.pieces()
            first = next(pieces)  # it times out if the gateway waits for more
            upstream.get("release", 0)
            assert first + b"".join(pieces) == load.expected(case, contender, 0)


def measure(folder: Path, rounds: int, per_cell: dict[str, int]) -> Figures:
    """Return microseconds of gateway CPU for a response: by case, the floor's own and what contenders add to it."""
    load = Load(folder, per_cell)
    with running(folder) as (upstream, gateway):
        check_first_line_leaves_first(upstream, gateway, load)
        cells = {(case, name): [load.cell(gateway, case, name)] for case in handlers.CASES for name in handlers.contenders(case)}
        order = list(cells) * rounds
        random.Random(1).shuffle(order)
        for case, name in order:
            cells[case, name].append(load.cell(gateway, case, name))
    return {case: _added({name: cells[case, name][1:] for name in handlers.contenders(case)}) for case in handlers.CASES}


def _added(cells: dict[str, list[float]]) -> dict[str, float]:
    # The tenth percentile is the steadiest: what else the machine does only ever adds.
    steady = {name: quantiles(values, n=10, method="inclusive")[0] for name, values in cells.items()}
    floor = steady[handlers.FLOOR]
    return {name: value if name == handlers.FLOOR else value - floor for name, value in steady.items()}
