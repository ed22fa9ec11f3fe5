"""How the tests of the command run it: in this process, where that is enough, or as a user does."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from subprocess import PIPE
from typing import Any, NamedTuple

import msgspec

from bench.corpus import SAMPLE
from chatcodec import json
from chatcodec.cli._commands import run

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RESPONSES = SAMPLE / "responses.ndjson"
DELTAS = SAMPLE / "deltas.ndjson"

GOOD = b'{"cost":1.50,"region":"eu"}'
BAD = b'{"cost":"x"}'
REASON = "Expected `float | null`, got `str` - at `$.cost`"

COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstd.compress}

COMMAND = [sys.executable, "-c", "from chatcodec.cli import main; main()"]


class Outcome(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


def call(*arguments: str | Path) -> Outcome:
    """Run the command in this process."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        status = run([str(argument) for argument in arguments])
    return Outcome(status, out.getvalue(), err.getvalue())


def counted(*arguments: str | Path) -> tuple[int, int, int]:
    """Return how many records, provider errors and bad records ``stats`` counts."""
    status, out, err = call("stats", "--json", *arguments)
    assert (status, err) == (0, "")
    report = msgspec.json.decode(out)
    return report["records"], report["errors"], report["bad"]


def found(*arguments: str | Path) -> list[Any]:
    """Return what ``check`` reports to machines for each bad record."""
    status, out, err = call("check", "--json", *arguments)
    assert (status, err) == (bool(out), "")
    return [msgspec.json.decode(line) for line in out.splitlines()]


def spawn(*arguments: str | Path, redirected: str = "", without: str = "", **options: Any) -> Any:
    """Start the command in a process of its own, and `without` a package; its output goes into pipes.

    A shell redirects its standard streams, as in ``2>&-``. Returns a `Popen[bytes]`, whose type allows absent streams.
    """
    shell = ["sh", "-c", f'exec "$@" {redirected}', "sh"] if redirected else []
    python, option, code = COMMAND
    hiding = f"import sys; sys.modules[{without!r}] = None; " if without else ""
    options = {"stdout": PIPE, "stderr": PIPE, **options}
    return subprocess.Popen([*shell, python, option, hiding + code, *map(str, arguments)], **options)


def finished(process: Any) -> Outcome:
    """Wait for the end of a process."""
    out, err = process.communicate(timeout=60)
    return Outcome(process.returncode, (out or b"").decode(), (err or b"").decode())


def execute(*arguments: str | Path, **options: Any) -> Outcome:
    """Run the command in a process of its own, as `spawn` starts it."""
    return finished(spawn(*arguments, **options))


def peak_memory(*arguments: str | Path) -> int:
    """Run the command, which finds nothing bad, and return how many kilobytes it took at most.

    A small process starts it: Linux counts what a process took before `exec`, which is what its parent takes.
    """
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    return int(subprocess.check_output([sys.executable, "-c", code, *COMMAND, *map(str, arguments)]))


def written(path: Path, *lines: bytes, end: bytes = b"\n") -> Path:
    """Write `lines` to `path`, each with its `end`, and return it."""
    path.write_bytes(b"".join(line + end for line in lines))
    return path


def varied(path: Path) -> Path:
    """Write records of so many costs, latencies and sessions to `path` that `stats` has to estimate."""
    random = Random(0)
    lines = []
    for line in DELTAS.read_bytes().splitlines() * 40:
        cost, latency, session = random.lognormvariate(-6, 2), random.lognormvariate(8, 2), random.getrandbits(64)
        lines.append(json.patch(line, cost=cost, latency=latency, session_id=f"s-{session}"))
    return written(path, *lines)
