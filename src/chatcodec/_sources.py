"""Where chunks come from: files and iterables, blocking or not, turned into iterators over records."""

from __future__ import annotations

from functools import partial
from gc import is_tracked
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, Union

from ._errors import RecordError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from typing_extensions import Buffer

    from ._stream import StreamDecoder

T = TypeVar("T")

# How much a file is asked for at once.
READ_BYTES = 64 * 1024

# How much of a chunk is decoded at once where records are small and made of objects that the garbage collector
# counts. Deltas in so much are some 300 of them, where 700 wake it: in pieces of 64 KiB a delta takes 14 % longer.
PIECE_BYTES = 16 * 1024
_SMALL_RECORD = 1024

if TYPE_CHECKING:

    class BinaryFile(Protocol):
        """What is read from, if it has no ``read1``."""

        def read(self, size: int, /) -> bytes: ...

    class AsyncBinaryFile(Protocol):
        """What is read from with ``await``, like `asyncio.StreamReader`."""

        def read(self, size: int, /) -> Awaitable[bytes]: ...

    Source = Union[BinaryFile, Iterable[Buffer]]
    AsyncSource = Union[AsyncBinaryFile, AsyncIterable[Buffer]]


def iterate(decoder: StreamDecoder[T], source: Source) -> Iterator[T]:
    """Return an iterator over the records of `source`."""
    read = getattr(source, "read1", None) or getattr(source, "read", None)
    chunks: Any = iter(partial(read, READ_BYTES), b"") if read else iter(source)  # type: ignore[arg-type]
    return chain.from_iterable(_Batches(decoder, chunks))


def aiterate(decoder: StreamDecoder[T], source: AsyncSource) -> AsyncIterator[T]:
    """Return an async iterator over the records of `source`."""
    read = getattr(source, "read", None)
    next_chunk = partial(_read, read) if read else source.__aiter__().__anext__  # type: ignore[union-attr]
    return _AsyncRecords(decoder, next_chunk)


class _Records(Generic[T]):
    """The records that a decoder makes of chunks, batch by batch. A batch is what is fed in one piece."""

    def __init__(self, decoder: StreamDecoder[T]) -> None:
        self._decoder = decoder
        self._chunk = b""
        self._pos = 0
        self._piece_bytes = PIECE_BYTES
        self._undrained = False
        self._ended = False

    def _take(self, chunk: Buffer) -> None:
        self._chunk = chunk if type(chunk) is bytes else memoryview(chunk).tobytes()
        self._pos = 0

    def _next_piece(self) -> bytes | None:
        """Return what is to be fed next, nothing where an error is to be drained; ``None`` for want of a chunk."""
        if self._undrained:
            return b""
        start = self._pos
        if start >= len(self._chunk):
            return None
        self._pos = start + self._piece_bytes
        return self._chunk[start : self._pos]

    def _feed(self, piece: bytes) -> Iterator[T]:
        """Return the records that `piece` completes, and behind them the error that followed."""
        try:
            records = self._decoder.feed(piece)
        except BaseException as error:
            self._undrained = True
            return self._until(error)
        self._undrained = False
        small = len(piece) < _SMALL_RECORD * len(records) and is_tracked(records[0])
        self._piece_bytes = PIECE_BYTES if small else READ_BYTES
        return iter(records)

    def _finish(self) -> Iterator[T]:
        """Return the records that were left, and behind them the error that followed."""
        self._ended = True
        try:
            return iter(self._decoder.finish())
        except BaseException as error:
            return self._until(error)

    def _until(self, error: BaseException) -> Iterator[T]:
        records = self._decoder._take_records()
        if isinstance(error, RecordError):
            records, error.records = error.records, records
        return chain(records, _raising(error))


def _raising(error: BaseException) -> Iterator[Any]:
    """Return an iterator that raises `error` once."""
    raise error
    yield


class _Batches(_Records[T]):
    """An iterator over the batches; flattened, they are the records.

    `chain.from_iterable` flattens it in C, and an error out of a batch leaves the chain able to go on. An error
    from here would end it, so what reading raises becomes a batch too. A ``__next__`` in Python for every record
    would cost some 60 ns a record.
    """

    def __init__(self, decoder: StreamDecoder[T], chunks: Iterator[Buffer]) -> None:
        super().__init__(decoder)
        self._chunks = chunks

    def __iter__(self) -> Iterator[Iterator[T]]:
        return self

    def __next__(self) -> Iterator[T]:
        while (piece := self._next_piece()) is None:
            if self._ended:
                raise StopIteration
            try:
                self._take(next(self._chunks))
            except StopIteration:
                return self._finish()
            except BaseException as error:
                return _raising(error)
        return self._feed(piece)


class _AsyncRecords(_Records[T]):
    """An async iterator over the records."""

    def __init__(self, decoder: StreamDecoder[T], next_chunk: Callable[[], Awaitable[Buffer]]) -> None:
        super().__init__(decoder)
        self._next_chunk = next_chunk
        self._batch: Iterator[T] = iter(())

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            for record in self._batch:
                return record
            self._batch = await self._next_batch()

    async def _next_batch(self) -> Iterator[T]:
        while (piece := self._next_piece()) is None:
            if self._ended:
                raise StopAsyncIteration
            try:
                self._take(await self._next_chunk())
            except StopAsyncIteration:
                return self._finish()
        return self._feed(piece)


async def _read(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    """Return what `read` returns, and end where that is empty."""
    if chunk := await read(READ_BYTES):
        return chunk
    raise StopAsyncIteration
