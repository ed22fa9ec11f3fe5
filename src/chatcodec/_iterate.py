"""Iterators over records and batches, which feed a decoder from files and iterables of chunks, sync or async."""

# pyright: reportPrivateUsage=false
# Iterators and decoders work together.

from __future__ import annotations

from collections import deque
from functools import partial
from io import IOBase, TextIOBase
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypedDict, Union, cast

from ._decoder import cut_off
from ._errors import RecordError, contiguous

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from typing_extensions import Buffer

    from ._decoder import StreamDecoder
    from ._records import T

# Types that can be iterated over or read, but do not give chunks of bytes.
_NOT_SOURCES: tuple[type[Any], ...] = (str, bytes, bytearray, memoryview, TextIOBase)

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

    class Options(TypedDict, total=False):
        """The arguments of `StreamDecoder` besides the type."""

        max_record_bytes: int | None
        on_error: Callable[[RecordError], object] | None

    class EventOptions(Options, total=False):
        """The arguments of the `StreamDecoder` for events besides the type."""

        require_done: bool

    Source = Union[BinaryFile, Iterable[Buffer]]
    AsyncSource = Union[AsyncBinaryFile, AsyncIterable[Buffer]]
    ItemsOf = Callable[[list[T]], Iterator[Any]]


def items(decoder: StreamDecoder[T], source: Source, items_of: ItemsOf[T] = iter) -> Iterator[Any]:
    """Return an iterator over the records of `source`, or, with `batch`, over lists of those that a piece completed."""
    read = getattr(source, "read1", None) or getattr(source, "read", None)
    expect(
        source,
        "a file opened with 'rb', or an iterable of chunks",
        (read or hasattr(source, "__iter__")) and not isinstance(source, _NOT_SOURCES),
    )
    chunks = cast("Any", iter(partial(read, READ_BYTES), b"") if read else iter(source))  # type: ignore[arg-type]
    return chain.from_iterable(iter(_Items(decoder, chunks, partial(next, chunks, _END), items_of).next, None))


def aitems(decoder: StreamDecoder[T], source: AsyncSource, items_of: ItemsOf[T] = iter) -> AsyncIterator[Any]:
    """Return an async iterator over the same for an async source."""
    read = getattr(source, "read", None)
    expect(
        source,
        "an object with async read(n), or an async iterable of chunks",
        (read or hasattr(source, "__aiter__")) and not isinstance(source, (*_NOT_SOURCES, IOBase)),
    )
    chunks = cast("Any", source if read else cast("AsyncIterable[Buffer]", source).__aiter__())
    next_chunk = partial(_read, read) if read else partial(anext, chunks, _END)
    return _Items(decoder, chunks, next_chunk, items_of)


def batch(records: list[T]) -> Iterator[list[T]]:
    """Return an iterator over `records` as one batch, or over none."""
    return iter([records] if records else [])


async def _read(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    """Return what `read` returns, or `_END` if that is empty."""
    data = await read(READ_BYTES)
    return _END if data == b"" else data


def expect(value: object, expected: str, valid: object, hint: str = "") -> None:
    """Raise `TypeError` with what was expected, unless `value` is `valid`."""
    if not valid:
        given = "a file opened as text" if isinstance(value, TextIOBase) else type(value).__name__
        message = f"expected {expected}, got {given}{hint}"
        raise TypeError(message)


class _Items:
    """Feeds chunks to a decoder in pieces, and turns what each piece completes into an iterator over items.

    An item is a record, or a batch. Errors are raised by these iterators, after the items before them, and not by
    `next`: `chain` goes on after an iterator that has raised, but would end if `next` raised.
    """

    def __init__(
        self, decoder: StreamDecoder[Any], source: Any, next_chunk: Callable[[], Any], items_of: ItemsOf[Any]
    ) -> None:
        self._decoder = decoder
        self._source = source
        self._next_chunk = next_chunk
        self._items_of = items_of
        # Pieces to feed, then `_END` to finish, then None.
        self._queue: deque[Any] = deque()
        # For async iteration: the items that are ready, or None at the end. While a task waits for the next chunk, any
        # other task gets an error from this.
        self._ready: Iterator[Any] | None = iter(())

    def _take(self, chunk: Buffer) -> None:
        """Queue the pieces of the next chunk, which may be `_END`."""
        if chunk is _END:
            self._queue += _END, None
        else:
            data = chunk if type(chunk) is bytes else contiguous(chunk)
            self._queue += (
                [data]
                if len(data) <= PIECE_BYTES
                else [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
            )

    def _feed(self) -> Iterator[Any] | None:
        """Return the items that the next piece completes; None at the end."""
        piece = self._queue.popleft()
        if piece is None:
            return None
        try:
            return self._items_of(self._decoder.finish() if piece is _END else self._decoder.feed(piece))
        except BaseException as error:
            found = self._decoder._take_records()
            if isinstance(error, RecordError):
                found, error.records = error.records, []
            # Go on with what the decoder still holds. After a `RecordError`, `finish` is done, and b"" does nothing.
            self._queue.appendleft(_END if piece is _END and not isinstance(error, RecordError) else b"")
            return _raising([error], self._items_of(found))

    def _fail(self, error: BaseException) -> Iterator[Any]:
        """Return an iterator that raises what the source raised."""
        # A generator that has raised has ended, but not because it reached the end of the stream.
        if None in (getattr(self._source, "gi_frame", error), getattr(self._source, "ag_frame", error)):
            cut_off(self._decoder, f"the source ended when it raised {type(error).__name__}")
        return _raising([error])

    def next(self) -> Iterator[Any] | None:
        """Return the items that the next piece completes; None at the end."""
        try:
            if not self._queue:
                self._take(self._next_chunk())
            return self._feed()
        except BaseException as error:
            return self._fail(error)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while self._ready is not None:
            for item in self._ready:
                return item
            try:
                if not self._queue:
                    self._ready = iter(_busy, None)
                    self._take(await self._next_chunk())
                self._ready = self._feed()
            except BaseException as error:
                self._ready = self._fail(error)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the source if it is an async generator: the garbage collector would do so in another task."""
        if hasattr(self._source, "ag_frame"):
            await self._source.aclose()
            self._ready = None


def _raising(errors: list[BaseException], items: Iterable[Any] = ()) -> Iterator[Any]:
    """Return an iterator over `items` that then raises the one error in `errors`."""
    yield from items
    try:
        raise errors.pop()  # a variable would keep the error alive
    except StopAsyncIteration as error:
        # It would look like the end. So would StopIteration, which Python replaces in generators (PEP 479).
        raise RuntimeError(repr(error)) from error


def _busy() -> NoReturn:
    text = "another task waits for the next chunk of this iterator"
    raise RuntimeError(text)
