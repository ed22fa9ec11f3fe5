"""Inputs that are opened once, and a destination that is replaced as a whole or left alone."""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import tempfile
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import reduction
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from ._formats import CHUNK_BYTES, COMPRESSIONS, Cut, Failure, decompressed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from ._formats import File

# A file that was truncated and has grown again is recognised by this many bytes at either end.
_SAMPLE_BYTES = 4 * 1024

# The signals that end the command. Windows has no SIGHUP.
SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]


class Truncated(Failure):
    """A file is shorter than it was when it was opened."""


@contextmanager
def failing(title: str) -> Generator[None]:
    """Turn an `OSError` into a `Failure` whose text begins with `title`."""
    try:
        yield
    except OSError as error:
        message = f"{title}: {error.strerror}"
        raise Failure(message) from error


@contextmanager
def signals_held() -> Generator[None]:
    """Block `SIGNALS` until the end. Processes started meanwhile begin with them blocked."""
    if not hasattr(signal, "pthread_sigmask"):  # pragma: no cover  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Source:
    """An input. A regular file is opened here, and read only through that descriptor, even by other processes.

    Attributes:
        size: the size of a regular file in bytes when it was opened; ``None`` for a pipe, a device, or a file without a
            size.
    """

    size: int | None = None
    _status: os.stat_result | None = None

    def __init__(self, file: File) -> None:
        self.file = file
        with failing(file.title):
            if file.name == "-":
                self._open(sys.stdin.fileno())
            # Opening a named pipe waits for its writer, which may have to write to another one first.
            elif stat.S_ISREG(os.stat(file.name).st_mode):  # noqa: PTH116
                self._open_name()

    def _open_name(self) -> None:
        self._open(os.open(self.file.name, os.O_RDONLY | getattr(os, "O_BINARY", 0)))

    def _open(self, descriptor: int) -> None:
        self._descriptor: Any = descriptor
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            self._status = status
            self._start = os.lseek(descriptor, 0, os.SEEK_CUR)
            # Regular files without a size, such as those in /proc, are read to their end.
            self.size = max(0, status.st_size - self._start) or None
            self._samples = self._read_samples()

    def _read_samples(self) -> tuple[bytes, bytes]:
        """Return the first and last bytes of the range that the file covered when it was opened."""
        size = self.size or 0
        position = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        samples: list[bytes] = []
        for start in (0, max(0, size - _SAMPLE_BYTES)):
            os.lseek(self._descriptor, self._start + start, os.SEEK_SET)
            samples.append(os.read(self._descriptor, min(_SAMPLE_BYTES, size)))
        os.lseek(self._descriptor, position, os.SEEK_SET)
        return samples[0], samples[1]

    def close(self) -> None:
        """Close the file, but not standard input."""
        if hasattr(self, "_descriptor") and self.file.name != "-":
            os.close(self._descriptor)

    # A process that is given a source when it starts inherits the open file.
    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_descriptor": reduction.DupFd(self._descriptor)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._descriptor = self._descriptor.detach()

    @property
    def mode(self) -> int:
        """The permissions of a regular file; for anything else, those that new files are created with."""
        return stat.S_IMODE(self._status.st_mode) if self._status else 0o666

    def is_same(self, status: os.stat_result) -> bool:
        """Whether this is a regular file and `status` belongs to it."""
        return self._status is not None and os.path.samestat(self._status, status)

    def verify(self) -> None:
        """Raise `Truncated` if the file no longer holds what it did when it was opened.

        A compressed file that is merely shorter passes: decompressing it has already shown that it was cut.
        """
        if self.size is None:
            return
        with failing(self.file.title):
            samples = self._read_samples()
            if samples == self._samples and os.fstat(self._descriptor).st_size >= self._start + self.size:
                return
            if self.file.compression and all(map(bytes.startswith, self._samples, samples)):
                return
            raise self._truncated()

    def _truncated(self) -> Truncated:
        return Truncated(f"{self.file.title}: truncated while it was read")

    def chunks(self, count: Callable[[int], object]) -> Iterator[bytes]:
        """Yield the whole content, decompressed; `count` is called with the number of bytes of each read.

        Raises:
            Cut: a compressed file ended early.
            Failure: reading fails, the file is shorter than when it was opened, or is not compressed as its name says.
        """
        pieces = self._pieces(count)
        return decompressed(pieces, self.file) if self.file.compression else pieces

    def _pieces(self, count: Callable[[int], object]) -> Iterator[bytes]:
        with failing(self.file.title):
            if not hasattr(self, "_descriptor"):
                self._open_name()
            left = sys.maxsize if self.size is None else self.size
            while left and (piece := _read(self._descriptor, min(left, CHUNK_BYTES))):
                left -= len(piece)
                count(len(piece))
                yield piece
        if left and self.size is not None:
            raise Cut if self.file.compression else self._truncated()

    def chunks_between(self, start: int, end: int, count: Callable[[int], object]) -> Iterator[bytes]:
        """Yield the bytes from `start` to `end`, without moving the shared file position. Otherwise as `chunks`."""
        with failing(self.file.title):
            while start < end:
                piece = os.pread(self._descriptor, min(CHUNK_BYTES, end - start), start)
                if not piece:
                    raise self._truncated()
                start += len(piece)
                count(len(piece))
                yield piece

    def line_end(self, position: int) -> int:
        """Return the end of the line that `position` is in."""
        with failing(self.file.title):
            while piece := os.pread(self._descriptor, CHUNK_BYTES, position):
                if end := piece.find(b"\n") + 1:
                    return position + end
                position += len(piece)
        return position


