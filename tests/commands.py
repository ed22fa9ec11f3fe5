"""How the tests of the command call it: in this process, where nothing else is needed, or as a user does."""

from __future__ import annotations

import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.corpus import SAMPLE
from chatcodec import json
from chatcodec.cli._commands import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

RESPONSES = SAMPLE / "responses.ndjson"
DELTAS = SAMPLE / "deltas.ndjson"

GOOD = b'{"cost":1.50,"region":"eu"}'
BAD = b'{"cost":"x"}'
REASON = "Expected `float | null`, got `str` - at `$.cost`"

Process = subprocess.Popen[Any]

COMMAND = [sys.executable, "-c", "from chatcodec.cli import main; main()"]


class Outcome(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


def call(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> Outcome:
    """Run the command in this process."""
    status = run([str(argument) for argument in arguments])
    printed = capfd.readouterr()
    return Outcome(status, printed.out, printed.err)


def spawn(*arguments: str | Path, **options: Any) -> Process:
    """Start the command in a process of its own."""
    return subprocess.Popen([*COMMAND, *map(str, arguments)], **options)


def written(path: Path, *lines: bytes) -> Path:
    """Write `lines` to `path`, and return it."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def varied(path: Path) -> Path:
    """Write so many records of other costs, latencies and sessions to `path` that sums of them are estimates."""
    random = Random(0)
    return written(
        path,
        *(
            json.patch(
                line,
                cost=random.lognormvariate(-6, 2),
                latency=random.lognormvariate(8, 2),
                session_id=f"s-{random.getrandbits(64)}",
            )
            for line in DELTAS.read_bytes().splitlines() * 40
        ),
    )


def untimed(lines: bytes, load: Callable[[str], Any]) -> list[Any]:
    """Return the records of `lines` without their times, whose text transcoding may change."""
    return [{**load(line), "timestamp": None} for line in lines.decode().split("\n") if line]
