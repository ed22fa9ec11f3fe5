"""Iterators over records and batches, which feed a decoder from files and iterables of chunks, sync or async."""

from __future__ import annotations

import os
from functools import partial
from io import IOBase, TextIOBase
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypedDict, TypeVar, Union, cast

from ._errors import RecordError, contiguous

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from typing_extensions import Buffer

T = TypeVar("T")

# Types that can be iterated over or read, but do not give chunks of bytes.
_NOT_SOURCES = (str, bytes, bytearray, memoryview, os.PathLike, TextIOBase)

# Follows the last chunk.
_END: Any = object()

READ_BYTES = 64 * 1024

# How much of a chunk is decoded at once: about 75 small records. The garbage collector runs after 700 new objects, and
# with 64 KiB at once a small record takes 14 % longer.
PIECE_BYTES = 16 * 1024

if TYPE_CHECKING:

    class BinaryFile(Protocol):
        """A file, whose ``read1`` is called instead if it has one."""

        def read(self, size: int, /) -> bytes: ...

    class AsyncBinaryFile(Protocol):
        """A file with an async ``read``, like `asyncio.StreamReader`."""

        def read(self, size: int, /) -> Awaitable[bytes]: ...

    class Decoder(Protocol[T]):
        """What the iterators need from a stream decoder."""

        def feed(self, data: Buffer) -> list[T]: ...
        def finish(self) -> list[T]: ...
        def _take_records(self) -> list[T]: ...

        _cut: str

    class Options(TypedDict, total=False):
        """The arguments of `StreamDecoder` besides the type."""

        max_record_bytes: int | None
        on_error: Callable[[RecordError], object] | None

    class EventOptions(Options, total=False):
        """The arguments of the `StreamDecoder` for events besides the type."""

        require_done: bool

    Source = Union[BinaryFile, Iterable[Buffer]]
    AsyncSource = Union[AsyncBinaryFile, AsyncIterable[Buffer]]


def batches(decoder: Decoder[T], source: Source) -> Iterator[list[T]]:
    """Return an iterator over lists of the records that each piece of `source` completed, none of them empty."""
    read = getattr(source, "read1", None) or getattr(source, "read", None)
    if isinstance(source, _NOT_SOURCES) or not (read or hasattr(source, "__iter__")):
        raise _not_a_source(source, "a file opened with 'rb', or an iterable of chunks")
    chunks = cast("Iterator[Buffer]", iter(partial(read, READ_BYTES), b"") if read else iter(source))  # type: ignore[arg-type]
    return _Batches(decoder, chunks)


def records(decoder: Decoder[T], source: Source) -> Iterator[T]:
    """Return an iterator over the records of `source`."""
    # In C: a __next__ in Python would cost about 60 ns per record.
    return chain.from_iterable(iter(partial(_next_records, batches(decoder, source)), None))


def abatches(decoder: Decoder[T], source: AsyncSource) -> _AsyncBatches[T]:
    """Return an async iterator over lists of the records that each piece of `source` completed, none of them empty."""
    read = getattr(source, "read", None)
    if isinstance(source, (*_NOT_SOURCES, IOBase)) or not (read or hasattr(source, "__aiter__")):
        raise _not_a_source(source, "an object with async read(n), or an async iterable of chunks")
    if read:
        return _AsyncBatches(decoder, source, partial(_read, read))
    chunks = cast("AsyncIterable[Buffer]", source).__aiter__()
    return _AsyncBatches(decoder, chunks, partial(anext, chunks, _END))


def arecords(decoder: Decoder[T], source: AsyncSource) -> AsyncIterator[T]:
    """Return an async iterator over the records of `source`."""
    return _AsyncRecords(abatches(decoder, source))


def _not_a_source(source: object, expected: str) -> TypeError:
    """Return the error for a `source` that does not give chunks of bytes."""
    given = "a file opened as text" if isinstance(source, TextIOBase) else type(source).__name__
    return TypeError(f"expected {expected}, got {given}")


