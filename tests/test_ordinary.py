"""Ordinary traffic keeps to the short way: what is done for a chunk does not depend on how many records it brings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from chatcodec import ChatCompletionResponse, Envelope, RecordError, frames, ndjson

from .test_sources import achunks
from .test_stream import framed, outcome, plain, streams, work

if TYPE_CHECKING:
    from types import ModuleType

TYPES = [ChatCompletionResponse, Envelope, msgspec.Raw, bytes]
# Lines below 800 bytes and above it go two ways.
LENGTHS = [10, 3000]


def calls_for(stream: ModuleType, type: Any, count: int, length: int) -> int:
    """Return how many calls into Python the third of three chunks of whole records takes."""
    chunk = stream.encode([ChatCompletionResponse(session_id="x" * length)] * count)
    decoder = stream.StreamDecoder(type)
    decoder.feed(chunk)
    decoder.feed(chunk)
    seen: list[Any] = []
    calls = work(lambda: seen.extend(decoder.feed(chunk)))
    assert len(seen) == count
    return calls["call"]


@streams
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("type", TYPES)
def test_a_chunk_is_a_fixed_number_of_calls_however_many_records_it_brings(
    stream: ModuleType, codec: ModuleType, type: Any, length: int
) -> None:
    assert calls_for(stream, type, 4, length) == calls_for(stream, type, 40, length)


# Calls of the package's own: the framing's feed(), and what it cannot do without.
PIECE = {(ndjson, bytes): 3}
SMALL = {(ndjson, bytes): 3}
MUCH = {(ndjson, bytes): 3, (frames, bytes): 1}


@streams
@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize(("length", "count"), [(10, 1), (10, 4), (10, 900), (3000, 9)])
def test_a_chunk_cut_inside_records_takes_no_call_but_those(
    stream: ModuleType, codec: ModuleType, type: Any, length: int, count: int
) -> None:
    chunk = stream.encode([ChatCompletionResponse(session_id="x" * length)] * count)
    shifted = chunk[7:] + chunk[:7]
    decoder = stream.StreamDecoder(type)
    decoder.feed(chunk + chunk[:7])
    decoder.feed(shifted)
    calls = work(lambda: decoder.feed(shifted))["call"] - 1
    if count <= 4:
        assert calls == SMALL.get((stream, type), 1)
    else:
        assert calls == MUCH.get((stream, type), 1 if stream is frames else 4 if length == 3000 else 2)
    assert decoder.buffered == 7


@streams
@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("size", [1000, 10_000])
def test_so_does_a_piece_of_a_record(stream: ModuleType, codec: ModuleType, type: Any, size: int) -> None:
    chunk = stream.encode([ChatCompletionResponse(session_id="x" * 3 * size)])
    decoder = stream.StreamDecoder(type)
    decoder.feed(chunk + chunk[:9])
    # Another call holds what is long.
    assert work(lambda: decoder.feed(chunk[9:size]))["call"] - 1 <= PIECE.get((stream, type), 1) + 2 * (size > 1000)
    assert decoder.buffered == size


@streams
@pytest.mark.parametrize("type", TYPES)
def test_the_first_chunk_is_as_ordinary_as_any(stream: ModuleType, codec: ModuleType, type: Any) -> None:
    def calls(count: int) -> int:
        chunk = stream.encode([ChatCompletionResponse(session_id="x" * 20)] * count)
        decoder = stream.StreamDecoder(type)
        return work(lambda: decoder.feed(chunk))["call"]

    assert calls(300) == calls(3000)


def test_long_lines_that_begin_with_a_space_are_decoded_together_too() -> None:
    def calls(count: int) -> int:
        chunk = b' {"sessionId":"' + b"x" * 3000 + b'"}\n'
        decoder = ndjson.StreamDecoder(ChatCompletionResponse)
        decoder.feed(chunk * 4)
        decoder.feed(chunk * 4)
        return work(lambda: decoder.feed(chunk * count))["call"]

    assert calls(4) == calls(40)


@streams
@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("buffer", [bytearray, memoryview])
def test_chunks_of_any_buffer_are_taken_behind_ordinary_ones(
    stream: ModuleType, codec: ModuleType, type: Any, buffer: Any
) -> None:
    chunk = stream.encode([ChatCompletionResponse(session_id="x")] * 2)
    decoder = stream.StreamDecoder(type)
    decoder.feed(chunk)
    assert list(map(plain, decoder.feed(buffer(chunk)))) == list(map(plain, decoder.feed(chunk)))


@streams
@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("buffer", [bytearray, memoryview])
@pytest.mark.parametrize("count", [4, 900])
def test_a_copy_is_all_that_they_take_more(
    stream: ModuleType, codec: ModuleType, type: Any, buffer: Any, count: int
) -> None:
    chunk = stream.encode([ChatCompletionResponse(session_id="x")] * count)
    decoder = stream.StreamDecoder(type)
    decoder.feed(chunk)
    few = work(lambda: decoder.feed(chunk))
    other = buffer(chunk)
    more = work(lambda: decoder.feed(other))
    # Up through the classes, and down again with bytes.
    assert more["call"] - few["call"] == (2 if stream is frames else 3)
    assert more["tobytes"] == 1


@streams
@pytest.mark.parametrize("limit", range(10, 50))
def test_the_limit_is_that_of_one_record_and_not_of_some_together(
    stream: ModuleType, codec: ModuleType, limit: int
) -> None:
    chunk = stream.encode([ChatCompletionResponse(cost=1.0)] * 4)
    record = codec.encode(ChatCompletionResponse(cost=1.0))
    expected = limit >= len(record)
    seen = outcome(stream, [chunk], max_record_bytes=limit)
    assert [isinstance(item, ChatCompletionResponse) for item in seen] == [expected] * 4


def test_long_lines_are_decoded_many_at_a_time_and_short_ones_are_not() -> None:
    for length, times in ((10, 0), (3000, 1)):
        chunk = ndjson.encode([ChatCompletionResponse(session_id="x" * length)] * (20_000 // length))
        decoder = ndjson.StreamDecoder(ChatCompletionResponse)
        decoder.feed(chunk)
        decoder.feed(chunk)
        assert work(lambda: decoder.feed(chunk))["decode_lines"] == times


@streams
@pytest.mark.parametrize("type", TYPES)
def test_an_async_iterator_yields_what_it_was_asked_for(stream: ModuleType, codec: ModuleType, type: Any) -> None:
    async def main() -> list[Any]:
        chunks = achunks([stream.encode([ChatCompletionResponse(cost=1.0)] * 3)])
        return [record async for record in stream.aiter_decode(chunks, type)]

    assert [record.__class__ for record in asyncio.run(main())] == [type] * 3


@streams
@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_holds_for_a_record_alone_in_its_chunk(stream: ModuleType, codec: ModuleType, over: int) -> None:
    message = codec.encode(ChatCompletionResponse(session_id="x" * 60))
    decoder = stream.StreamDecoder(bytes, max_record_bytes=len(message) - over)
    short = codec.encode(ChatCompletionResponse())
    assert decoder.feed(framed(stream, short)) == [short]
    if over:
        with pytest.raises(RecordError, match="limit"):
            decoder.feed(framed(stream, message))
    else:
        assert decoder.feed(framed(stream, message)) == [message]
    assert decoder.feed(framed(stream, short)) == [short]


def test_a_frame_is_too_long_as_soon_as_its_header_is_there() -> None:
    decoder = frames.StreamDecoder(bytes, max_record_bytes=60)
    assert decoder.feed(framed(frames, b"\x80")) == [b"\x80"]
    with pytest.raises(RecordError, match="61 bytes long"):
        decoder.feed((61).to_bytes(4, "big"))
    assert decoder.buffered == 0


@streams
@pytest.mark.parametrize("size", [100, 1400, 9000])
def test_a_long_message_in_pieces_comes_out_as_it_was_sent(stream: ModuleType, codec: ModuleType, size: int) -> None:
    message = codec.encode(ChatCompletionResponse(session_id="xyz" * 7000))
    decoder = stream.StreamDecoder(bytes)
    whole = framed(stream, codec.encode(ChatCompletionResponse()), message, message)
    records = [record for at in range(0, len(whole), size) for record in decoder.feed(whole[at : at + size])]
    assert records[1:] == [message, message]
    assert {type(record) for record in records} == {bytes}
