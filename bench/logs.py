"""Time and memory of the command on a log of 1 GB, with one job and with two, beside duckdb and polars.

python -m bench.logs            # some minutes, and 1 GB of disk
python -m bench.logs --quick    # a log of 150 MB

Each runs in its own process, in turn, and the figures are medians: wall-clock seconds, seconds of CPU time, and peak
memory in MB. duckdb and polars compute what ``stats`` does, but assume that every line is good.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from os import wait4
from pathlib import Path
from typing import TYPE_CHECKING

from bench.command import command, corpus_in

if TYPE_CHECKING:
    from collections.abc import Iterable

ROUNDS = 3
MEGABYTES = {False: 1000, True: 150}
COLUMNS = ["seconds", "CPU seconds", "MB"]

_COMMAND = [sys.executable, "-c", "from chatcodec.cli import main; main()"]
_NUMBERS = "count({0}), sum({0}), avg({0}), quantile_cont({0}, [0.5, 0.9, 0.99]), max({0})"
_DUCKDB = f"""
import duckdb
duckdb.sql("SET threads = {{jobs}}")
print(duckdb.sql('''
    SELECT count(*), min(timestamp), max(timestamp), approx_count_distinct("sessionId"),
        {_NUMBERS.format("cost")}, {_NUMBERS.format("latency")}
    FROM read_json('{{path}}', format = 'newline_delimited', columns = {{{{
        timestamp: 'TIMESTAMP', sessionId: 'VARCHAR', cost: 'DOUBLE', latency: 'DOUBLE'}}}})
''').fetchall())
"""  # noqa: S608
_POLARS = """
import os
os.environ["POLARS_MAX_THREADS"] = "{jobs}"
import polars as pl
schema = {{"timestamp": pl.String, "sessionId": pl.String, "cost": pl.Float64, "latency": pl.Float64}}
of = lambda name: [pl.col(name).count().alias(name + "count"), pl.col(name).sum().alias(name + "sum"),
    *(pl.col(name).quantile(q).alias(name + str(q)) for q in (0.5, 0.9, 0.99)), pl.col(name).max().alias(name + "max")]
print(pl.scan_ndjson("{path}", schema=schema).select(
    pl.len(), pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last"),
    pl.col("sessionId").approx_n_unique(), *of("cost"), *of("latency")).collect(engine="streaming"))
"""

Figures = dict[str, dict[str, float]]


def main() -> None:
    """Measure as the arguments ask."""
    command("bench.logs", "Measure the command on a log.", f"a log of {MEGABYTES[True]} MB", run, table)


def run(folder: Path | None = None, *, quick: bool = False) -> Figures:
    """Return the figures of each contender, on a log made of the corpus in `folder`, or of a generated one."""
    with corpus_in(folder, 1000, 10_000) as corpus, tempfile.TemporaryDirectory() as own:
        log = Path(own) / "log.ndjson"
        block = b"".join((corpus / f"{name}.ndjson").read_bytes() for name in ("responses", "deltas"))
        with log.open("wb") as file:
            while file.tell() < MEGABYTES[quick] * 1_000_000:
                file.write(block)
        contenders = dict(_contenders(log))
        seen = [{name: _measured(arguments) for name, arguments in contenders.items()} for _ in range(ROUNDS)]
    return {
        name: {
            column: statistics.median(figures[name][number] for figures in seen)
            for number, column in enumerate(COLUMNS)
        }
        for name in contenders
    }


def _contenders(log: Path) -> Iterable[tuple[str, list[str]]]:
    for jobs in (1, 2):
        yield f"stats, {jobs}", [*_COMMAND, "stats", f"--jobs={jobs}", str(log)]
        for name, code in (("duckdb", _DUCKDB), ("polars", _POLARS)):
            yield f"{name}, {jobs}", [sys.executable, "-c", code.format(jobs=jobs, path=log)]
        yield f"check, {jobs}", [*_COMMAND, "check", f"--jobs={jobs}", str(log)]
        yield f"convert, {jobs}", [*_COMMAND, "convert", f"--jobs={jobs}", str(log), str(log.with_suffix(".msgpack"))]


def _measured(arguments: list[str]) -> tuple[float, float, float]:
    start = time.perf_counter()
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:  # noqa: S603
        _, status, usage = wait4(process.pid, 0)
        process.returncode = status
    if status:
        raise subprocess.CalledProcessError(status, arguments)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def table(figures: Figures) -> str:
    """Return `figures` as a table in Markdown."""
    lines = [f"| contender, jobs | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [
        f"| {name} | {row['seconds']:.2f} | {row['CPU seconds']:.2f} | {row['MB']:.0f} |"
        for name, row in figures.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
