"""Iteration over files, pipes, sockets and iterables: records or batches, before the next chunk is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import itertools
import os
import pathlib
import socket
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse, Envelope, RecordError, StreamError, ndjson, sse

from .support import COSTS, EVENTS, Bad, adrained, bad, drained, errors_last, framings, outcome, pieces, streams_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .support import Framing

KIB = 1024


async def achunks(chunks: list[Any]) -> AsyncIterator[Any]:
    """Yield chunks as httpx does, and raise the exceptions among them."""
    for chunk in chunks:
        await asyncio.sleep(0)
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
        assert len(chunk) <= size
        return chunk


class AsyncReader(Reader):
    """The same, with `await`."""

    async def read(self, size: int, /) -> Any:
        await asyncio.sleep(0)
        return super().read(size)


def over(framing: Framing, chunks: list[Any], *, batches: bool = False, **options: Any) -> Iterator[Any]:
    """Iterate over a source that has `read`."""
    iterate = framing.stream.iter_batches if batches else framing.stream.iter_decode
    iterator: Iterator[Any] = iterate(Reader(chunks), **options)
    return iterator


def flat(seen: list[Any]) -> list[Any]:
    """Flatten the batches among errors."""
    assert [] not in seen
    return list(itertools.chain.from_iterable([item] if isinstance(item, Bad) else item for item in seen))


def iterators(framing: Framing, chunks: list[bytes], **options: Any) -> Iterator[list[Any]]:
    """Yield what each kind of iterator over each kind of source gives."""
    whole = b"".join(chunks)
    read = [chunk for chunk in chunks if chunk]
    for iterate, flattened in ((framing.stream.iter_decode, list), (framing.stream.iter_batches, flat)):
        for source in (chunks, iter(map(bytearray, chunks)), io.BytesIO(whole), Reader(read)):
            yield flattened(drained(iterate(source, **options)))
    for iterate, flattened in ((framing.stream.aiter_decode, list), (framing.stream.aiter_batches, flat)):
        for asource in (achunks(chunks), AsyncReader(read)):
            yield flattened(asyncio.run(adrained(iterate(asource, **options))))


@framings
@given(data=st.data(), size=st.integers(1, 30), limit=st.none() | st.integers(1, 60))
def test_each_iterator_over_each_source_gives_what_feeding_gives(
    framing: Framing, data: Any, size: int, limit: int | None
) -> None:
    whole = data.draw(streams_of(framing))[:2000]
    type = data.draw(st.sampled_from([ChatCompletionResponse, bytes]))
    chunks = pieces(whole, size)
    chunks.insert(len(chunks) // 2, b"")
    expected = outcome(framing, chunks, max_record_bytes=limit, type=type)
    for seen in iterators(framing, chunks, max_record_bytes=limit, type=type):
        assert seen == expected
    errors: list[Bad] = []
    options = {"max_record_bytes": limit, "type": type, "on_error": lambda error: errors.append(bad(error))}
    for seen in iterators(framing, chunks, **options):
        assert errors_last(seen + errors) == errors_last(expected)
        errors.clear()


@framings
def test_an_iterator_is_its_own_and_stays_ended(framing: Framing) -> None:
    iterator = over(framing, [framing.encoded(*COSTS), framing.end])
    assert iter(iterator) is iterator
    assert list(iterator) == COSTS
    assert [next(iterator, None), next(iterator, None)] == [None, None]


# Errors


@framings
@pytest.mark.parametrize("batches", [False, True])
def test_the_next_call_after_an_error_continues_after_it(framing: Framing, batches: bool) -> None:
    whole = framing.encoded(*COSTS[:2]) + framing.bad * 2 + framing.encoded(*COSTS[2:])
    iterator = over(framing, [whole, framing.end], batches=batches)
    assert ([next(iterator)] if batches else [[next(iterator), next(iterator)]]) == [COSTS[:2]]
    for index in (3, 4):
        with pytest.raises(RecordError) as caught:
            next(iterator)
        assert (caught.value.index, caught.value.records) == (index, [])
    assert list(iterator) == ([COSTS[2:]] if batches else COSTS[2:])


@framings
@pytest.mark.parametrize("batches", [False, True])
def test_on_error_takes_bad_records_and_a_cut_is_raised_after_the_good_ones(framing: Framing, batches: bool) -> None:
    errors: list[RecordError] = []
    whole = framing.bad + framing.encoded(*COSTS) + framing.bad[:-4]
    for iterator in (
        over(framing, [whole], batches=batches, on_error=errors.append),
        over(framing, pieces(whole, 7), batches=batches, on_error=errors.append),
    ):
        seen = drained(iterator)
        assert (flat(seen) if batches else seen)[:-1] == COSTS
        assert seen[-1][:4] == ("incomplete", framing.unit, 7, len(whole) - len(framing.bad[:-4]))
        assert next(iterator, None) is None
    assert [error.index for error in errors] == [1, 1]


@framings
@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize(
    ("failure", "seen_as"), [(KeyboardInterrupt, KeyboardInterrupt), (StopIteration, RuntimeError)]
)
def test_what_on_error_raises_comes_after_the_records_before_it(
    framing: Framing, batches: bool, failure: type[BaseException], seen_as: type[BaseException]
) -> None:
    """What would end the iteration as if the stream were complete is a RuntimeError, as in generators."""

    def fail(_: RecordError) -> None:
        raise failure

    whole = framing.encoded(*COSTS[:2]) + framing.bad + framing.encoded(*COSTS[2:])
    iterator = over(framing, [whole, framing.end], batches=batches, on_error=fail)
    seen: list[Any] = []
    with pytest.raises(seen_as):
        for item in iterator:
            seen += item if batches else [item]
    for item in iterator:
        seen += item if batches else [item]
    assert seen == COSTS


@framings
@pytest.mark.parametrize("batches", [False, True])
def test_what_the_source_raises_comes_out_and_reading_can_go_on(framing: Framing, batches: bool) -> None:
    whole = framing.encoded(*COSTS) + framing.end
    failures = [TimeoutError(), KeyboardInterrupt(), OSError()]
    chunks = [failures[0], whole[:20], failures[1], whole[20:], failures[2]]
    iterator = over(framing, chunks, batches=batches)
    seen: list[Any] = []
    for failure in failures:
        with pytest.raises(type(failure)):
            for item in iterator:
                seen += item if batches else [item]
    assert list(iterator) == []
    assert seen == COSTS


@framings
@pytest.mark.parametrize("name", ["aiter_decode", "aiter_batches"])
def test_what_an_async_source_raises_comes_out_and_reading_can_go_on(framing: Framing, name: str) -> None:
    whole = framing.encoded(*COSTS) + framing.end

    async def main() -> list[Any]:
        iterator = getattr(framing.stream, name)(AsyncReader([whole[:20], ConnectionError(), whole[20:]]))
        seen: list[Any] = []
        with pytest.raises(ConnectionError):
            async for item in iterator:
                seen.append(item)
        assert iterator.__aiter__() is iterator
        return seen + [item async for item in iterator]

    seen = asyncio.run(main())
    assert (flat(seen) if name == "aiter_batches" else seen) == COSTS


# Timing


@framings
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


@framings
def test_a_live_pipe_is_not_held_up(framing: Framing) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as sink:
        iterator = framing.stream.iter_decode(source)
        for record in COSTS:
            sink.write(framing.encoded(record))
            assert next(iterator) == record
        sink.write(framing.end)
        sink.close()
        assert list(iterator) == []


@framings
def test_read1_is_preferred_to_read(framing: Framing) -> None:
    class Buffered(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise AssertionError

    assert list(framing.stream.iter_decode(Buffered(framing.encoded(*COSTS) + framing.end))) == COSTS


# Batches


@framings
@pytest.mark.parametrize("type", [ChatCompletionResponse, Envelope, bytes])
@pytest.mark.parametrize("length", [100, 3000])
def test_a_large_chunk_comes_in_batches_of_about_16_kib(framing: Framing, type: Any, length: int) -> None:
    one = framing.encoded(ChatCompletionResponse(choices=[{"delta": {"content": "x" * length}}]))
    chunk = one * (KIB * KIB // len(one))

    async def main() -> list[Any]:
        source = achunks([chunk, framing.end])
        return [batch async for batch in framing.stream.aiter_batches(source, type)]

    for batches in (list(framing.stream.iter_batches([chunk, framing.end], type)), asyncio.run(main())):
        assert sum(map(len, batches)) == len(chunk) // len(one)
        assert 40 <= len(batches) <= 90
        assert max(map(len, batches)) * len(one) < 24 * KIB


@framings
@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_large_chunk_may_change_once_its_first_batch_has_come(framing: Framing, kind: Any) -> None:
    chunk = bytearray(framing.encoded(*COSTS * 1000))
    seen: list[Any] = []
    for batch in framing.stream.iter_batches([kind(chunk), framing.end]):
        seen += batch
        chunk[:] = b"x" * len(chunk)
    assert seen == COSTS * 1000


@framings
def test_a_chunk_of_16_kib_or_less_is_one_batch(framing: Framing) -> None:
    one = framing.encoded(*COSTS)
    chunks = [one * 20] * 3
    assert list(framing.stream.iter_batches([*chunks, framing.end])) == [COSTS * 20] * 3


@framings
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


@framings
def test_a_socket_is_read_as_a_file(framing: Framing) -> None:
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs:
            theirs.sendall(framing.encoded(*COSTS * 500) + framing.end)

    thread = threading.Thread(target=send)
    thread.start()
    with ours, ours.makefile("rb") as file:
        assert list(framing.stream.iter_decode(file)) == COSTS * 500
    thread.join()


@framings
def test_files_are_read_raw_buffered_or_compressed(framing: Framing) -> None:
    whole = framing.encoded(*COSTS * 3000) + framing.end
    with gzip.open(io.BytesIO(gzip.compress(whole))) as file:
        assert list(framing.stream.iter_decode(file)) == COSTS * 3000
    for buffering in (0, -1):
        with tempfile.TemporaryFile(buffering=buffering) as file:
            file.write(whole)
            file.seek(0)
            assert list(framing.stream.iter_decode(file)) == COSTS * 3000


@framings
@pytest.mark.parametrize("name", ["aiter_decode", "aiter_batches"])
def test_an_asyncio_stream_reader_is_read_over_a_socket_without_waiting_for_more(framing: Framing, name: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for record in COSTS:
            writer.write(framing.encoded(record) + framing.keep_alive)
            await writer.drain()
            await reader.readexactly(1)  # the record has arrived before the next is sent
        writer.write(framing.end)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def main() -> list[Any]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            seen = []
            async for item in getattr(framing.stream, name)(reader):
                seen.append(item)
                writer.write(b".")
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        return seen

    assert asyncio.run(main()) == (COSTS if name == "aiter_decode" else [[record] for record in COSTS])


@framings
@pytest.mark.parametrize("name", ["iter_decode", "iter_batches"])
@pytest.mark.parametrize(
    "source",
    [
        "a.ndjson",
        pathlib.Path("a.ndjson"),
        io.StringIO("{}\n"),
        b"{}\n",
        bytearray(b"{}\n"),
        memoryview(b"{}\n"),
        5,
        None,
    ],
    ids=lambda source: source.__class__.__name__,
)
def test_a_path_a_text_file_bytes_or_no_source_is_a_type_error_that_says_what_to_pass(
    framing: Framing, name: str, source: Any
) -> None:
    with pytest.raises(TypeError, match=r"binary|open\(|chunks"):
        next(getattr(framing.stream, name)(source))


@framings
@pytest.mark.parametrize("name", ["aiter_decode", "aiter_batches"])
@pytest.mark.parametrize("source", ["a.ndjson", b"{}\n", [b"{}\n"]], ids=["path", "bytes", "list"])
def test_a_source_that_is_not_async_is_a_type_error_in_an_async_iterator(
    framing: Framing, name: str, source: Any
) -> None:
    async def main() -> None:
        await getattr(framing.stream, name)(source).__anext__()

    with pytest.raises(TypeError):
        asyncio.run(main())


@framings
@pytest.mark.parametrize("chunk", ["text", None, 5])
def test_a_chunk_without_a_buffer_is_a_type_error(framing: Framing, chunk: Any) -> None:
    with pytest.raises(TypeError):
        next(framing.stream.iter_decode([chunk]))


def test_an_error_event_in_mid_stream_is_raised_and_iteration_can_go_on() -> None:
    whole = EVENTS.encoded(*COSTS[:2]) + b"event: error\ndata: x\n\n" + EVENTS.encoded(*COSTS[2:]) + EVENTS.end
    seen: list[Any] = []
    iterator = EVENTS.stream.iter_batches([whole], on_error=lambda _: None)
    with pytest.raises(StreamError, match="event 3"):
        seen.extend(iterator)
    assert [*seen, *iterator] == [COSTS[:2], COSTS[2:]]


@framings
@pytest.mark.parametrize("name", ["aiter_decode", "aiter_batches"])
def test_a_cut_stream_that_is_forwarded_ends_in_its_error_and_not_in_an_end_mark(framing: Framing, name: str) -> None:
    sent: list[bytes] = []

    async def forward() -> None:
        chunks = achunks([framing.bad + framing.encoded(*COSTS), framing.bad[:-4]])
        async for chunk in EVENTS.stream.aiter_encode(getattr(framing.stream, name)(chunks, on_error=lambda _: None)):
            sent.append(chunk)

    with pytest.raises(StreamError):
        asyncio.run(forward())
    assert b"".join(sent) == EVENTS.encoded(*COSTS)


@pytest.mark.parametrize("batches", [False, True])
def test_a_last_record_that_is_not_ended_comes_last(batches: bool) -> None:
    chunks = [b'{"cost":1}\n', b'{"cost":2}']

    async def collected() -> list[Any]:
        iterate: Any = ndjson.aiter_batches if batches else ndjson.aiter_decode
        return [item async for item in iterate(achunks(chunks))]

    iterate: Any = ndjson.iter_batches if batches else ndjson.iter_decode
    expected = [[COSTS[0]], [COSTS[1]]] if batches else COSTS[:2]
    assert list(iterate(chunks)) == expected
    assert asyncio.run(collected()) == expected


@pytest.mark.parametrize("batches", [False, True])
def test_what_a_type_raises_in_the_last_event_does_not_hide_that_the_stream_was_cut(batches: bool) -> None:
    class Failing(ChatCompletionResponse):
        def __post_init__(self) -> None:
            raise RuntimeError  # passed on as it is, where ValueError and TypeError reject the record

    iterator: Iterator[Any] = (sse.iter_batches if batches else sse.iter_decode)([b'data: {"cost":1}'], Failing)
    with pytest.raises(RuntimeError):
        next(iterator)
    with pytest.raises(StreamError) as caught:
        next(iterator)
    assert (caught.value.kind, caught.value.index) == ("incomplete", 2)
    assert list(iterator) == []