def _read(descriptor: int, size: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, size)
        except BlockingIOError:
            select.select([descriptor], [], [])


def drop(stream: TextIO) -> None:
    """Discard what has not been written to `stream`; otherwise Python would try, and fail, again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def dropping(stream: TextIO) -> Generator[None]:
    """Drop what cannot be written to `stream`, and continue."""
    try:
        yield
    except OSError:
        drop(stream)


_unfinished: set[str] = set()


def discard_unfinished() -> None:
    """Remove the partial files of unfinished destinations."""
    for part in _unfinished:
        with suppress(OSError):
            os.unlink(part)  # noqa: PTH108
    _unfinished.clear()


@contextmanager
def destination(file: File, source: Source) -> Generator[Callable[[bytes], object]]:
    """Yield a function that writes to `file`. A regular file is replaced at the end, when all has been written.

    Raises:
        BrokenPipeError: `file` is a pipe that nobody reads any more.
        OSError: standard output cannot be written to; the caller that reports it has to drop what is in its buffer.
        Failure: writing to another file fails, or `file` is `source`.
    """
    status = _status_of(file)
    if status and source.is_same(status):
        message = f"{file.title}: the source and the destination are the same file"
        raise Failure(message)
    try:
        if file.name == "-":
            yield sys.stdout.buffer.write
        elif status and not stat.S_ISREG(status.st_mode):
            with open(file.name, "wb") as raw, _compressed(raw, file) as text:  # noqa: PTH123
                yield text.write
        else:
            yield from _replaced(file, status, source.mode)
    except OSError as error:
        if file.name == "-" or isinstance(error, BrokenPipeError):
            raise
        message = f"{file.title}: {error.strerror}"
        raise Failure(message) from error


def _status_of(file: File) -> os.stat_result | None:
    """Return the status of a destination; None if it does not exist, or is a closed standard output."""
    if file.name == "-":
        with suppress(OSError):  # writing will fail
            return os.fstat(sys.stdout.fileno())
    else:
        with failing(file.title), suppress(FileNotFoundError):
            return os.stat(file.name)  # noqa: PTH116
    return None


def _compressed(raw: BinaryIO, file: File) -> Any:
    return COMPRESSIONS[file.compression].writer(raw) if file.compression else nullcontext(raw)


def _replaced(file: File, status: os.stat_result | None, mode: int) -> Iterator[Callable[[bytes], object]]:
    # In the same folder, because a rename cannot cross file systems; for a link, in the folder of its target.
    target = os.path.realpath(file.name)
    with signals_held():
        descriptor, part = tempfile.mkstemp(".part", ".chatcodec-", os.path.dirname(target))  # noqa: PTH120
        _unfinished.add(part)
    try:
        with open(descriptor, "wb") as raw, _compressed(raw, file) as text:  # noqa: PTH123
            yield text.write
        _set_access(part, status, mode)  # after the last write, which can clear the set-user-ID and set-group-ID bits
        with signals_held():
            os.replace(part, target)  # noqa: PTH105
            _unfinished.remove(part)
    finally:
        discard_unfinished()


def _set_access(part: str, status: os.stat_result | None, mode: int) -> None:
    """Give a file the owner and the permissions of the one that it replaces, or the permissions of a new one."""
    if status is None:
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(part, mode & 0o777 & ~umask)  # noqa: PTH101
        return
    for owner, group in ((-1, status.st_gid), (status.st_uid, -1)):
        with suppress(PermissionError):
            os.chown(part, owner, group)
    # If the group could not be kept, the new one gets none of its permissions.
    withheld = stat.S_IRWXG if os.stat(part).st_gid != status.st_gid else 0  # noqa: PTH116
    os.chmod(part, stat.S_IMODE(status.st_mode) & ~withheld)  # noqa: PTH101
