"""The cost of a process: import time, peak memory, page faults in steady state."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from bench.readers import cut
from chatcodec import ndjson

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMPORTED = ("msgspec", "chatcodec", "chatcodec.json", "chatcodec.ndjson", "pydantic")
IMPORT = "from time import perf_counter; start = perf_counter(); import {}; print(perf_counter() - start)"
STREAM = """
from pathlib import Path
from chatcodec import ChatCompletionResponse, ndjson
import msgspec
decode = msgspec.json.Decoder(ChatCompletionResponse).decode
with open({path!r}, "rb") as file:
    {loop}
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
"""
LOOPS = {
    "for line in file + msgspec": "for line in file: decode(line)",
    "chatcodec iter_decode": "for record in ndjson.iter_decode(file): pass",
    "chatcodec iter_decode, bytes": "for line in ndjson.iter_decode(file, bytes): pass",
}


def _printed(code: str, environment: dict[str, str] | None = None) -> float:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)  # noqa: S603
    return float(done.stdout)


def imports(rounds: int, folder: Path) -> dict[str, float]:
    """Return the milliseconds that each import takes: the median of `rounds` processes, in turn."""
    seen: dict[str, list[float]] = {name: [] for name in IMPORTED}
    # All are compiled once, as an installer leaves them.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    for number in range(rounds + 1):
        for name in IMPORTED:
            taken = 1000 * _printed(IMPORT.format(name), environment)
            if number:
                seen[name].append(taken)
    return {name: statistics.median(times) for name, times in seen.items()}


def peak_memory(lines: list[bytes], folder: Path, megabytes: int) -> dict[str, float]:
    """Return the peak resident memory, in MB, of streaming a file of `megabytes`, by reader."""
    path = folder / "long.ndjson"
    block = b"".join(line + b"\n" for line in lines)
    with path.open("wb") as file:
        while file.tell() < megabytes * 1_000_000:
            file.write(block)
    seen = {name: _printed(STREAM.format(path=str(path), loop=loop)) for name, loop in LOOPS.items()}
    path.unlink()
    return seen


def page_faults(lines: list[bytes]) -> dict[int, float]:
    """Return the minor page faults per record in steady state, by chunk size."""
    whole = b"".join(line + b"\n" for line in lines)
    return {size: _faults(cut(whole, size)) / len(lines) for size in (1400, 16384, 65536)}


def _faults(chunks: list[bytes]) -> float:
    decoder: ndjson.StreamDecoder = ndjson.StreamDecoder()

    def run() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for chunk in chunks:
            decoder.feed(chunk)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    return statistics.median(_warm(run))


def _warm(run: Callable[[], int]) -> list[int]:
    return [run() for _ in range(9)][4:]
