"""Iteration over files, pipes, sockets and iterables: records or batches, before the next chunk is requested."""

from __future__ import annotations

import asyncio
import gzip
import io
import itertools
import pathlib
import re
import socket
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse, Envelope, StreamError, sse

from .support import COSTS, Awaited, Bad, Framing, bad, drained, errors_last, outcome, pieces, streams_of

KIB = 1024


def raising(chunks: Iterable[Any]) -> Iterator[Any]:
    """Yield chunks, and raise the exceptions among them."""
    for chunk in chunks:
        if isinstance(chunk, BaseException):
            raise chunk
        yield chunk


async def achunks(chunks: Iterable[Any]) -> AsyncIterator[Any]:
    """Do the same, as httpx does."""
    for chunk in raising(chunks):
        await asyncio.sleep(0)
        yield chunk


class Reader:
    """A raw file, which has `read` alone: it returns these chunks, and raises the exceptions among them."""

    def __init__(self, chunks: list[Any]) -> None:
        self.chunks = iter([*chunks, b"", b""])

    def read(self, size: int) -> Any:
        chunk = next(self.chunks)
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk


class AsyncReader(Reader):
    """The same, with `await`."""

    async def read(self, size: int) -> Any:
        return super().read(size)


KINDS = ["iter_decode", "iter_batches", "aiter_decode", "aiter_batches"]
READERS: dict[str, Any] = {kind: AsyncReader if kind[0] == "a" else Reader for kind in KINDS}
GENERATORS = {kind: achunks if kind[0] == "a" else raising for kind in KINDS}
kinds = pytest.mark.parametrize("kind", KINDS)
async_kinds = pytest.mark.parametrize("kind", KINDS[2:])


def over(framing: Framing, kind: str, source: Any, **options: Any) -> Iterator[Any]:
    """Iterate over a source, async or not."""
    iterator: Any = getattr(framing.stream, kind)(source, **options)
    return Awaited(iterator) if kind.startswith("a") else iterator


def flat(seen: list[Any]) -> list[Any]:
    """Flatten the batches, if that is what was iterated over."""
    assert [] not in seen
    return list(itertools.chain.from_iterable(item if isinstance(item, list) else [item] for item in seen))


def seen_over_each_source(framing: Framing, chunks: list[bytes], **options: Any) -> Iterator[list[Any]]:
    read = [chunk for chunk in chunks if chunk]
    for kind in KINDS:
        sources: list[Any] = [chunks, iter(map(bytearray, chunks)), io.BytesIO(b"".join(chunks)), Reader(read)]
        for source in [achunks(chunks), AsyncReader(read)] if kind.startswith("a") else sources:
            yield flat(drained(over(framing, kind, source, **options)))


