"""A long run: many connections, cut and torn anyhow, and each record that was sent whole arrives once and in order."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from random import Random

import psutil  # type: ignore[import-untyped]
import pytest

from chatcodec import ChatCompletionResponse, RecordError

from .support import Framing

pytestmark = [pytest.mark.extras, pytest.mark.slow]

CONNECTIONS = 8
RECORDS = 200_000
BAD_SHARE = 0.01
TORN_SHARE = 0.002
KIB = 1024


class Receiver:
    """The server: it checks each record as it comes, and keeps counts alone."""

    def __init__(self, framing: Framing) -> None:
        self.framing = framing
        self.lost: list[set[int]] = [set() for _ in range(CONNECTIONS)]  # the torn ones of each sender
        self.next = [0] * CONNECTIONS
        self.records = self.bad = 0
        self.memory: list[tuple[int, int]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one connection to its end, or to where it is torn."""
        iterator = self.framing.stream.aiter_decode(reader)
        while True:
            try:
                async for record in iterator:
                    self.take(record)
                break
            except RecordError as error:
                assert error.records == []
                self.bad += 1
        writer.close()
        await writer.wait_closed()

    def take(self, record: ChatCompletionResponse) -> None:
        """Check that `record` is the next of its sender."""
        number = int(record.session_id or "")
        while self.next[number] in self.lost[number]:
            self.next[number] += 1
        assert record.cost == self.next[number]
        self.next[number] += 1
        self.records += 1
        if self.records in (RECORDS // 5, RECORDS * 4 // 5):
            gc.collect()
            self.memory.append((tracemalloc.get_traced_memory()[0], psutil.Process().memory_info().rss))


class Sender:
    """A client: it sends its records in pieces of any size, bad ones between them, and tears the connection."""

    def __init__(self, number: int, receiver: Receiver) -> None:
        self.number = number
        self.receiver = receiver
        self.random = Random(number)
        self.sent = self.bad = self.torn = 0

    async def run(self, port: int) -> None:
        """Send every record, over as many connections as it takes."""
        indices = iter(range(RECORDS // CONNECTIONS))
        while await self.send(indices, *await asyncio.open_connection("127.0.0.1", port)):
            self.torn += 1

    async def send(self, indices: Iterator[int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send over one connection, to the end or into the middle of a record; return whether it was torn there."""
        held = bytearray()
        torn = False
        for index in indices:
            text = "x" * self.random.choice([0, 1, 10, 100, 1000])
            record = ChatCompletionResponse(
                session_id=str(self.number), cost=float(index), choices=[{"delta": {"content": text}}]
            )
            whole = self.receiver.framing.encoded(record)
            torn = self.random.random() < TORN_SHARE
            if torn:
                self.receiver.lost[self.number].add(index)
                held += whole[: self.random.randrange(1, len(whole) - 2)]
                break
            held += whole
            self.sent += 1
            if self.random.random() < BAD_SHARE:
                held += self.receiver.framing.bad
                self.bad += 1
            while len(held) > 2000 or (held and self.random.random() < 0.3):
                size = self.random.choice([1, 3, 100, 1400, 5000])
                writer.write(bytes(held[:size]))
                del held[:size]
                await writer.drain()
        writer.write(held if torn else held + self.receiver.framing.end)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        return torn


async def run(receiver: Receiver) -> list[Sender]:
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        senders = [Sender(number, receiver) for number in range(CONNECTIONS)]
        await asyncio.gather(*(sender.run(port) for sender in senders))
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait_for(asyncio.gather(*others), 10)
    return senders


def test_every_record_sent_whole_arrives_once_and_in_order(framing: Framing) -> None:
    process = psutil.Process()
    receiver = Receiver(framing)
    files = process.num_fds()
    tracemalloc.start()
    try:
        senders = asyncio.run(run(receiver))
    finally:
        tracemalloc.stop()
    torn = sum(sender.torn for sender in senders)
    assert receiver.records == sum(sender.sent for sender in senders) == RECORDS - torn
    assert receiver.bad == sum(sender.bad for sender in senders) + torn
    assert torn > 100
    assert process.num_fds() == files
    (traced, resident), (traced_later, resident_later) = receiver.memory
    assert traced_later - traced < 256 * KIB
    assert resident_later - resident < 8 * KIB * KIB
