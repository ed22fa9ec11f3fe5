"""MessagePack between two services, over TCP."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from chatcodec import ChatCompletionResponse, frames


async def send(writer: asyncio.StreamWriter, batches: Iterable[list[ChatCompletionResponse]]) -> None:
    """Send batches no faster than they are read at the other end."""
    for batch in batches:
        writer.write(frames.encode(batch))
        await writer.drain()  # waits while what is not sent yet is above the transport's limit
    writer.close()
    await writer.wait_closed()


def receive(reader: asyncio.StreamReader) -> AsyncIterator[ChatCompletionResponse]:
    """Yield records as they arrive; while nobody asks for the next, nothing is read."""
    return frames.aiter_decode(reader)
