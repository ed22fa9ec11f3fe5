"""A long run: many connections, cut and torn anyhow, and each record that was sent whole arrives once and in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
import tracemalloc
from collections.abc import Iterator
from random import Random

import psutil  # type: ignore[import-untyped]
import pytest

from chatcodec import ChatCompletionResponse, RecordError, StreamError

from .support import Framing, framings

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
        self.lost: list[set[int]] = [set() for _ in range(CONNECTIONS)]  # told by the senders
        self.next = [0] * CONNECTIONS
        self.connections = self.records = self.bad = self.reset = 0
        self.handlers: set[asyncio.Task[None]] = set()
        self.memory: list[tuple[int, int]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one connection to its end, or to where it is torn."""
        task = asyncio.current_task()
        assert task
        self.handlers.add(task)
        task.add_done_callback(self.handlers.discard)
        self.connections += 1
        try:
            await (self.read_told if self.connections % 2 else self.read_raising)(reader, writer)
        except ConnectionResetError:
            self.reset += 1
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def read_told(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for record in self.framing.stream.aiter_decode(reader, on_error=self.count):
                self.take(record, writer)
        except StreamError as error:
            self.count(error)

    async def read_raising(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        iterator = self.framing.stream.aiter_decode(reader)
        while True:
            try:
                async for record in iterator:
                    self.take(record, writer)
                return
            except RecordError as error:
                self.count(error)

    def count(self, error: RecordError) -> None:
        assert error.records == []
        self.bad += 1

    def take(self, record: ChatCompletionResponse, writer: asyncio.StreamWriter) -> None:
        """Check that `record` is the next of its connection, and answer where that is asked for."""
        assert record.session_id is not None
        number = int(record.session_id)
        while self.next[number] in self.lost[number]:
            self.lost[number].remove(self.next[number])
            self.next[number] += 1
        assert record.cost == self.next[number]
        self.next[number] += 1
        self.records += 1
        if record.stream:
            writer.write(b".")
        if self.records in (RECORDS // 5, RECORDS * 4 // 5):
            gc.collect()
            self.memory.append((tracemalloc.get_traced_memory()[0], psutil.Process().memory_info().rss))


class Sender:
    """A client: it sends its records in pieces of any size, bad ones between them, and tears the connection."""

    def __init__(self, number: int, receiver: Receiver, port: int) -> None:
        self.number = number
        self.receiver = receiver
        self.port = port
        self.random = Random(number)
        self.sent = self.bad = self.torn = self.reset = 0

    def frame(self, index: int, *, answer: bool = False) -> bytes:
        text = "x" * self.random.choice([0, 1, 10, 100, 1000])
        record = ChatCompletionResponse(
            session_id=str(self.number), cost=float(index), stream=answer, choices=[{"delta": {"content": text}}]
        )
        return self.receiver.framing.encoded(record)

    async def run(self) -> None:
        """Send every record, over as many connections as it takes."""
        indices = iter(range(RECORDS // CONNECTIONS))
        more = True
        while more:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            more = await self.send(indices, reader, writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def send(self, indices: Iterator[int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send until there is nothing more, or the connection is torn; return whether there is more."""
        held = bytearray()
        for index in indices:
            if self.random.random() < TORN_SHARE:
                await self.tear(index, held, reader, writer)
                return True
            held += self.frame(index)
            self.sent += 1
            if self.random.random() < BAD_SHARE:
                held += self.receiver.framing.bad
                self.bad += 1
            await self.write(held, writer)
        writer.write(held + self.receiver.framing.end)
        await self.end(reader, writer)
        return False

    async def write(self, held: bytearray, writer: asyncio.StreamWriter) -> None:
        """Write pieces of any size, and now and then all that is held."""
        while len(held) > 2000 or (held and self.random.random() < 0.3):
            size = self.random.choice([1, 3, 100, 1400, 5000])
            writer.write(bytes(held[:size]))
            del held[:size]
            await writer.drain()

    async def tear(
        self, index: int, held: bytearray, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """End the connection in the middle of a record, politely or not."""
        whole = self.frame(index)
        part = whole[: self.random.randrange(1, len(whole) - 2)]
        if self.random.random() < 0.5:
            self.torn += 1
            self.receiver.lost[self.number].add(index)
            writer.write(held + part)
            await self.end(reader, writer)
            return
        # What is under way when a connection is reset may be lost, so the last whole record asks for an answer.
        self.reset += 1
        self.sent += 1
        writer.write(held + self.frame(index, answer=True))
        await reader.readexactly(1)
        writer.write(part)
        await writer.drain()
        reset_on_close = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)

    async def end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say that nothing more comes, and wait until all was read."""
        writer.write_eof()
        assert await reader.read() == b""


async def run(receiver: Receiver) -> list[Sender]:
    """Send everything, and leave no task behind."""
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        senders = [Sender(number, receiver, port) for number in range(CONNECTIONS)]
        await asyncio.gather(*(sender.run() for sender in senders))
        await asyncio.gather(*receiver.handlers)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return senders


@framings
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
    reset = sum(sender.reset for sender in senders)
    assert receiver.records == sum(sender.sent for sender in senders) == RECORDS - torn
    assert receiver.bad == sum(sender.bad for sender in senders) + torn
    assert receiver.reset == reset
    assert torn > 100
    assert reset > 100
    assert process.num_fds() == files
    (traced, resident), (traced_later, resident_later) = receiver.memory
    assert traced_later - traced < 256 * KIB
    assert resident_later - resident < 8 * KIB * KIB
