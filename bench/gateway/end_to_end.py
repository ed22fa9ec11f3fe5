"""What the README's gateway costs end to end, beside simple ones that forward untouched or stamp with orjson.

python -m bench.gateway.end_to_end             # a minute
python -m bench.gateway.end_to_end --quick     # some seconds
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from http.client import HTTPConnection
from statistics import median
from typing import TYPE_CHECKING

from bench.command import command, corpus_in
from bench.gateway import apps, servers
from bench.gateway.load import process

if TYPE_CHECKING:
    from pathlib import Path

    Figures = dict[str, dict[str, float]]

KINDS = {"a whole response": "whole-absent", "a stream of 200 lines": "lines-absent"}
CONNECTIONS = 8


class Clients:
    """Connections to a gateway: requests go out on all of them before the first response is read."""

    def __init__(self, port: int) -> None:
        self._connections = [HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(CONNECTIONS)]

    def cpu(self) -> int:
        """Return the CPU time of the gateway so far, in nanoseconds."""
        self._connections[0].request("GET", "/cpu")
        return int(self._connections[0].getresponse().read())

    def bodies(self, kind: str) -> list[bytes]:
        """Return the response on each connection."""
        for number, connection in enumerate(self._connections):
            connection.request("POST", f"/{kind}/{number}")
        return [connection.getresponse().read() for connection in self._connections]

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()


def main() -> None:
    """Measure as the arguments ask."""
    command("bench.gateway.end_to_end", "Measure the README's gateway.", "few rounds", run, table)


def run(folder: Path | None = None, *, quick: bool = False) -> Figures:
    """Return the CPU time of each gateway per response, in microseconds, by kind of request."""
    with corpus_in(folder, 500, 8000) as place, ExitStack() as stack:
        sent = servers.bodies(place)
        upstream = stack.enter_context(process("servers", "upstream", str(place)))
        clients = {}
        for name in apps.NAMES:
            clients[name] = Clients(stack.enter_context(process("apps", str(upstream), name)))
            stack.callback(clients[name].close)
        return {
            title: _measure(clients, kind, sent[kind], 3 if quick else 60, 2 if kind.startswith("lines") else 8)
            for title, kind in KINDS.items()
        }


def _measure(clients: dict[str, Clients], kind: str, sent: list[bytes], rounds: int, repeat: int) -> dict[str, float]:
    seen: dict[str, list[float]] = {name: [] for name in clients}
    for name, client in clients.items():
        for _ in range(3):  # warms up
            if [*map(_records, client.bodies(kind))] != [*map(_records, sent[:CONNECTIONS])]:
                message = f"{name}, {kind}: not what was asked for"
                raise AssertionError(message)
    for _ in range(rounds):
        for name, client in clients.items():
            before = client.cpu()
            for _ in range(repeat):
                client.bodies(kind)
            seen[name].append((client.cpu() - before) / repeat / CONNECTIONS / 1e3)
    return {name: median(times) for name, times in seen.items()}


def _records(body: bytes) -> list[dict[str, object]]:
    """Return the records of a body, without what is stamped."""
    records = [json.loads(line) for line in body.splitlines() if line]
    return [{name: value for name, value in record.items() if name != "latency"} for record in records]


def table(figures: Figures) -> str:
    """Return the figures as Markdown."""
    rows = [["µs", *apps.NAMES], ["---", *["--:"] * len(apps.NAMES)]]
    rows += [[title, *(f"{times[name]:.0f}" for name in apps.NAMES)] for title, times in figures.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
