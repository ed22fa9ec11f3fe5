"""Read files of JSON lines on many machines, with Dask (https://docs.dask.org).

A partition is the lines that begin in a range of a file's bytes, so each line is in exactly one partition. Dask's own
reader partitions in the same way, but does not say where in the file a partition begins, which errors have to state.

Whether failed requests are retried depends on the file system. ``s3fs`` tries up to five times;
``storage_options={"config_kwargs": {"retries": {"mode": "standard", "max_attempts": 10}}}`` makes it ten. If yours does
not retry, ``compute(retries=3)`` has the cluster read a partition again after any exception.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

import dask
import dask.bag as dask_bag
from dask.sizeof import sizeof
from fsspec.compression import compr  # type: ignore[import-untyped]
from msgspec import Raw, Struct

from . import ndjson
from ._dask_files import blocks, compression
from ._errors import RecordError, StreamError
from ._record import Envelope
from ._stats.distribution import FieldReport
from ._stats.logged import Logged
from ._stats.summary import Report, Summary, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from dask.bag import Bag, Item

__all__ = ["FieldReport", "Report", "read_ndjson", "stats"]

# Most of Dask's functions have no types.
_dask: Any = dask
_dask_bag: Any = dask_bag

_zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

# How much is decoded at once, and how much is read at a time beyond a partition to complete its last line.
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
        urlpath: one or more paths or URLs; ``*`` is a wildcard.
        type: what a line is decoded as, as in `chatcodec.ndjson.StreamDecoder`.
        blocksize: the approximate size of a partition; ``None`` for whole files, which compressed files require.
        on_error: called with the `RecordError` for each bad record, in the process that reads it; called again if Dask
            has to read the partition again. Without it, computing raises the error.
        storage_options: arguments for fsspec's file system, such as credentials.

    Raises:
        OSError: `urlpath` matches no file. Computing raises it if a file has become shorter, or cannot be decompressed.
        ValueError: a file is compressed, and `blocksize` is not ``None``; `blocksize` is less than 1; no path is given.
        TypeError: computing raises it for a `type` defined in a script or notebook, whose fields do not reach other
            processes.

    An error's `path` names its file, as `fsspec.open` accepts it. Its `offset` is where the bad line starts in that
    file, after any decompression; its `index` counts the lines of its partition, from 1; its `records` are empty. If a
    file or its compressed data was cut, computing raises `StreamError`, even with `on_error`.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
    ...     _ = file.write('{"cost":1}\n{"cost":2}\n')
    ...     file.flush()
    ...     read_ndjson(file.name).map(lambda record: record.cost).sum().compute(scheduler="sync")
    3.0
    """
    parts = _parts(urlpath, blocksize, storage_options)
    bag: Bag = _bag(_decoded, parts, type, _fields(type), on_error or _raise)
    return bag


def stats(
    urlpath: str | Sequence[str],
    blocksize: str | int | None = "64 MiB",
    storage_options: Mapping[str, Any] | None = None,
) -> Item:
    r"""Sum up files of JSON lines, as the command ``chatcodec stats`` does; computing it returns a `Report`.

    Bad records are counted; a file that ends early counts as one more. Messages in which the provider reported an
    ``error`` are counted separately. Arguments, `OSError` and `ValueError` are as in `read_ndjson`.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
    ...     _ = file.write('{"cost":1}\n{"cost":2}\n')
    ...     file.flush()
    ...     stats(file.name).compute(scheduler="sync").cost.total
    3.0
    """
    summaries = _bag(_summarised, _parts(urlpath, blocksize, storage_options))
    report: Item = summaries.reduction(merged, merged).apply(Summary.report)
    return report


class _Cut(Exception):  # noqa: N818  # it never leaves this module
    """A compressed file ends before its end mark. The arguments are the line and the offset where it ends."""


