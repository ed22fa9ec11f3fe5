"""Read a stream of JSON lines with httpx."""

import httpx

from chatcodec import Envelope, ndjson


async def cost_of_stream(url: str) -> float:
    """Return what a streamed answer cost."""
    async with httpx.AsyncClient() as client, client.stream("GET", url) as response:
        lines = ndjson.aiter_decode(response.aiter_bytes(), Envelope)
        return sum([line.cost or 0.0 async for line in lines])
