"""Measure chatcodec beside the bare msgspec calls and beside what users would pick instead.

python -m bench             # some minutes; writes bench/RESULTS.md and bench/results.svg
python -m bench --quick     # under a minute
"""

from __future__ import annotations

import argparse
import re
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bench import codecs, corpus, process, report, streams, tail
from bench.gateway import __main__ as gateway
from bench.measure import measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.measure import Figure, Workload

COUNTS = {"deltas": 4000, "responses": 1000}


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure chatcodec beside its peers.")
    parser.add_argument("--quick", action="store_true", help="few rounds on a part of the corpus, and write no files")
    parser.add_argument("--only", default="", metavar="REGEX", help="only workloads whose names match; write no files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--corpus", type=Path, metavar="FOLDER", help="where responses.ndjson and deltas.ndjson are, measured whole"
    )
    arguments = parser.parse_args()
    rounds = 11 if arguments.quick else 41
    results: report.Results = {}
    with tempfile.TemporaryDirectory() as folder:
        lines = {name: messages_of(name, arguments.corpus, quick=arguments.quick) for name in COUNTS}
        for workload in workloads(lines, Path(folder)):
            if re.search(arguments.only, workload.name):
                figures = measure(workload, rounds)
                results.setdefault(workload.name, {})[workload.corpus] = figures
                show(workload, figures)
        of_process = {} if arguments.only else measure_process(lines["deltas"], Path(folder), quick=arguments.quick)
    for title, values in of_process.items():
        print(title, {name: round(value, 2) for name, value in values.items()})
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode({"work": results, "process": of_process})))
    if not (arguments.quick or arguments.only):
        name = "its own, generated" if arguments.corpus is None else "given"
        added = gateway.run(arguments.corpus)
        tables = {
            "In a gateway: added CPU time, µs a response, and its share of what orjson adds": gateway.table(added),
            "With a heap of ten million objects: what collections add": tail.table(tail.run(arguments.corpus)),
        }
        (report.HERE / "RESULTS.md").write_text(report.text(results, of_process, tables, name), encoding="utf-8")
        report.chart(results, added, report.HERE / "results.svg")


def messages_of(name: str, folder: Path | None, *, quick: bool) -> list[bytes]:
    """Return the messages of a corpus: all those that are given, or some generated ones; few if `quick`."""
    lines: Iterable[bytes]
    if folder is None:
        lines = corpus.lines(getattr(corpus, name)(COUNTS[name]))
    else:
        with (folder / f"{name}.ndjson").open("rb") as file:
            lines = file.readlines()
    return [line.rstrip(b"\n") for line in islice(lines, COUNTS[name] // 2 if quick else None)]


def workloads(lines: dict[str, list[bytes]], folder: Path) -> Iterator[Workload]:
    """Yield every workload on every corpus."""
    for name, messages in lines.items():
        yield from codecs.workloads(name, messages)
        yield from streams.workloads(name, messages, folder)


def measure_process(deltas: list[bytes], folder: Path, *, quick: bool) -> dict[str, dict[Any, float]]:
    """Measure what is not a workload."""
    found: dict[str, dict[Any, float]] = {"milliseconds to import": process.imports(5 if quick else 25, folder)}
    for megabytes in (20,) if quick else (20, 400):
        found[f"peak memory in MB, streaming {megabytes} MB"] = process.peak_memory(deltas, folder, megabytes)
    found["page faults a record, by chunk size"] = process.page_faults(deltas)
    return found


def show(workload: Workload, figures: list[Figure]) -> None:
    """Print a line for a workload."""
    limit, *others = figures
    ratios = ", ".join(f"{other.contender} {other.ratio:.2f}{'*' if other.lost else ''}" for other in others)
    print(f"{workload.name}, {workload.corpus}: {limit.nanoseconds:,.0f} ns; {ratios}", flush=True)


if __name__ == "__main__":
    main()
