"""Read a stream of JSON lines with aiohttp, whose `content` is read as `asyncio.StreamReader` is."""

import aiohttp

from chatcodec import Envelope, ndjson


async def cost_of_stream(url: str) -> float:
    """Return what a streamed answer cost. Raises `ValueError` if the provider reports an error in it."""
    cost = 0.0
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as response:
        async for line in ndjson.aiter_decode(response.content, Envelope):
            if line.failed:
                raise ValueError(bytes(line.error))
            cost += line.cost or 0.0
    return cost
