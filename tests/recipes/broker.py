"""MessagePack through a broker: NATS JetStream."""

from collections.abc import Iterable
from contextlib import suppress

import nats

from chatcodec import ChatCompletionResponse, DecodeError, media_types, msgpack


async def publish(url: str, records: Iterable[ChatCompletionResponse]) -> None:
    """Publish each record as a message."""
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="responses", subjects=["responses"])
    for record in records:
        await stream.publish("responses", msgpack.encode(record), headers={"Content-Type": media_types.MSGPACK})
    await client.close()


async def cost(url: str, count: int) -> float:
    """Return what the next `count` responses cost, and acknowledge them; bad ones too, or they would come again."""
    client = await nats.connect(url)
    subscription = await client.jetstream().pull_subscribe("responses", durable="billing")
    total = 0.0
    for message in await subscription.fetch(count):
        with suppress(DecodeError):
            total += msgpack.peek(message.data).cost or 0.0
        await message.ack()
    await client.close()
    return total
