"""The load generator: small cells of requests, in turn; every byte that comes back is verified."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec

from bench.by_hand import LATENCY
from bench.gateway import handlers, servers
from bench.gateway.cases import CASES, handler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Figures = dict[str, dict[str, float]]

READ_BYTES = 256 * 1024
# Concurrent requests: a gateway that slept between requests would run on cold caches.
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
    with (
        process("servers", "upstream", str(folder)) as upstream,
        process("servers", "gateway", str(upstream)) as gateway,
    ):
        clients = [Client(upstream), *(Client(gateway) for _ in range(CONNECTIONS))]
        try:
            yield clients[0], clients[1:]
        finally:
            for client in clients:
                client.close()


@contextmanager
def process(module: str, *arguments: str) -> Iterator[int]:
    """Run a module of this package, and yield the port that it prints."""
    command = [sys.executable, "-m", f"bench.gateway.{module}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - this project's own
        try:
            yield int(process.stdout.readline() if process.stdout else b"")
        finally:
            process.terminate()


class Load:
    """The requests, and the responses that must come back."""

    def __init__(self, folder: Path) -> None:
        self._bodies = servers.bodies(folder)
        self._expected: dict[tuple[str, str, int], bytes] = {}

    def cell(self, gateway: list[Client], case: str, contender: str) -> float:
        """Return the gateway's CPU time per response, in microseconds: the mean over a cell."""
        kind = CASES[case].kind
        count = len(self._bodies[kind])
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
        """Return what a contender makes of a body in one piece, after checking it once."""
        key = case, contender, number
        if key not in self._expected:
            body = self._bodies[CASES[case].kind][number]
            meter = handlers.Meter()
            made = handler(case, contender, meter)(body)
            if contender != handlers.FLOOR:
                check(case, body, made, meter)
            self._expected[key] = made
        return self._expected[key]


def place(case: str, contender: str) -> tuple[int, str]:
    """Return the parts of the gateway's path that stand for the two."""
    return list(CASES).index(case), contender.replace(" ", "%20")


def check(case: str, body: bytes, made: bytes, meter: handlers.Meter) -> None:
    """Raise `AssertionError` unless `made` is what `case` asks for, and all cost was counted."""
    wanted, stamped = list(map(json.loads, body.splitlines())), CASES[case].stamped
    priced = [record for record in wanted if "cost" in record]
    counted = sum(record["cost"] for record in priced), priced[-1]["sessionId"]
    for record in {"all": wanted, "cost": priced, "none": []}[stamped]:
        record["latency"] = LATENCY
    got = [msgspec.msgpack.decode(made)] if stamped == "none" else list(map(json.loads, made.splitlines()))
    if list(map(_with_time, got)) != list(map(_with_time, wanted)) or (meter.cost, meter.session) != counted:
        message = f"{case}: not what was asked for"
        raise AssertionError(message)


def _with_time(record: dict[str, Any]) -> dict[str, Any]:
    """Return `record` with its time decoded: contenders write three digits, six, or an extension."""
    time = record["timestamp"]
    return {**record, "timestamp": msgspec.convert(time, datetime)}


def check_first_line_leaves_first(upstream: Client, gateway: Client, load: Load) -> None:
    """Raise unless each handler sends a stream's first line on before the second has left upstream."""
    for case in (name for name in CASES if CASES[name].kind.startswith("lines")):
        for contender in CASES[case].contenders:
            gateway.send(*place(case, contender), f"held-{CASES[case].kind}", 0)
            pieces = gateway.pieces()
            first = next(pieces)  # it times out if the gateway waits for more
            upstream.get(f"release-{CASES[case].kind}", 0)
            if first + b"".join(pieces) != load.expected(case, contender, 0):
                message = f"{contender}, {case}: a stream in two parts came back wrong"
                raise AssertionError(message)


def measure(folder: Path, rounds: int) -> Figures:
    """Return microseconds of gateway CPU per response: by case, the floor's own and what contenders add to it."""
    load = Load(folder)
    with running(folder) as (upstream, gateway):
        check_first_line_leaves_first(upstream, gateway[0], load)
        seen = {case: [_round(load, gateway, case) for _ in range(2)] for case in CASES}  # warms up
        for _ in range(rounds):
            for case in CASES:
                seen[case].append(_round(load, gateway, case))
    return {case: _added(some[2:]) for case, some in seen.items()}


def _round(load: Load, gateway: list[Client], case: str) -> dict[str, float]:
    """Return the floor's time, and each contender's over the mean of the floor's beside it."""
    before = load.cell(gateway, case, handlers.FLOOR)
    found = {handlers.FLOOR: before}
    for name in CASES[case].contenders:
        if name != handlers.FLOOR:
            time, after = load.cell(gateway, case, name), load.cell(gateway, case, handlers.FLOOR)
            found[name] = 2 * time / (before + after)
            before = after
    return found


def _added(rounds: list[dict[str, float]]) -> dict[str, float]:
    middle = {name: median(some[name] for some in rounds) for name in rounds[0]}
    floor = middle[handlers.FLOOR]
    return {name: floor if name == handlers.FLOOR else (ratio - 1) * floor for name, ratio in middle.items()}
