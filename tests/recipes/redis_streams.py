"""Pass responses through a Redis or Valkey stream, to a group of consumers."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

from redis.asyncio import Redis

from chatcodec import ChatCompletionResponse, DecodeError, msgpack

STREAM, GROUP = "responses", "billing"


async def publish(client: Redis, records: Iterable[ChatCompletionResponse]) -> None:
    """Append each record as an entry of one field."""
    for record in records:
        await client.xadd(STREAM, {"response": msgpack.encode(record)}, maxlen=100_000, approximate=True)


async def costs(client: Redis, consumer: str) -> AsyncIterator[float]:
    """Yield what each response costs, and acknowledge it; a bad one too, or it would be delivered again for ever."""
    for since in ("0", ">"):  # what this consumer did not acknowledge before it was restarted, and what is new
        while entries := await _entries(client, consumer, since):
            for entry, fields in entries:
                try:
                    yield msgpack.peek(fields.get(b"response", b"")).cost or 0.0
                except DecodeError:
                    yield 0.0
                await client.xack(STREAM, GROUP, entry)


async def _entries(client: Redis, consumer: str, since: str) -> Any:
    streams: Any = await client.xreadgroup(GROUP, consumer, {STREAM: since}, count=100, block=1)
    return streams[0][1] if streams else []
