"""A long run: many connections, cut and torn anyhow, and each record that was sent whole arrives once and in order."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter
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


class Soak:
    """A server and its clients. Each record is checked as it comes, and only counts are kept."""

    def __init__(self, framing: Framing) -> None:
        self.framing = framing
        self.count: Counter[str] = Counter()
        self.torn: list[set[int]] = [set() for _ in range(CONNECTIONS)]  # the records of each client that were cut
        self.next = [0] * CONNECTIONS
        self.memory: list[tuple[int, int]] = []

    async def run(self) -> None:
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await asyncio.gather(*(self.send_all(number, port) for number in range(CONNECTIONS)))
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others), 10)

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
                self.count["errors"] += 1
        writer.close()
        await writer.wait_closed()

    def take(self, record: ChatCompletionResponse) -> None:
        """Check that `record` is the next of its client."""
        number = int(record.session_id or "")
        while self.next[number] in self.torn[number]:
            self.next[number] += 1
        assert record.cost == self.next[number]
        self.next[number] += 1
        self.count["received"] += 1
        if self.count["received"] in (RECORDS // 5, RECORDS * 4 // 5):
            gc.collect()
            self.memory.append((tracemalloc.get_traced_memory()[0], psutil.Process().memory_info().rss))

    async def send_all(self, number: int, port: int) -> None:
        """Send every record of a client, over as many connections as it takes."""
        random, indices = Random(number), iter(range(RECORDS // CONNECTIONS))
        while await self.send(number, random, indices, port):
            pass

    async def send(self, number: int, random: Random, indices: Iterator[int], port: int) -> bool:
        """Send over one connection, to the end or into the middle of a record; return whether it was torn there."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        held = bytearray()
        torn = False
        for index in indices:
            choices = [{"delta": {"content": "x" * random.choice([0, 1, 10, 100, 1000])}}]
            record = ChatCompletionResponse(session_id=str(number), cost=float(index), choices=choices)
            whole = self.framing.encoded(record)
            if torn := random.random() < TORN_SHARE:
                self.torn[number].add(index)
                held += whole[: random.randrange(1, len(whole) - 2)]
                break
            held += whole
            self.count["sent"] += 1
            if random.random() < BAD_SHARE:
                held += self.framing.bad
                self.count["bad"] += 1
            while len(held) > 2000 or (held and random.random() < 0.3):
                size = random.choice([1, 3, 100, 1400, 5000])
                writer.write(bytes(held[:size]))
                del held[:size]
                await writer.drain()
        writer.write(held if torn else held + self.framing.end)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        return torn


def test_every_record_sent_whole_arrives_once_and_in_order(framing: Framing) -> None:
    process = psutil.Process()
    files = process.num_fds()
    soak = Soak(framing)
    tracemalloc.start()
    try:
        asyncio.run(soak.run())
    finally:
        tracemalloc.stop()
    torn = sum(map(len, soak.torn))
    assert soak.count["received"] == soak.count["sent"] == RECORDS - torn
    assert soak.count["errors"] == soak.count["bad"] + torn
    assert torn > 100
    assert process.num_fds() == files
    (traced, resident), (traced_later, resident_later) = soak.memory
    assert traced_later - traced < 256 * KIB
    assert resident_later - resident < 8 * KIB * KIB
