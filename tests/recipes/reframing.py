"""Turn events into lines for a caller, and into frames for another service."""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable

from msgspec import Raw

from chatcodec import DecodeError, EncodeError, frames, ndjson, sse, transcode

report = logging.getLogger("reframing").warning


def events_to_lines(events: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Write one chunk of lines for each chunk of events. The messages are checked for their syntax and not decoded."""
    return ndjson.aiter_encode(sse.aiter_batches(events, Raw))


async def lines_to_frames(lines: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Write one chunk of frames for each chunk of lines. Fields that the record does not know are kept."""
    async for batch in ndjson.aiter_batches(lines, Raw, on_error=report):
        packed: list[bytes] = []
        for message in batch:
            try:
                packed.append(transcode.json_to_msgpack(message))
            except (DecodeError, EncodeError) as error:
                report(error)
        if packed:
            yield frames.encode(packed)


async def events_to_both(events: AsyncIterable[bytes], copy: Callable[[bytes], None]) -> AsyncIterator[bytes]:
    """Write lines, and give `copy` the frames. Decoded once, encoded twice: unknown fields are dropped."""
    async for batch in sse.aiter_batches(events):
        copy(frames.encode(batch))
        yield ndjson.encode(batch)
