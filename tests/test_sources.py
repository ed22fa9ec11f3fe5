"""Iteration over files, pipes, sockets and iterables: a chunk's records before the next chunk, errors on the way."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import os
import socket
import tempfile
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse, Envelope, RecordError

from .test_stream import BAD, COSTS, KEEP_ALIVE, framed, outcome, plain, streams, streams_of, told, work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import ModuleType


def drained(iterator: Iterator[Any]) -> list[Any]:
    """Iterate to the end, past the errors."""
    seen: list[Any] = []
    while True:
        try:
            for record in iterator:
                seen.append(plain(record))
            return seen
        except RecordError as error:
            assert error.records == []
            seen.append(told(error))


async def adrained(iterator: AsyncIterator[Any]) -> list[Any]:
    """Iterate to the end, past the errors."""
    seen: list[Any] = []
    while True:
        try:
            async for record in iterator:
                seen.append(plain(record))
            return seen
        except RecordError as error:
            assert error.records == []
            seen.append(told(error))


async def achunks(chunks: list[bytes]) -> AsyncIterator[bytes]:
    """Yield chunks as httpx does."""
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


class Reader:
    """What has `read` alone, as a raw file does."""

    def __init__(self, data: bytes, most: int = 7) -> None:
        self._file = io.BytesIO(data)
        self._most = most

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._most))


def check_iterators(stream: ModuleType, whole: bytes, data: st.DataObject) -> None:
    """Iterate over `whole` as a source of every kind, cut and limited as `data` says: all give what feeding gives."""
    size = data.draw(st.integers(1, 30))
    limit = data.draw(st.one_of(st.none(), st.integers(1, 60)))
    chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
    expected = outcome(stream, chunks, max_record_bytes=limit)
    assert drained(stream.iter_decode(chunks, max_record_bytes=limit)) == expected
    assert drained(stream.iter_decode(io.BytesIO(whole), max_record_bytes=limit)) == expected
    assert drained(stream.iter_decode(Reader(whole, size), max_record_bytes=limit)) == expected
    assert asyncio.run(adrained(stream.aiter_decode(achunks(chunks), max_record_bytes=limit))) == expected


@streams
@given(data=st.data())
def test_an_iterator_gives_what_feeding_gives(stream: ModuleType, codec: ModuleType, data: Any) -> None:
    check_iterators(stream, data.draw(streams_of(stream, codec)), data)


@streams
def test_it_is_an_iterator_that_stays_ended(stream: ModuleType, codec: ModuleType) -> None:
    iterator = stream.iter_decode([stream.encode(COSTS)])
    assert iter(iterator) is iterator
    assert list(iterator) == COSTS
    assert next(iterator, None) is None


@streams
def test_the_records_before_a_bad_one_come_first_and_those_behind_it_after(
    stream: ModuleType, codec: ModuleType
) -> None:
    bad = framed(stream, BAD[stream])
    iterator = stream.iter_decode([stream.encode(COSTS[:2]) + bad + bad + stream.encode(COSTS[2:])])
    assert [next(iterator), next(iterator)] == COSTS[:2]
    for index in (3, 4):
        with pytest.raises(RecordError) as caught:
            next(iterator)
        assert caught.value.index == index
    assert list(iterator) == COSTS[2:]


@streams
def test_on_error_and_type_are_taken(stream: ModuleType, codec: ModuleType) -> None:
    errors: list[RecordError] = []
    whole = framed(stream, BAD[stream]) + stream.encode(COSTS)
    seen = list(stream.iter_decode([whole], Envelope, on_error=errors.append))
    assert [envelope.cost for envelope in seen] == [record.cost for record in COSTS]
    assert [type(envelope) for envelope in seen] == [Envelope] * len(COSTS)
    assert len(errors) == 1


@streams
def test_what_on_error_raises_comes_behind_the_records_before_it(stream: ModuleType, codec: ModuleType) -> None:
    def fail(error: RecordError) -> None:
        raise KeyboardInterrupt

    iterator = stream.iter_decode(
        [stream.encode(COSTS[:2]) + framed(stream, BAD[stream]) + stream.encode(COSTS[2:])], on_error=fail
    )
    assert [next(iterator), next(iterator)] == COSTS[:2]
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    assert list(iterator) == COSTS[2:]


@streams
def test_a_chunks_records_come_before_the_next_chunk_is_asked_for(stream: ModuleType, codec: ModuleType) -> None:
    asked: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number, record in enumerate(COSTS):
            asked.append(number)
            yield stream.encode([record])

    for number, record in enumerate(stream.iter_decode(chunks())):
        assert record == COSTS[number]
        assert asked == list(range(number + 1))


@streams
def test_a_live_pipe_is_not_held_up(stream: ModuleType, codec: ModuleType) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as sink:
        iterator = stream.iter_decode(source)
        for record in COSTS:
            sink.write(stream.encode([record]))
            assert next(iterator) == record
        sink.close()
        assert list(iterator) == []


@streams
def test_a_socket_is_read_as_a_file(stream: ModuleType, codec: ModuleType) -> None:
    ours, theirs = socket.socketpair()
    whole = stream.encode(COSTS * 500)

    def send() -> None:
        with theirs:
            theirs.sendall(whole)

    thread = threading.Thread(target=send)
    thread.start()
    with ours, ours.makefile("rb") as file:
        assert list(stream.iter_decode(file)) == COSTS * 500
    thread.join()


@streams
def test_a_compressed_file_is_read(stream: ModuleType, codec: ModuleType) -> None:
    with gzip.open(io.BytesIO(gzip.compress(stream.encode(COSTS * 3000)))) as file:
        assert list(stream.iter_decode(file)) == COSTS * 3000


@streams
def test_a_file_on_disk_is_read_raw_or_buffered(stream: ModuleType, codec: ModuleType) -> None:
    for buffering in (0, -1):
        with tempfile.TemporaryFile(buffering=buffering) as file:
            file.write(stream.encode(COSTS * 3000))
            file.seek(0)
            assert list(stream.iter_decode(file)) == COSTS * 3000


@streams
@pytest.mark.parametrize("buffer", [bytearray, lambda data: memoryview(data * 2).cast("H")[: len(data) // 2 * 2]])
def test_chunks_of_any_buffer_are_iterated_over(stream: ModuleType, codec: ModuleType, buffer: Any) -> None:
    whole = stream.encode(COSTS * 2)
    expected = COSTS * 2 * (memoryview(buffer(whole)).nbytes // len(whole))
    assert list(stream.iter_decode([buffer(whole)])) == expected
    assert asyncio.run(adrained(stream.aiter_decode(achunks([buffer(whole)])))) == expected


@streams
def test_an_empty_chunk_is_not_the_end(stream: ModuleType, codec: ModuleType) -> None:
    chunks = [b"", stream.encode(COSTS[:1]), b"", stream.encode(COSTS[1:2])]
    assert list(stream.iter_decode(chunks)) == COSTS[:2]


@streams
@pytest.mark.parametrize("source", [b"bytes", "text", ["text"], [None], io.StringIO("text")])
def test_what_gives_no_bytes_is_a_type_error(stream: ModuleType, codec: ModuleType, source: Any) -> None:
    with pytest.raises(TypeError):
        next(stream.iter_decode(source))


@streams
def test_what_reading_raises_comes_out_and_reading_can_go_on(stream: ModuleType, codec: ModuleType) -> None:
    class Slow:
        """A source that times out now and then, in the middle of records too."""

        def __init__(self) -> None:
            whole = stream.encode(COSTS)
            self.chunks = iter([TimeoutError(), whole[:20], KeyboardInterrupt(), whole[20:], TimeoutError(), b""])

        def read(self, size: int, /) -> bytes:
            chunk: Any = next(self.chunks)
            if isinstance(chunk, BaseException):
                raise chunk
            return bytes(chunk)

    iterator = stream.iter_decode(Slow())
    seen: list[ChatCompletionResponse] = []
    for failure in (TimeoutError, KeyboardInterrupt, TimeoutError):
        with pytest.raises(failure):
            for record in iterator:
                seen.append(record)
    assert list(iterator) == []
    assert seen == COSTS


@streams
def test_a_cut_stream_ends_in_an_error(stream: ModuleType, codec: ModuleType) -> None:
    iterator = stream.iter_decode([stream.encode(COSTS) + framed(stream, BAD[stream])[:6]])
    assert [next(iterator) for _ in COSTS] == COSTS
    with pytest.raises(RecordError) as caught:
        next(iterator)
    assert caught.value.index == 6
    assert list(iterator) == []


@streams
def test_a_whole_stream_holds_one_batch_at_a_time(stream: ModuleType, codec: ModuleType) -> None:
    class Held(ChatCompletionResponse):
        alive = 0

        def __post_init__(self) -> None:
            Held.alive += 1

        def __del__(self) -> None:
            Held.alive -= 1

    whole = stream.encode(COSTS * 20_000)
    most = 0
    for _ in stream.iter_decode([whole], Held):
        most = max(most, Held.alive)
    assert 0 < most <= 64 * 1024 * len(COSTS) * 20_000 // len(whole) + 1


@streams
def test_small_records_of_many_objects_are_decoded_fewer_at_a_time(stream: ModuleType, codec: ModuleType) -> None:
    def calls(type: Any, length: int) -> int:
        record = ChatCompletionResponse(choices=[{"delta": {"content": "x" * length}}])
        chunk = stream.encode([record] * (1024 * 1024 // length))[: 1024 * 1024]
        records = stream.iter_decode([chunk], type, on_error=lambda _: None)
        return work(lambda: deque(records, maxlen=0))["call"]

    small = calls(ChatCompletionResponse, 100)
    for type, length in ((Envelope, 100), (bytes, 100), (ChatCompletionResponse, 3000)):
        assert calls(type, length) < small / 2


# async


@streams
def test_asyncio_streams_are_read_over_a_socket(stream: ModuleType, codec: ModuleType) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for record in COSTS:
            writer.write(stream.encode([record]) + KEEP_ALIVE[stream])
            await writer.drain()
            await reader.readexactly(1)  # the record has arrived before the next is sent
        writer.close()
        await writer.wait_closed()

    async def main() -> list[Any]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            seen = []
            async for record in stream.aiter_decode(reader):
                seen.append(record)
                writer.write(b".")
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        return seen

    assert asyncio.run(main()) == COSTS


@streams
def test_async_iteration_is_resumed_behind_what_reading_raised(stream: ModuleType, codec: ModuleType) -> None:
    class Torn:
        def __init__(self) -> None:
            whole = stream.encode(COSTS)
            self.chunks = iter([whole[:20], ConnectionError(), whole[20:], b""])

        async def read(self, size: int, /) -> bytes:
            chunk: Any = next(self.chunks)
            if isinstance(chunk, BaseException):
                raise chunk
            return bytes(chunk)

    async def main() -> list[Any]:
        iterator = stream.aiter_decode(Torn())
        seen = []
        with pytest.raises(ConnectionError):
            async for record in iterator:
                seen.append(record)
        assert aiter_of(iterator) is iterator
        return seen + [record async for record in iterator]

    assert asyncio.run(main()) == COSTS


def aiter_of(iterator: Any) -> Any:
    """Do as `aiter`, which Python 3.10 has and mypy knows."""
    return iterator.__aiter__()
