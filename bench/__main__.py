"""Measure chatcodec against the bare msgspec calls, and against what users would pick or write instead.

python -m bench             # ten minutes; writes bench/RESULTS.md and bench/results.svg
python -m bench --quick     # a minute
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bench import chart, codecs, corpus, fanout, files, process, reading, report, stamping, tail, writing
from bench.gateway import __main__ as gateway
from bench.gateway import end_to_end
from bench.measure import measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.measure import Figure, Workload
    from bench.summary import Results

COUNTS = {"deltas": 4000, "responses": 1000}
QUICK = {"deltas": 1000, "responses": 200}


def main() -> None:
    """Measure what the arguments ask for."""
    arguments = _arguments()
    rounds = 5 if arguments.quick else 41
    results: Results = {}
    with tempfile.TemporaryDirectory() as folder:
        lines = {name: messages_of(name, arguments.corpus, quick=arguments.quick) for name in COUNTS}
        for workload in workloads(lines, Path(folder)):
            if re.search(arguments.only, workload.name):
                figures = measure(workload, rounds)
                results.setdefault(workload.name, {})[workload.corpus] = figures
                show(workload, figures)
        of_process = {} if arguments.only else measure_process(lines["deltas"], Path(folder), quick=arguments.quick)
    added = {} if arguments.only else gateway.run(arguments.corpus, quick=arguments.quick)
    recipe = {} if arguments.only else end_to_end.run(arguments.corpus, quick=arguments.quick)
    for title, values in (of_process | added | recipe).items():
        print(title, {name: round(value, 2) for name, value in values.items()})
    if arguments.json:
        everything = {"work": results, "process": of_process, "gateway": added, "end to end": recipe}
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(everything)))
    if not (arguments.quick or arguments.only):
        name = "its own, generated" if arguments.corpus is None else "given"
        text = report.text(results, added, recipe, of_process, tail.run(arguments.corpus), name)
        (report.HERE / "RESULTS.md").write_text(text, encoding="utf-8")
        (report.HERE / "results.svg").write_text(chart.draw(results, added), encoding="utf-8")
    if lost := list(_lost(results)):
        sys.exit("chatcodec lost records:\n" + "\n".join(lost))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure chatcodec beside its peers.")
    parser.add_argument("--quick", action="store_true", help="few rounds on a part of the corpus, and write no files")
    parser.add_argument("--only", default="", metavar="REGEX", help="only workloads whose names match; write no files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="where responses.ndjson and deltas.ndjson are")
    return parser.parse_args()


def messages_of(name: str, folder: Path | None, *, quick: bool) -> list[bytes]:
    """Return the messages of a corpus, from `folder` or generated; only a few if `quick`."""
    count = (QUICK if quick else COUNTS)[name]
    lines: Iterable[bytes]
    if folder is None:
        lines = corpus.lines(getattr(corpus, name)(count))
    else:
        with (folder / f"{name}.ndjson").open("rb") as file:
            lines = list(islice(file, count))
    return [line.rstrip(b"\n") for line in lines]


def workloads(lines: dict[str, list[bytes]], folder: Path) -> Iterator[Workload]:
    """Yield every workload on every corpus."""
    for name, messages in lines.items():
        yield from codecs.workloads(name, messages)
        yield from stamping.workloads(name, messages)
        yield from writing.workloads(name, messages)
        yield from reading.workloads(name, messages)
        yield from files.workloads(name, messages, folder / f"{name}.ndjson")
    yield from fanout.workloads("deltas", lines["deltas"])


def measure_process(deltas: list[bytes], folder: Path, *, quick: bool) -> dict[str, dict[Any, float]]:
    """Measure imports, memory and page faults, which are not workloads."""
    found: dict[str, dict[Any, float]] = {"milliseconds to import": process.imports(3 if quick else 25, folder)}
    for megabytes in (20,) if quick else (20, 400):
        found[f"peak memory in MB, streaming {megabytes} MB"] = process.peak_memory(deltas, folder, megabytes)
    found["page faults a record, by chunk size"] = process.page_faults(deltas)
    return found


def show(workload: Workload, figures: list[Figure]) -> None:
    """Print a line for a workload."""
    base, *others = figures
    ratios = ", ".join(f"{other.contender} {other.ratio:.2f}{'*' if other.lost else ''}" for other in others)
    print(f"{workload.name}, {workload.corpus}: {base.contender} {base.nanoseconds:,.0f} ns; {ratios}", flush=True)


def _lost(results: Results) -> Iterator[str]:
    for name, corpora in results.items():
        for figures in corpora.values():
            for figure in figures:
                if figure.lost and figure.contender.startswith("chatcodec"):
                    yield f"{name}, {figure.contender}: {figure.lost}"


if __name__ == "__main__":
    main()
