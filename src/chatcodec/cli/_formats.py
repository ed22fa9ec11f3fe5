"""Formats and compressions, inferred from file names: a table of each."""

from __future__ import annotations

import gzip
import os
import re
import sys
import zlib
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from chatcodec import frames, json, msgpack, ndjson, sse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# How much is read, and decoded, at once. 64 KiB cost 20 % more, because that many records trigger more garbage
# collections.
CHUNK_BYTES = 32 * 1024


class Failure(Exception):  # noqa: N818  # it ends the command, and is not a bug
    """Ends the command, with one line for the user."""


class Cut(Exception):  # noqa: N818  # everything that can be read has been read
    """A compressed file ended early."""


class Format(NamedTuple):
    """How records are written.

    Attributes:
        endings: the endings of file names.
        framing: the module that knows where records end.
        codec: the module that knows what a record is.
        divisible: whether a file can be divided after any newline, for many processes to read.
    """

    endings: tuple[str, ...]
    framing: Any
    codec: Any
    divisible: bool


FORMATS = {
    "ndjson": Format((".ndjson", ".jsonl"), ndjson, json, divisible=True),
    "msgpack": Format((".msgpack",), frames, msgpack, divisible=False),
    "sse": Format((".sse",), sse, json, divisible=False),
}


class Compression(NamedTuple):
    """How a file is compressed.

    Attributes:
        title: its name in messages.
        magic: the first bytes of each of the members that make up a file.
        padding: the byte that may follow the last member, without meaning; empty if there is none.
        decompressor: returns an object that decompresses one member.
        writer: wraps a file; closing the wrapper leaves the file open.
    """

    title: str
    magic: bytes
    padding: bytes
    decompressor: Callable[[], Any]
    writer: Callable[[BinaryIO], Any]


def _zstandard() -> Any:
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def _gzip_writer(raw: BinaryIO) -> gzip.GzipFile:
    # Without the file's name and the time, so that the same records give the same bytes.
    return gzip.GzipFile("", "wb", fileobj=raw, mtime=0)


def _zstandard_writer(raw: BinaryIO) -> Any:
    zstd = _zstandard()
    # With a checksum, as gzip always has: without it, most lines of a damaged log still parse.
    return zstd.ZstdFile(raw, "wb", options={zstd.CompressionParameter.checksum_flag: 1})


COMPRESSIONS = {
    ".gz": Compression(
        "gzip",
        b"\x1f\x8b",
        b"\0",
        partial(zlib.decompressobj, 16 + zlib.MAX_WBITS),
        _gzip_writer,
    ),
    ".zst": Compression(
        "Zstandard",
        b"\x28\xb5\x2f\xfd",
        b"",
        lambda: _zstandard().ZstdDecompressor(),
        _zstandard_writer,
    ),
}

_FORMAT_OF = {ending: name for name, format in FORMATS.items() for ending in format.endings}
# The number of a rotated log comes before the compression or after it.
_ENDING = re.compile(
    r"(?P<format>{})?(?:\.\d+)?(?P<compression>{})?(?:\.\d+)?\Z".format(
        "|".join(map(re.escape, _FORMAT_OF)), "|".join(map(re.escape, COMPRESSIONS))
    ),
    re.IGNORECASE | re.ASCII,
)


class File(NamedTuple):
    """A file of records, or a standard stream if the name is ``-``; format and compression are keys of the tables."""

    name: str
    format: str
    compression: str

    @property
    def title(self) -> str:
        """The name in printable form."""
        return printable(self.name)


def printable(name: str) -> str:
    r"""Return a file's name on one line, with escapes such as ``\xff`` for bytes that are not UTF-8."""
    text = os.fsencode(name).decode(errors="backslashreplace")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def file_named(name: str, format: str | None, option: str) -> File:
    """Return the file with that name, in `format` or, without one, in the format that its name ends in.

    Raises:
        Failure: neither gives a format. The text names the `option` to use.
    """
    match = _ENDING.search(name)
    ending, compression = match.groups("") if match else ("", "")
    format = format or _FORMAT_OF.get(ending.lower())
    if format is None:
        endings = ", ".join(_FORMAT_OF)
        message = f"{printable(name)}: cannot infer the format from the file name ({endings}); use {option}"
        raise Failure(message)
    return File(name, format, compression.lower())


def decompressed(pieces: Iterator[bytes], file: File) -> Iterator[bytes]:
    """Decompress `pieces` of `file`, and yield the content of its members in pieces of at most `CHUNK_BYTES`.

    Raises:
        Cut: the last member is incomplete, or there is none.
        Failure: the file is damaged, or not compressed as its name says.
    """
    compression = COMPRESSIONS[file.compression]
    member: Any = None
    begin, start, end, padding = b"", 0, 0, b""
    for piece in pieces:
        data = piece
        end += len(piece)
        while data := data if member else data.lstrip(padding):
            if not member:
                member, begin, start = compression.decompressor(), data[: len(compression.magic)], end - len(data)
            try:
                yield from _text(member, data)
            except Exception as error:
                raise _undecodable(file, begin, start, error) from error
            if not member.eof:
                break
            member, data, padding = None, member.unused_data, compression.padding
    if member or not end:
        raise Cut


def _text(member: Any, data: bytes) -> Iterator[bytes]:
    """Yield what `data` adds to the content of `member`, in pieces: a few bytes can expand to megabytes."""
    while text := member.decompress(data, CHUNK_BYTES):
        yield text
        if member.eof:
            return
        # gzip's decompressor returns the remaining input, Zstandard's keeps it.
        data = getattr(member, "unconsumed_tail", b"")


def _undecodable(file: File, begin: bytes, start: int, error: Exception) -> Failure:
    """Return the error for a member that starts at `start` with the bytes `begin`, with what to try."""
    compression = COMPRESSIONS[file.compression]
    if compression.magic.startswith(begin):
        return Failure(f"{file.title}: damaged {compression.title} data: {error}")
    if start:
        return Failure(
            f"{file.title}: the data ends at byte {start}, and what follows is not {compression.title}; "
            f"use the first {start} bytes (head -c {start})"
        )
    return Failure(
        f"{file.title}: not compressed with {compression.title}, as its name says; rename it, "
        "or pass it as standard input with --from"
    )
