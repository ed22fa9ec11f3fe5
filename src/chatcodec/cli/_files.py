"""Where records are: names to formats, files to chunks, and files to segments that can be read apart."""

from __future__ import annotations

import gzip
import os
import stat
import sys
import zlib
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._jobs import Meter

Format = Literal["ndjson", "msgpack"]

_FORMATS: dict[str, Format] = {".ndjson": "ndjson", ".jsonl": "ndjson", ".msgpack": "msgpack"}
_COMPRESSIONS = (".gz", ".zst")

# How much is read, and decoded, at once.
CHUNK_BYTES = 64 * 1024
# How much of a plain NDJSON file one job takes at a time. What one process makes of it is small enough to be
# sent to another, and a process that dies or is told to stop loses no more than this.
SEGMENT_BYTES = 8 * 1024 * 1024
# What is decompressed at once. A block of 4 bytes can stand for 128 KiB, so that this is 128 MiB at the worst.
_ZSTANDARD_BYTES = 4 * 1024


class Failure(Exception):  # noqa: N818  # it ends the command, and is no error of the code
    """What ends the command: one line for the user."""


class File(NamedTuple):
    """A file of records, or a standard stream where the name is ``-``."""

    name: str
    format: Format
    compression: str


class Segment(NamedTuple):
    """A file's bytes from `start` to `end`, cut at line ends; ``None`` for a file that is read as a whole."""

    file: File
    start: int = 0
    end: int | None = None


def file_named(name: str, told: Format | None, option: str) -> File:
    """Return what is to be read or written under `name`, in the format `told`, or else the one that it says.

    Raises `Failure` where neither says one; its text names the `option` that can.
    """
    root, suffix = os.path.splitext(name)  # noqa: PTH122  # a Path would change the name: "./a" to "a"
    compression = suffix if suffix in _COMPRESSIONS else ""
    if compression:
        suffix = Path(root).suffix
    format = told or _FORMATS.get(suffix)
    if format is None:
        endings = ", ".join(_FORMATS)
        message = f"{name}: the name says no format ({endings}, and .gz or .zst on top); tell it with {option}"
        raise Failure(message)
    return File(name, format, compression)


def size_of(file: File) -> int | None:
    """Return how many bytes a regular file has; ``None`` for what is none. Raises `Failure` if there is nothing."""
    if file.name == "-":
        return None
    with failing(file):
        status = os.stat(file.name)  # noqa: PTH116
        return status.st_size if stat.S_ISREG(status.st_mode) else None


@contextmanager
def failing(file: File) -> Iterator[None]:
    """Turn what reading `file` raises into a `Failure` that names it."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        # Without what gzip quotes of the data in brackets.
        reason = getattr(error, "strerror", None) or str(error).partition(" (")[0]
        message = f"{file.name}: {reason}"
        raise Failure(message) from error


def segments(file: File, size: int) -> Iterator[Segment]:
    """Yield the segments of `file`: of plain NDJSON about `size` bytes each, of all else the whole."""
    total = size_of(file)
    if total is None or file.compression or file.format != "ndjson":
        yield Segment(file)
        return
    with failing(file), open(file.name, "rb") as lines:  # noqa: PTH123
        start = 0
        while start < total:
            lines.seek(start + size)
            while (piece := lines.readline(CHUNK_BYTES)) and not piece.endswith(b"\n"):
                pass
            end = min(lines.tell(), total)
            yield Segment(file, start, end)
            start = end


def chunks(segment: Segment, meter: Meter) -> Iterator[bytes]:
    """Yield the bytes of `segment`, decompressed. What is read counts in `meter`, as it is on the disk."""
    file, start, end = segment
    with failing(file), _opened(file) as raw:
        if start:
            raw.seek(start)
        source = _Counted(raw, sys.maxsize if end is None else end - start, meter)
        if file.compression == ".zst":
            yield from _unzstandard(source, file)
            return
        text: Any = gzip.GzipFile(fileobj=source) if file.compression else source  # type: ignore[call-overload]
        yield from iter(partial(text.read, CHUNK_BYTES), b"")


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    if file.name == "-":
        yield sys.stdin.buffer
        return
    with open(file.name, "rb") as raw:  # noqa: PTH123
        yield raw


class _Counted:
    """The next `left` bytes of a file. Reads are counted, and return what there is of a live pipe."""

    def __init__(self, raw: Any, left: int, meter: Meter) -> None:
        self._raw = raw
        self._left = left
        self._meter = meter

    def read(self, size: int) -> bytes:
        chunk: bytes = self._raw.read1(min(size, self._left))
        self._left -= len(chunk)
        self._meter.add(size=len(chunk))
        return chunk


def _unzstandard(source: _Counted, file: File) -> Iterator[bytes]:
    """Yield the text of Zstandard frames. The library's own reader would take a cut frame for a whole one."""
    library = _zstandard(file)
    decompressor = library.ZstdDecompressor()
    frame = None
    while data := source.read(_ZSTANDARD_BYTES):
        while data:
            frame = frame or decompressor.decompressobj()
            try:
                yield frame.decompress(data)
            except library.ZstdError as error:
                message = f"{file.name}: {error}"
                raise Failure(message) from error
            data = frame.unused_data
            frame = None if frame.eof else frame
    if frame:
        message = "Compressed file ended before the end of a frame"
        raise EOFError(message)


def _zstandard(file: File) -> Any:
    try:
        import zstandard  # noqa: PLC0415  # not part of the extra
    except ModuleNotFoundError as error:
        message = f"{file.name}: Zstandard needs one package more: pip install zstandard"
        raise Failure(message) from error
    return zstandard


def compressed(raw: BinaryIO, file: File) -> Any:
    """Return what to write to in place of `raw`; closing it ends the compression, and leaves `raw` open."""
    if file.compression == ".gz":
        return gzip.GzipFile("", "wb", fileobj=raw, mtime=0)
    return _zstandard(file).ZstdCompressor().stream_writer(raw, closefd=False) if file.compression else nullcontext(raw)
