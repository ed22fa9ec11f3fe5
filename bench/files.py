"""The workload that reads a file: into records or, if a library offers nothing else, into a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonlines
import msgspec
import orjson
import polars as pl
import pyarrow.json

from bench.measure import Contender, Workload, as_record, own_code
from chatcodec import ChatCompletionResponse, ndjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


def workloads(corpus: str, lines: list[bytes], path: Path) -> Iterator[Workload]:
    """Yield the workload that reads a file of `lines`, which is written to `path`."""
    whole = b"".join(line + b"\n" for line in lines)
    path.write_bytes(whole)
    decoder = msgspec.json.Decoder(ChatCompletionResponse)

    def line_by_line(decode: Callable[[bytes], Any]) -> Callable[[], None]:
        def run() -> None:
            with path.open("rb") as file:
                for line in file:
                    decode(line)

        return own_code(run)

    def iterate(records: Callable[[], Iterable[Any]]) -> Callable[[], None]:
        def run() -> None:
            for _ in records():
                pass

        return run

    def ours() -> Iterator[Any]:
        return ndjson.iter_decode(path.open("rb"))

    options = pyarrow.json.ReadOptions(block_size=2**24)
    yield Workload(
        "ndjson file, records",
        corpus,
        len(lines),
        [
            Contender(
                "msgspec decode_lines, of the file at once",
                iterate(lambda: decoder.decode_lines(path.read_bytes())),
                lambda: decoder.decode_lines(whole),
            ),
            Contender("chatcodec iter_decode", iterate(ours), ours),
            Contender("for line in file + msgspec", line_by_line(decoder.decode)),
            Contender("for line in file + orjson, to dicts", line_by_line(orjson.loads)),
            Contender("jsonlines, to dicts", iterate(lambda: jsonlines.open(str(path)))),
            Contender("polars, to a table", lambda: pl.read_ndjson(path, infer_schema_length=None)),
            Contender("pyarrow, to a table", lambda: pyarrow.json.read_json(path, read_options=options)),
        ],
        as_record,
    )
