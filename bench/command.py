"""What the standalone benchmarks share: their arguments, and the corpus to measure on."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from bench import corpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    F = TypeVar("F")


def command(name: str, about: str, quick: str, run: Callable[..., F], table: Callable[[F], str]) -> None:
    """Call `run(folder, quick=...)` as the arguments say, and print the figures that it returns as a `table`."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=about)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="where responses.ndjson and deltas.ndjson are")
    arguments = parser.parse_args()
    figures = run(arguments.corpus, quick=arguments.quick)
    print(table(figures))
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))


@contextmanager
def corpus_in(folder: Path | None, responses: int, deltas: int) -> Iterator[Path]:
    """Yield `folder` or, without one, a temporary folder with that many generated responses and deltas."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as own:
        (Path(own) / "responses.ndjson").write_bytes(b"".join(corpus.lines(corpus.responses(responses))))
        (Path(own) / "deltas.ndjson").write_bytes(b"".join(corpus.lines(corpus.deltas(deltas))))
        yield Path(own)
