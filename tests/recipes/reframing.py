"""Turn events into lines for a caller, and into frames for another service."""

from collections.abc import AsyncIterable, AsyncIterator, Callable

from msgspec import Raw

from chatcodec import frames, ndjson, sse, transcode


def events_to_lines(events: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Write one chunk of lines for each chunk of events. The messages are checked for their syntax and not decoded."""
    return ndjson.aiter_encode(sse.aiter_batches(events, Raw))


async def lines_to_frames(lines: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Write one chunk of frames for each chunk of lines. Fields that the record does not know are kept."""
    async for batch in ndjson.aiter_batches(lines, Raw):
        yield frames.encode([transcode.json_to_msgpack(message) for message in batch])


async def events_to_both(events: AsyncIterable[bytes], copy: Callable[[bytes], None]) -> AsyncIterator[bytes]:
    """Write lines, and give `copy` the frames. Decoded once, encoded twice: unknown fields are dropped."""
    async for batch in sse.aiter_batches(events):
        copy(frames.encode(batch))
        yield ndjson.encode(batch)