@given(data=st.data(), size=st.integers(1, 30), limit=st.none() | st.integers(1, 60))
def test_iterating_over_any_source_gives_what_feeding_gives(framing: Framing, data: Any, size: int, limit: Any) -> None:
    whole = data.draw(streams_of(framing))[:2000]
    type = data.draw(st.sampled_from([ChatCompletionResponse, bytes]))
    chunks = pieces(whole, size)
    chunks.insert(len(chunks) // 2, b"")
    expected = outcome(framing, chunks, max_record_bytes=limit, type=type)
    for seen in seen_over_each_source(framing, chunks, max_record_bytes=limit, type=type):
        assert seen == expected
    errors: list[Bad] = []
    options = {"max_record_bytes": limit, "type": type, "on_error": lambda error: errors.append(bad(error))}
    for seen in seen_over_each_source(framing, chunks, **options):
        assert errors_last(seen + errors) == errors_last(expected)
        errors.clear()


# Errors


@kinds
@pytest.mark.parametrize("failure", [KeyboardInterrupt, StopIteration, StopAsyncIteration])
def test_an_exception_from_on_error_comes_after_earlier_records(framing: Framing, kind: str, failure: Any) -> None:
    """What would end the iteration as if the stream were complete is a RuntimeError, as in generators."""

    def fail(_: object) -> None:
        raise failure

    whole = framing.encoded(*COSTS[:2]) + framing.bad + framing.encoded(*COSTS[2:])
    iterator = over(framing, kind, READERS[kind]([whole, framing.end]), on_error=fail)
    seen: list[Any] = []
    with pytest.raises(failure if failure is KeyboardInterrupt else RuntimeError):
        seen.extend(iterator)
    seen.extend(iterator)
    assert flat(seen) == COSTS


@kinds
def test_an_exception_from_a_file_passes_through_and_reading_can_continue(framing: Framing, kind: str) -> None:
    """None, which a file returns that does not block and has nothing yet (`io.RawIOBase.read`), is a TypeError."""
    whole = framing.encoded(*COSTS) + framing.end
    chunks = [TimeoutError(), whole[:20], KeyboardInterrupt(), None, whole[20:], OSError()]
    iterator = over(framing, kind, READERS[kind](chunks))
    seen: list[Any] = []
    for failure in (TimeoutError, KeyboardInterrupt, TypeError, OSError):
        with pytest.raises(failure):
            seen.extend(iterator)
    assert list(iterator) == []
    assert flat(seen) == COSTS


@kinds
def test_a_generator_that_raised_never_ends_a_stream_as_if_it_were_whole(framing: Framing, kind: str) -> None:
    """It is over then, as httpx's is after a timeout."""
    stream = framing.encoded(*COSTS) + framing.end
    for whole in (stream, stream.rstrip(b"\n"), framing.encoded(*COSTS).rstrip(b"\n")):
        iterator = over(framing, kind, GENERATORS[kind]([whole, TimeoutError()]))
        seen: list[Any] = []
        with pytest.raises(TimeoutError):
            seen.extend(iterator)
        with pytest.raises(StreamError, match=r"the source ended when it raised TimeoutError$") as caught:
            seen.extend(iterator)
        assert (caught.value.kind, caught.value.offset) == ("incomplete", len(whole))
        assert flat(seen) == COSTS
        assert list(iterator) == []


@async_kinds
def test_a_closed_iterator_has_ended_and_drops_an_unfinished_record(framing: Framing, kind: str) -> None:
    async def main() -> None:
        one = framing.encoded(COSTS[0])
        iterator = getattr(framing.stream, kind)(achunks([one * 2 + one[:-1], one]))
        await anext(iterator)
        await iterator.aclose()
        assert [item async for item in iterator] == []
        # What is no generator is its owner's, and can be read on.
        iterator = getattr(framing.stream, kind)(AsyncReader([one[:5], one[5:]]))
        await iterator.aclose()
        assert flat([await anext(iterator)]) == COSTS[:1]

    asyncio.run(main())


def test_a_chunk_is_not_kept_while_the_source_is_silent(framing: Framing) -> None:
    def chunks() -> Iterator[Any]:
        yield framing.encoded(*COSTS * 20_000)
        held.append(tracemalloc.get_traced_memory()[0])
        yield framing.end

    held: list[int] = []
    tracemalloc.start()
    for _ in framing.stream.iter_batches(chunks(), bytes):
        pass
    tracemalloc.stop()
    assert held[0] < 100 * KIB


# Timing


@kinds
def test_records_come_before_the_next_chunk_is_requested(framing: Framing, kind: str) -> None:
    asked: list[ChatCompletionResponse] = []

    def chunks() -> Iterator[bytes]:
        for record in COSTS:
            asked.append(record)
            yield framing.encoded(record) * 2
            yield framing.keep_alive  # completes no record, and makes no batch
        yield framing.end

    seen = [(item, asked[-1]) for item in over(framing, kind, GENERATORS[kind](chunks()))]
    batches = [([record] * 2, record) for record in COSTS]
    assert seen == (batches if kind.endswith("batches") else [(record, record) for record in COSTS for _ in range(2)])


# Batches


@pytest.mark.parametrize("type", [ChatCompletionResponse, Envelope, bytes])
@pytest.mark.parametrize("length", [100, 3000])
def test_a_large_chunk_comes_in_batches_of_about_16_kib(framing: Framing, type: Any, length: int) -> None:
    one = framing.encoded(ChatCompletionResponse(choices=[{"delta": {"content": "x" * length}}]))
    chunk = one * (KIB * KIB // len(one))
    for kind, kind_of_source in (("iter_batches", list), ("aiter_batches", achunks)):
        batches = list(over(framing, kind, kind_of_source([chunk, framing.end]), type=type))
        assert sum(map(len, batches)) == len(chunk) // len(one)
        assert 40 <= len(batches) <= 90
        assert max(map(len, batches)) * len(one) < 24 * KIB


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_large_chunk_may_change_once_its_first_batch_has_come(framing: Framing, kind: Any) -> None:
    chunk = bytearray(framing.encoded(*COSTS * 1000))
    seen: list[Any] = []
    for batch in framing.stream.iter_batches([kind(chunk), framing.end]):
        seen += batch
        chunk[:] = b"x" * len(chunk)
    assert seen == COSTS * 1000


def test_a_chunk_of_16_kib_or_less_is_one_batch(framing: Framing) -> None:
    chunks = [framing.encoded(*COSTS) * 20] * 3
    assert list(framing.stream.iter_batches([*chunks, framing.end])) == [COSTS * 20] * 3


# Sources


def test_a_live_socket_is_read_as_a_file_without_waiting_for_more(framing: Framing) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    with ours, theirs, ours.makefile("rb") as file:
        iterator = framing.stream.iter_decode(file)
        for record in COSTS:
            theirs.sendall(framing.encoded(record))
            assert next(iterator) == record
        theirs.sendall(framing.end)
        theirs.close()
        assert list(iterator) == []


def test_files_are_read_raw_buffered_or_compressed(framing: Framing) -> None:
    whole = framing.encoded(*COSTS * 3000) + framing.end
    with gzip.open(io.BytesIO(gzip.compress(whole))) as file:
        assert list(framing.stream.iter_decode(file)) == COSTS * 3000
    for buffering in (0, -1):
        with tempfile.TemporaryFile(buffering=buffering) as file:
            file.write(whole)
            file.seek(0)
            assert list(framing.stream.iter_decode(file)) == COSTS * 3000


@async_kinds
def test_an_asyncio_reader_is_read_without_waiting_for_more_and_by_one_task_at_a_time(
    framing: Framing, kind: str
) -> None:
    """If two tasks waited for the same iterator, records would come twice or not at all. Generators say so too."""

    async def main() -> None:
        source = asyncio.StreamReader()
        iterator = getattr(framing.stream, kind)(source)
        for record in COSTS:
            waiting = asyncio.ensure_future(anext(iterator))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task waits"):
                await anext(iterator)
            source.feed_data(framing.encoded(record) + framing.keep_alive)
            assert flat([await asyncio.wait_for(waiting, 30)]) == [record]
        source.feed_data(framing.end)
        source.feed_eof()
        assert [item async for item in iterator] == []

    asyncio.run(main())


@kinds
def test_an_invalid_source_is_a_type_error_that_says_what_to_pass(framing: Framing, kind: str) -> None:
    text = "an object with async read(n), or an async" if kind.startswith("a") else "a file opened with 'rb', or an"
    sources: list[Any] = [b"{}", bytearray(b"{}"), memoryview(b"{}"), "a", pathlib.Path("a"), io.StringIO("{}"), 5]
    for source in sources + [[b"{}"], io.BytesIO(b"{}")] * kind.startswith("a"):
        given = "a file opened as text" if isinstance(source, io.StringIO) else type(source).__name__
        with pytest.raises(TypeError, match=f"^{re.escape(f'expected {text} iterable of chunks, got {given}')}$"):
            getattr(framing.stream, kind)(source)


def test_a_type_that_fails_in_the_last_event_does_not_hide_a_cut() -> None:
    class Failing(ChatCompletionResponse):
        def __post_init__(self) -> None:
            raise RuntimeError  # passed on as it is, where ValueError and TypeError reject the record

    iterator = sse.iter_decode([b'data: {"cost":1}'], Failing)
    with pytest.raises(RuntimeError):
        next(iterator)
    (error,) = drained(iterator)
    assert error[:3] == ("incomplete", "event", 2)