async def _read(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    """Return what `read` returns, or `_END` if that is empty."""
    data = await read(READ_BYTES)
    return _END if data == b"" else data


class _Feeder(Generic[T]):
    """Feeds chunks to a decoder in pieces. The records decoded before an error are returned before it is raised."""

    def __init__(self, decoder: Decoder[T], source: Any) -> None:
        self._decoder = decoder
        self._source = source
        self._chunk = b""
        self._pos = 0
        self._ended = False
        # Whether to call the decoder next without new data: at the end, or after an error, when more can follow.
        self._due = False
        self._errors: list[BaseException] = []  # at most one, to raise next

    def _take(self, chunk: Buffer) -> None:
        """Take the next chunk, or `_END`."""
        if chunk is _END:
            self._ended = self._due = True
        else:
            # A mutable chunk could change before its last piece is fed.
            self._chunk = chunk if type(chunk) is bytes else contiguous(chunk)
            self._pos = 0

    def _fail(self, error: BaseException) -> None:
        """Note that the source raised: a generator has ended then, without having reached the end of the stream."""
        if getattr(self._source, "gi_frame", error) is None or getattr(self._source, "ag_frame", error) is None:
            reason = f"the source ended when it raised {type(error).__name__}"
            self._decoder._cut = reason  # pyright: ignore[reportPrivateUsage]

    def _next_piece(self) -> list[T] | None:
        """Return the records that the next piece completed, or ``None`` if a new chunk is needed first."""
        if self._errors:
            raise self._errors.pop()
        piece = b"" if self._due else self._chunk[self._pos : self._pos + PIECE_BYTES]
        if not (piece or self._due):
            self._chunk = b""  # it would stay alive while the source is silent
            return None
        self._pos += len(piece)
        self._due = False
        try:
            return self._decoder.finish() if self._ended else self._decoder.feed(piece)
        except RecordError as error:
            self._errors.append(error)
            self._due = not self._ended  # `finish` raises only one error
            found, error.records = error.records, []
            return found
        except BaseException as error:
            self._due = True
            if isinstance(error, (StopIteration, StopAsyncIteration)):  # as in generators: PEP 479
                self._errors.append(RuntimeError(f"a callback raised {type(error).__name__}"))
                self._errors[0].__cause__ = error
            else:
                self._errors.append(error)
            return self._decoder._take_records()  # pyright: ignore[reportPrivateUsage]  # the decoder's other half


class _Batches(_Feeder[T]):
    """An iterator over batches."""

    def __iter__(self) -> Iterator[list[T]]:
        return self

    def __next__(self) -> list[T]:
        while not (batch := self._next_piece()):
            if batch is None:
                if self._ended:
                    raise StopIteration
                try:
                    self._take(next(self._source, _END))
                except BaseException as error:
                    self._fail(error)
                    raise
        return batch


def _next_records(batches: Iterator[list[T]]) -> Iterable[T] | None:
    """Return the next batch, or None at the end. An error is raised from a batch: from here, it would end the chain."""
    try:
        return next(batches, None)
    except BaseException as error:
        return _raising([error])


def _raising(error: list[BaseException]) -> Iterator[Any]:
    """Return an iterator that raises the error in `error`, once."""
    raise error.pop()
    yield


class _AsyncBatches(_Feeder[T]):
    """An async iterator over batches."""

    def __init__(self, decoder: Decoder[T], source: Any, next_chunk: Callable[[], Awaitable[Buffer]]) -> None:
        super().__init__(decoder, source)
        self._next_chunk = next_chunk
        self._waiting = False

    def __aiter__(self) -> AsyncIterator[list[T]]:
        return self

    async def __anext__(self) -> list[T]:
        while not (batch := self._next_piece()):
            if batch is None:
                if self._ended:
                    raise StopAsyncIteration
                if self._waiting:
                    text = "another task waits for the next chunk of this iterator"
                    raise RuntimeError(text)
                self._waiting = True
                try:
                    self._take(await self._next_chunk())
                except BaseException as error:
                    self._fail(error)
                    raise
                finally:
                    self._waiting = False
        return batch

    async def aclose(self) -> None:
        """Close the source if it is an async generator: the garbage collector would do so in another task."""
        if hasattr(self._source, "ag_frame"):
            await self._source.aclose()
            self._ended, self._due, self._chunk = True, False, b""


class _AsyncRecords(Generic[T]):
    """An async iterator over the records of batches."""

    def __init__(self, batches: _AsyncBatches[T]) -> None:
        self._batches = batches
        self._batch: Iterator[T] = iter(())

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            for record in self._batch:
                return record
            self._batch = iter(await self._batches.__anext__())

    async def aclose(self) -> None:
        """Close the source, as `_AsyncBatches.aclose` does."""
        self._batch = iter(())
        await self._batches.aclose()
