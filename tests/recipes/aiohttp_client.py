"""Read a stream of JSON lines with aiohttp, whose `content` is read as `asyncio.StreamReader` is."""

import aiohttp

from chatcodec import Envelope, ndjson


async def cost_of_stream(url: str) -> float:
    """Return what a streamed answer cost."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        lines = ndjson.aiter_decode(response.content, Envelope)
        return sum([line.cost or 0.0 async for line in lines])
