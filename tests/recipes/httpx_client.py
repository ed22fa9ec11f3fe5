"""Read a stream of JSON lines with httpx."""

import httpx

from chatcodec import Envelope, ndjson


async def cost_of_stream(url: str) -> float:
    """Return what a streamed answer cost. Raises `ValueError` if the provider reports an error in it."""
    cost = 0.0
    async with httpx.AsyncClient() as client, client.stream("GET", url) as response:
        response.raise_for_status()
        async for line in ndjson.aiter_decode(response.aiter_bytes(), Envelope):
            if line.failed:
                raise ValueError(bytes(line.error))
            cost += line.cost or 0.0
    return cost
