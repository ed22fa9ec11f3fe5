"""Where chunks go to: records that come one by one, turned into an iterator over chunks of what is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import EncodeError, Raw, Struct

from ._stream import BATCH_BYTES, not_encoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable

T = TypeVar("T")


async def aiterate(
    records: AsyncIterable[Struct | Raw | bytes],
    encode: Callable[[Iterable[Struct | Raw | bytes]], bytes],
    end: bytes = b"",
) -> AsyncIterator[bytes]:
    """Yield `records` encoded, in chunks of what is ready, and `end` behind the last."""
    source = records.__aiter__()
    chunk = bytearray()
    number = 0
    failure = None
    while failure is None:
        if len(chunk) >= BATCH_BYTES:
            yield bytes(chunk)
            chunk.clear()
        step = _Step(source.__anext__())
        if chunk and not step.is_ready():
            try:
                yield bytes(chunk)
            except GeneratorExit:
                await step.close()
                raise
            chunk.clear()
        try:
            record = await step
            number += 1
            chunk += _encode_one(encode, record, number)
        except StopAsyncIteration:
            chunk += end
            break
        except Exception as error:
            failure = error
    if chunk:
        yield bytes(chunk)
    if failure is not None:
        raise failure


def _encode_one(encode: Callable[[Iterable[Struct | Raw | bytes]], bytes], record: Any, number: int) -> bytes:
    try:
        return encode((record,))
    except EncodeError as error:
        _, _, reason = str(error).partition(": ")
        raise not_encoded(number, reason) from error.__cause__


class _Step(Generic[T]):
    """An awaitable that can be asked whether it is ready before it is awaited.

    It is run until it waits for something. What it waits for is handed to the event loop when it is awaited, in the
    same task, so that no loop has to be known here.
    """

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self._run: Any = awaitable.__await__()
        self._began = self._ended = False
        self._signal: Any = None
        self._value: Any = None
        self._error: BaseException | None = None

    def is_ready(self) -> bool:
        """Begin, and return whether that was all."""
        self._go(self._run.send, None)
        return self._ended

    def __await__(self) -> Generator[Any, Any, T]:
        if not self._began:
            self._go(self._run.send, None)
        while not self._ended:
            try:
                answer = yield self._signal
            except BaseException as error:
                self._go(self._run.throw, error)
            else:
                self._go(self._run.send, answer)
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]

    async def close(self) -> None:
        """End it as a generator is closed, where it has begun, and wait for what it does on that."""
        self._go(self._run.throw, GeneratorExit())
        try:
            await self
        except (GeneratorExit, Exception):
            return

    def _go(self, call: Callable[[Any], Any], argument: Any) -> None:
        self._began = True
        try:
            self._signal = call(argument)
        except StopIteration as stop:
            self._ended, self._value = True, stop.value
        except BaseException as error:
            self._ended, self._error = True, error