class _Part(Struct, frozen=True):
    """The lines of a file that begin at `start` or later, and before `stop` if there is one; `size` is the file's."""

    fs: Any
    path: str
    url: str
    size: int | None
    start: int
    stop: int | None

    def batches(self, type: type[Any], on_error: Callable[[RecordError], object]) -> Iterator[list[Any]]:
        """Yield the records of each chunk. Errors name the file and the position in it."""
        with self._opened() as file:
            origin, chunks = (0, self._all(file)) if self.stop is None else self._block(file, self.stop)
            decoder = ndjson.StreamDecoder(type, on_error=lambda error: on_error(self._located(error, origin)))
            cut: StreamError | None = None
            try:
                for chunk in chunks:
                    yield decoder.feed(chunk)
            except _Cut as error:
                line, offset = error.args
                cut = StreamError("incomplete", "line", line, offset, "the compressed file ends early")
            try:
                yield decoder.finish()
            except StreamError as error:
                raise self._located(error, origin, cut.reason if cut else None) from error.__cause__
            if cut is not None:
                raise self._located(cut, origin)

    def _opened(self) -> Any:
        file = self.fs.open(self.path, "rb", block_size=None if self.stop is None else _CHUNK_BYTES)
        # A file in memory is shared by all who open it, and so is its position. This does not copy its bytes.
        return BytesIO(file.getvalue()) if self.fs.protocol == "memory" else file

    def _located(self, error: RecordError, origin: int, reason: str | None = None) -> RecordError:
        """Return `error` with its position in the file, in which the decoder's stream began at `origin`."""
        index = error.index - min(self.start, 1)  # the newline that precedes the first line was decoded too
        offset = origin + error.offset
        located = type(error)(error.kind, error.unit, index, offset, reason or error.reason, error.data, path=self.url)
        located.__cause__ = error.__cause__
        return located

    def _all(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the whole content of `file`, decompressed."""
        line, offset = 1, 0
        try:
            with _decompressed(file, self.path) as text:
                # `read` would wait for more, and lose what it has if the next read fails.
                for chunk in iter(partial(getattr(text, "read1", text.read), _CHUNK_BYTES), b""):
                    yield chunk
                    line += chunk.count(b"\n")
                    offset += len(chunk)
        except EOFError:
            raise _Cut(line, offset) from None
        except Exception as error:
            message = f"{self.url} cannot be read: {error}"
            raise OSError(message) from error
        if compression(self.path) and not file.tell():
            raise _Cut(line, offset)  # no compressed file is empty, though gzip accepts one
        if offset < (self.size or 0):
            raise self._shorter(self.size)

    def _shorter(self, size: int | None) -> OSError:
        return OSError(f"{self.url} has become shorter than {size} bytes")

    def _block(self, file: BinaryIO, stop: int) -> tuple[int, Iterator[bytes]]:
        """Return where the newline before the first line is, and the text from that newline on."""
        lead = min(self.start, 1)
        begin = self.start - lead
        file.seek(begin)
        block = file.read(stop - begin)
        if len(block) < stop - begin:
            raise self._shorter(stop)
        skipped = block.find(b"\n") if lead else 0
        if skipped < 0:
            return stop, iter(())
        return begin + skipped, _whole_lines(block, skipped, file)


def _whole_lines(block: bytes, first: int, file: BinaryIO) -> Iterator[bytes]:
    """Yield `block` from `first` on, then the rest of its last line."""
    for start in range(first, len(block), _CHUNK_BYTES):
        yield block[start : start + _CHUNK_BYTES]
    while block and not block.endswith(b"\n"):
        block = file.read(_CHUNK_BYTES)
        block = block[: block.find(b"\n") + 1 or None]
        yield block


def _decompressed(file: BinaryIO, path: str) -> Any:
    openers: dict[str | None, Any] = {**compr, "zstd": _zstd.ZstdFile}
    return openers[compression(path)](file, mode="rb")


def _parts(
    urlpath: str | Sequence[str], blocksize: str | int | None, storage_options: Mapping[str, Any] | None
) -> list[_Part]:
    return [_Part(*block) for block in blocks(urlpath, blocksize, storage_options or {})]


def _bag(function: Callable[..., object], parts: Iterable[_Part], *arguments: object) -> Any:
    return _dask_bag.from_delayed([_dask.delayed(function)(part, *arguments) for part in parts])


def _fields(type: type[Any]) -> tuple[str, ...]:
    return getattr(type, "__struct_fields__", ())


def _decoded(
    part: _Part, type: type[Any], fields: tuple[str, ...], on_error: Callable[[RecordError], object]
) -> list[Any]:
    # A type that a script defines is rebuilt in another process, with only the fields of its base.
    if _fields(type) != fields:  # pragma: no cover  # runs in other processes
        message = f"{type.__name__} came to this process without its fields: define it in a module that can be imported"
        raise TypeError(message)
    try:
        return list(chain.from_iterable(part.batches(type, on_error)))
    except RecordError as error:
        error.records = []  # useless without those of earlier chunks, and costly to send
        raise


def _summarised(part: _Part) -> list[Summary]:
    summary = Summary()

    def add(responses: list[Logged]) -> None:
        records = [response for response in responses if not response.failed]
        summary.errors += len(responses) - len(records)
        summary.add(records)

    def count(_: RecordError) -> None:
        summary.bad += 1

    try:
        # `map` drops each list before the next is decoded, which takes 25 % less time than keeping it in a variable.
        for _ in map(add, part.batches(Logged, count)):
            pass
    except StreamError as cut:
        count(cut)
    return [summary]


def _raise(error: RecordError) -> NoReturn:
    try:
        raise error
    finally:
        del error


@sizeof.register(Raw)  # type: ignore[untyped-decorator, no-untyped-call]
def _size_of_raw(raw: Raw) -> int:
    """Return the size that ``sys.getsizeof`` gets wrong, by petabytes (msgspec 0.22)."""
    return len(raw)
