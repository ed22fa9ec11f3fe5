"""Iteration over files, pipes, sockets and iterables: records or batches, before the next chunk is asked for."""

from __future__ import annotations

import asyncio
import gzip
import io
import itertools
import pathlib
import socket
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse, Envelope, RecordError, StreamError, sse

from .support import COSTS, EVENTS, Awaited, Bad, Framing, bad, drained, errors_last, outcome, pieces, streams_of

KIB = 1024


async def achunks(chunks: list[Any]) -> AsyncIterator[Any]:
    """Yield chunks as httpx does, and raise the exceptions among them."""
    for chunk in chunks:
        await asyncio.sleep(0)
        if isinstance(chunk, BaseException):
            raise chunk
        yield chunk


def raising(chunks: list[Any]) -> Iterator[Any]:
    """Yield chunks, and raise the exceptions among them."""
    for chunk in chunks:
        if isinstance(chunk, BaseException):
            raise chunk
        yield chunk


class Reader:
    """A source with `read` alone, as a raw file: it returns these chunks, and raises the exceptions among them."""

    def __init__(self, chunks: list[Any]) -> None:
        self.chunks = iter(chunks)

    def read(self, size: int, /) -> Any:
        chunk: Any = next(self.chunks, b"")
        if isinstance(chunk, BaseException):
            raise chunk
        assert chunk is None or len(chunk) <= size
        return chunk


class AsyncReader(Reader):
    """The same, with `await`."""

    async def read(self, size: int, /) -> Any:
        await asyncio.sleep(0)
        return super().read(size)


READERS = {"iter_decode": Reader, "iter_batches": Reader, "aiter_decode": AsyncReader, "aiter_batches": AsyncReader}
kinds = pytest.mark.parametrize("kind", READERS)


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
    for kind in READERS:
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


@kinds
def test_an_iterator_stays_ended(framing: Framing, kind: str) -> None:
    iterator = over(framing, kind, READERS[kind]([framing.encoded(*COSTS), framing.end]))
    assert flat(list(iterator)) == COSTS
    assert [next(iterator, None), next(iterator, None)] == [None, None]


# Errors


@kinds
@pytest.mark.parametrize("failure", [KeyboardInterrupt, StopIteration])
def test_what_on_error_raises_comes_after_the_records_before_it(framing: Framing, kind: str, failure: Any) -> None:
    """What would end the iteration as if the stream were complete is a RuntimeError, as in generators."""

    def fail(_: RecordError) -> None:
        raise failure

    whole = framing.encoded(*COSTS[:2]) + framing.bad + framing.encoded(*COSTS[2:])
    iterator = over(framing, kind, READERS[kind]([whole, framing.end]), on_error=fail)
    seen: list[Any] = []
    with pytest.raises(RuntimeError if failure is StopIteration else failure):
        seen.extend(iterator)
    seen.extend(iterator)
    assert flat(seen) == COSTS


@kinds
def test_what_the_source_raises_comes_out_and_reading_can_go_on(framing: Framing, kind: str) -> None:
    whole = framing.encoded(*COSTS) + framing.end
    failures = [TimeoutError(), KeyboardInterrupt(), OSError()]
    iterator = over(framing, kind, READERS[kind]([failures[0], whole[:20], failures[1], whole[20:], failures[2]]))
    seen: list[Any] = []
    for failure in failures:
        with pytest.raises(type(failure)):
            seen.extend(iterator)
    assert list(iterator) == []
    assert flat(seen) == COSTS


@kinds
def test_a_generator_that_raised_never_ends_a_stream_as_if_it_were_whole(framing: Framing, kind: str) -> None:
    """It is over then, as httpx's is after a timeout."""
    source: Any = achunks if kind.startswith("a") else raising
    iterator = over(framing, kind, source([framing.encoded(*COSTS), framing.end, TimeoutError()]))
    seen: list[Any] = []
    with pytest.raises(TimeoutError):
        seen.extend(iterator)
    with pytest.raises(StreamError, match=r"the source ended when it raised TimeoutError$") as caught:
        next(iterator)
    assert (caught.value.kind, caught.value.offset) == ("incomplete", len(framing.encoded(*COSTS) + framing.end))
    assert flat(seen) == COSTS
    assert list(iterator) == []


@kinds
def test_a_generator_that_raised_in_an_event_never_ends_its_stream_as_if_it_were_whole(kind: str) -> None:
    source: Any = achunks if kind.startswith("a") else raising
    for last in (b'data: {"cost":1.0}\n', b"data: [DONE]\n"):
        iterator = over(EVENTS, kind, source([last, TimeoutError()]), require_done=False)
        with pytest.raises(TimeoutError):
            next(iterator)
        with pytest.raises(StreamError, match=r"the source ended when it raised TimeoutError$"):
            list(iterator)


@pytest.mark.parametrize("name", ["aiter_decode", "aiter_batches"])
def test_a_closed_iterator_has_ended_and_what_it_had_of_a_record_is_none(framing: Framing, name: str) -> None:
    async def main() -> None:
        one = framing.encoded(COSTS[0])
        iterator = getattr(framing.stream, name)(achunks([one * 2 + one[:-1], one]))
        await anext(iterator)
        await iterator.aclose()
        assert [item async for item in iterator] == []
        # What is no generator is its owner's, and can be read on.
        iterator = getattr(framing.stream, name)(AsyncReader([one[:5], one[5:]]))
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


