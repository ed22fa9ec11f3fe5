"""Files of JSON lines on many machines, with Dask (https://docs.dask.org).

Dask's own reader cuts files at line ends, so that a partition is a block of whole lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.bag
import dask.bytes
from dask.delayed import delayed

from . import ndjson
from ._errors import RecordError
from ._record import ChatCompletionResponse, Envelope
from ._stats.distribution import FieldReport
from ._stats.summary import Report, Summary, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dask.bag import Bag, Item
    from dask.delayed import Delayed

__all__ = ["FieldReport", "Report", "read_ndjson", "stats"]

# Most of Dask's functions have no types.
_dask: Any = dask

# Of a block, so much is decoded at once where the records are not kept.
_CHUNK_BYTES = 64 * 1024


def read_ndjson(
    urlpath: str | Sequence[str],
    type: type[Any] = Envelope,
    blocksize: str | int | None = "64 MiB",
    on_error: Callable[[RecordError], object] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Bag:
    r"""Return a bag of the records in files of JSON lines, on a disk or anywhere that fsspec reaches.

    Args:
        urlpath: one or more paths or URLs; ``*`` in them is a pattern.
        type: what a line is decoded as, as in `chatcodec.ndjson.StreamDecoder`.
        blocksize: about how much of a file is a partition; ``None`` for whole files, as compressed ones must be.
        on_error: is called with the `RecordError` of each bad record, in the process that reads it. Without it,
            computing raises the error. An error's `index` and `offset` count from the start of its partition;
            its `records` are empty.
        storage_options: what fsspec needs to know of the place, such as credentials.

    Raises:
        OSError: `urlpath` matches no file.
        ValueError: a file is compressed, and `blocksize` is not ``None``.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
    ...     _ = file.write('{"cost":1}\n{"cost":2}\n')
    ...     file.flush()
    ...     read_ndjson(file.name).map(lambda record: record.cost).sum().compute(scheduler="sync")
    3.0
    """
    blocks = _blocks(urlpath, blocksize, storage_options)
    bag: Bag = _bag(delayed(_decoded, pure=True)(block, first, type, on_error) for block, first in blocks)
    return bag


def stats(
    urlpath: str | Sequence[str],
    blocksize: str | int | None = "64 MiB",
    storage_options: Mapping[str, Any] | None = None,
) -> Item:
    r"""Sum up files of JSON lines, as the command ``chatcodec stats`` does; computing it returns a `Report`.

    Bad records are counted. The arguments are those of `read_ndjson`, and so is what it raises.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
    ...     _ = file.write('{"cost":1}\n{"cost":2}\n')
    ...     file.flush()
    ...     stats(file.name).compute(scheduler="sync").cost.total
    3.0
    """
    blocks = _blocks(urlpath, blocksize, storage_options)
    summaries = _bag(delayed(_summarised, pure=True)(block, first) for block, first in blocks)
    report: Item = summaries.reduction(merged, merged).apply(Summary.report)
    return report


def _bag(partitions: Iterable[Delayed]) -> Any:
    return _dask.bag.from_delayed(list(partitions))


def _blocks(
    urlpath: str | Sequence[str], blocksize: str | int | None, storage_options: Mapping[str, Any] | None
) -> list[tuple[Delayed, bool]]:
    """Return the blocks of all files, and of each whether it is the first one of its file."""
    _, files = _dask.bytes.read_bytes(
        urlpath, delimiter=b"\n", blocksize=blocksize, sample=False, compression="infer", **(storage_options or {})
    )
    return [(block, not number) for blocks in files for number, block in enumerate(blocks)]


def _decoded(block: bytes, first: bool, type: type[Any], on_error: Callable[[RecordError], object] | None) -> list[Any]:
    lead = _lead(first)

    def tell(error: RecordError) -> None:
        index, offset = error.index - len(lead), error.offset - len(lead)
        moved = RecordError(error.kind, error.unit, index, offset, error.reason, error.data)
        if on_error is None:
            raise moved
        on_error(moved)

    decoder = ndjson.StreamDecoder(type, on_error=tell)
    try:
        return decoder.feed(lead) + decoder.feed(block) + decoder.finish()
    except RecordError as error:
        error.records = []  # of no use without the rest, and too much to be sent along
        raise


def _summarised(block: bytes, first: bool) -> list[Summary]:
    summary = Summary()
    errors: list[RecordError] = []
    decoder = ndjson.StreamDecoder(ChatCompletionResponse, on_error=errors.append)
    decoder.feed(_lead(first))
    for start in range(0, len(block), _CHUNK_BYTES):
        summary.add(decoder.feed(block[start : start + _CHUNK_BYTES]))
    summary.add(decoder.finish())
    summary.bad = len(errors)
    return [summary]


def _lead(first: bool) -> bytes:
    """Return what keeps a byte order mark from being skipped, where it does not start the file."""
    return b"" if first else b"\n"
