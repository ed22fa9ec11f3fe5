"""The protocol that the modules `chatcodec.ndjson`, `chatcodec.frames` and `chatcodec.sse` implement."""

# pyright: reportInvalidTypeVarUse=false
# R has a default, for calls without a type.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
    from typing import TypeAlias

    from msgspec import Raw, Struct
    from typing_extensions import Buffer, Unpack

    from ._codec import E
    from ._errors import RecordError
    from ._iterate import AsyncSource, Source
    from ._patch import Changes
    from ._records import R

    OnError: TypeAlias = Callable[[RecordError], object] | None
    Item: TypeAlias = Struct | Raw | bytes | bytearray | memoryview

T = TypeVar("T")


class Decoder(Protocol[T]):
    """An instance of a framing's `StreamDecoder`."""

    @property
    def buffered(self) -> int:
        """The number of bytes received but not yet decoded."""
        ...

    def feed(self, data: Buffer) -> list[T]:
        """Take the next chunk, and return the records that it completed."""
        ...

    def finish(self) -> list[T]:
        """End the stream, and return its last record, if any."""
        ...


class Framing(Protocol):
    """What the modules `ndjson`, `frames` and `sse` have in common, for code that takes any of them.

    >>> from chatcodec import Framing, frames, ndjson
    >>> def record_size(framing: Framing, message: bytes) -> int:
    ...     return len(framing.encode([message]))
    >>> record_size(ndjson, b"{}"), record_size(frames, bytes([0x80]))
    (3, 5)
    """

    @property
    def KEEP_ALIVE(self) -> bytes:
        """What to write while there is nothing to send. Readers skip it."""
        ...

    @property
    def END(self) -> bytes:
        """What to write after the last record; empty for lines and frames."""
        ...

    def StreamDecoder(
        self, type: type[R] = ..., *, max_record_bytes: int | None = ..., on_error: OnError = ...
    ) -> Decoder[R]:
        """Return a decoder of one stream, which does no I/O."""
        ...

    def iter_decode(
        self, source: Source, type: type[R] = ..., *, max_record_bytes: int | None = ..., on_error: OnError = ...
    ) -> Iterator[R]:
        """Iterate over the records of a binary file, or of an iterable of chunks."""
        ...

    def aiter_decode(
        self, source: AsyncSource, type: type[R] = ..., *, max_record_bytes: int | None = ..., on_error: OnError = ...
    ) -> AsyncIterator[R]:
        """Iterate over the records of an object with ``async read(n)``, or of an async iterable of chunks."""
        ...

    def iter_batches(
        self, source: Source, type: type[R] = ..., *, max_record_bytes: int | None = ..., on_error: OnError = ...
    ) -> Iterator[list[R]]:
        """Iterate like `iter_decode`, but over lists of the records that each chunk completed."""
        ...

    def aiter_batches(
        self, source: AsyncSource, type: type[R] = ..., *, max_record_bytes: int | None = ..., on_error: OnError = ...
    ) -> AsyncIterator[list[R]]:
        """Iterate like `aiter_decode`, but over lists of the records that each chunk completed."""
        ...

    def encode(self, records: Iterable[Item]) -> bytes:
        """Encode records, or messages already encoded, and frame them."""
        ...

    def iter_encode(self, items: Iterable[Item | list[Any]]) -> Iterator[bytes]:
        """Iterate over one chunk per item, then `END`."""
        ...

    def aiter_encode(self, items: AsyncIterable[Item | list[Any]]) -> AsyncIterator[bytes]:
        """Iterate over one chunk per item, then `END`."""
        ...

    def stamp(
        self,
        messages: Iterable[Buffer],
        type: type[E] = ...,
        *,
        on_error: OnError = ...,
        extra: Mapping[str, Any] | None = ...,
        **changes: Unpack[Changes],
    ) -> tuple[list[E], bytes]:
        """Return an envelope for each message, and the framed messages, with the same fields set in each."""
        ...