@kinds
def test_a_read_that_has_nothing_yet_is_no_end(framing: Framing, kind: str) -> None:
    """What does not block returns None (`io.RawIOBase.read`)."""
    iterator = over(framing, kind, READERS[kind]([framing.encoded(*COSTS[:2]), None, framing.encoded(*COSTS[2:])]))
    seen: list[Any] = []
    with pytest.raises(TypeError, match="NoneType"):
        seen.extend(iterator)
    seen.append(next(iterator))
    assert flat(seen)[:3] == COSTS[:3]


@pytest.mark.parametrize("name", ["aiter_decode", "aiter_batches"])
def test_a_second_task_that_waits_for_the_same_iterator_is_an_error(framing: Framing, name: str) -> None:
    """Records would come twice or not at all. Generators say so too."""

    async def main() -> None:
        reader = asyncio.StreamReader()
        iterator: Any = getattr(framing.stream, name)(reader)
        waiting = asyncio.ensure_future(anext(iterator))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task waits"):
            await anext(iterator)
        reader.feed_data(framing.encoded(COSTS[0]))
        assert flat([await waiting]) == COSTS[:1]
        reader.feed_data(framing.encoded(COSTS[1]))
        assert flat([await anext(iterator)]) == COSTS[1:2]

    asyncio.run(main())


# Timing


@pytest.mark.parametrize("batches", [False, True])
def test_what_a_chunk_completed_comes_before_the_next_chunk_is_asked_for(framing: Framing, batches: bool) -> None:
    asked: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number, record in enumerate(COSTS):
            asked.append(number)
            yield framing.encoded(record) * 2
            yield framing.keep_alive  # completes no record, and makes no batch
        yield framing.end

    iterate = framing.stream.iter_batches if batches else framing.stream.iter_decode
    for number, item in enumerate(iterate(chunks())):
        record = COSTS[number if batches else number // 2]
        assert item == ([record] * 2 if batches else record)
        assert asked == list(range((number if batches else number // 2) + 1))


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
    one = framing.encoded(*COSTS)
    chunks = [one * 20] * 3
    assert list(framing.stream.iter_batches([*chunks, framing.end])) == [COSTS * 20] * 3


def test_iterating_over_a_large_chunk_holds_few_records_at_a_time(framing: Framing) -> None:
    class Held(ChatCompletionResponse):
        alive = 0

        def __post_init__(self) -> None:
            Held.alive += 1

        def __del__(self) -> None:
            Held.alive -= 1

    whole = framing.encoded(*COSTS * 5000)
    most = 0
    for _ in framing.stream.iter_decode([whole, framing.end], Held):
        most = max(most, Held.alive)
    assert 0 < most <= 64 * KIB * len(COSTS) * 5000 // len(whole) + 1


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


@pytest.mark.parametrize("name", ["aiter_decode", "aiter_batches"])
def test_an_asyncio_stream_reader_is_read_without_waiting_for_more(framing: Framing, name: str) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader()
        iterator = getattr(framing.stream, name)(reader)
        for record in COSTS:
            reader.feed_data(framing.encoded(record) + framing.keep_alive)
            assert await asyncio.wait_for(anext(iterator), 30) == (record if name == "aiter_decode" else [record])
        reader.feed_data(framing.end)
        reader.feed_eof()
        assert [item async for item in iterator] == []

    asyncio.run(main())


@kinds
@pytest.mark.parametrize(
    "source",
    ["a.ndjson", pathlib.Path("a"), io.StringIO("{}\n"), b"{}\n", bytearray(b"{}\n"), memoryview(b"{}\n"), 5, None],
    ids=lambda source: source.__class__.__name__,
)
def test_what_is_no_source_is_a_type_error_that_says_what_to_pass(framing: Framing, kind: str, source: Any) -> None:
    expected = r"an object with async read\(n\)" if kind.startswith("a") else "a file opened with 'rb'"
    with pytest.raises(TypeError, match=f"^expected {expected}, or an"):
        getattr(framing.stream, kind)(source)


@pytest.mark.parametrize("name", ["aiter_decode", "aiter_batches"])
def test_a_source_that_is_not_async_is_a_type_error_in_an_async_iterator(framing: Framing, name: str) -> None:
    with pytest.raises(TypeError, match="an async iterable of chunks, got list"):
        getattr(framing.stream, name)([b"{}\n"])
    with pytest.raises(TypeError, match="an async iterable of chunks, got BytesIO"):
        getattr(framing.stream, name)(io.BytesIO(b"{}\n"))


def test_what_a_type_raises_in_the_last_event_does_not_hide_that_the_stream_was_cut() -> None:
    class Failing(ChatCompletionResponse):
        def __post_init__(self) -> None:
            raise RuntimeError  # passed on as it is, where ValueError and TypeError reject the record

    iterator = sse.iter_decode([b'data: {"cost":1}'], Failing)
    with pytest.raises(RuntimeError):
        next(iterator)
    with pytest.raises(StreamError) as caught:
        next(iterator)
    assert (caught.value.kind, caught.value.index) == ("incomplete", 2)
    assert list(iterator) == []
