"""The recipes of the README, against real servers on loopback."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
import pytest
from litestar.testing import TestClient
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from chatcodec import ChatCompletionResponse, frames, json, media_types, ndjson, sse

from .recipes import aiohttp_client, broker, httpx_client, litestar_app, tcp
from .recipes.proxy import Proxy
from .recipes.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.requests import Request

pytestmark = pytest.mark.extras

LINES = [ChatCompletionResponse(generation_id="g-1", stream=True, choices=[{"text": '"cost":'}])] * 40
LINES[-1] = ChatCompletionResponse(generation_id="g-1", stream=True, cost=0.25)
BODY = b'{"generationId":"g-1","choices":[{"text":"\\u00e9"}],"region":"eu","cost":1.50}'


class Upstream:
    """A completion service, whose stream waits behind its first line until `release` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.release.set()
        self.app = Starlette(routes=[Route("/whole", self.whole), Route("/stream", self.stream)])

    async def whole(self, _: Request) -> Response:
        """Answer with one response."""
        return Response(BODY, media_type=media_types.JSON)

    async def stream(self, _: Request) -> Response:
        """Answer with lines, cut anywhere behind the first."""

        async def chunks() -> AsyncIterator[bytes]:
            yield ndjson.encode(LINES[:1])
            await asyncio.to_thread(self.release.wait, 20)
            rest = ndjson.encode(LINES[1:])
            for at in range(0, len(rest), 100):
                yield rest[at : at + 100]

        return StreamingResponse(chunks(), media_type=media_types.NDJSON)


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def url(upstream: Upstream) -> Iterator[str]:
    with serving(upstream.app) as address:
        yield address


@pytest.mark.parametrize("client", [httpx_client, aiohttp_client])
def test_a_client_reads_a_stream_of_lines(client: Any, url: str) -> None:
    assert asyncio.run(client.cost_of_stream(url + "/stream")) == 0.25


def test_a_proxy_peeks_and_patches_whole_responses(url: str) -> None:
    proxy = Proxy(url)
    with serving(proxy.app) as address:
        answer = httpx.get(address + "/whole")
    assert answer.content == BODY[:-1] + b',"sessionId":"s-1"}'
    assert answer.headers["content-type"] == media_types.JSON
    assert proxy.costs == [1.5]


@pytest.mark.parametrize("way", ["metered", "stamped"])
def test_a_proxy_forwards_a_streams_first_line_before_the_second_has_left(
    way: str, upstream: Upstream, url: str
) -> None:
    proxy = Proxy(url)
    upstream.release.clear()
    with serving(proxy.app) as address, httpx.stream("GET", f"{address}/{way}/stream", timeout=20) as answer:
        records = ndjson.iter_decode(answer.iter_raw())
        seen = [next(records)]
        upstream.release.set()
        seen += records
    wanted = list(LINES)
    if way == "stamped":
        wanted[-1] = ChatCompletionResponse(generation_id="g-1", session_id="s-1", stream=True, cost=0.25)
    assert seen == wanted
    assert proxy.costs == ([0.25] if way == "metered" else [])
    assert proxy.bad == []


def test_litestar_returns_the_record() -> None:
    with TestClient(litestar_app.app) as client:
        answer = client.get("/answer")
        assert answer.content == json.encode(ChatCompletionResponse(generation_id="g-1", cost=0.25))
        assert answer.headers["content-type"] == media_types.JSON


def test_services_talk_over_tcp_with_back_pressure() -> None:
    batch = [ChatCompletionResponse(session_id="x" * 1000)] * 64
    count = 1000
    size = len(frames.encode(batch))
    sent = most = 0
    received = 0.0

    def batches() -> Iterator[list[ChatCompletionResponse]]:
        nonlocal sent
        for _ in range(count):
            sent += size
            yield batch

    async def main() -> None:
        nonlocal received, most
        sending: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await tcp.send(writer, batches())
            sending.set_result(None)

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            async for record in tcp.receive(reader):
                assert record == batch[0]
                received += size / len(batch)
                most = max(most, sent - int(received))
            writer.close()
            await sending

    asyncio.run(main())
    assert received == sent == count * size
    assert most < sent / 4  # what the sockets' buffers hold; without the wait all of it would be sent at once


@contextmanager
def nats_server(folder: Path) -> Iterator[str]:
    """Run a NATS server on a free port, and yield its address."""
    binary = Path(sys.executable).with_name("nats-server")
    command = str(binary) if binary.exists() else shutil.which("nats-server")
    assert command, "the extra `test` brings nats-server"
    arguments = ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", str(folder / "data")]
    with subprocess.Popen([command, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            address = ""
            for line in process.stderr:
                if "Listening for client connections on" in line:
                    address = "nats://" + line.split()[-1]
                if "Server is ready" in line:
                    break
            yield address
        finally:
            process.terminate()


def test_records_pass_through_a_broker(tmp_path: Path) -> None:
    records = [ChatCompletionResponse(cost=float(number)) for number in range(4)]

    async def main(url: str) -> float:
        await broker.publish(url, records)
        return await broker.cost(url, len(records))

    with nats_server(tmp_path) as url:
        assert asyncio.run(main(url)) == 6.0


def test_server_sent_events_are_written_for_and_read_from_others() -> None:
    """httpx-sse refuses another media type, and is written after the standard too."""

    async def events(_: Request) -> Response:
        async def records() -> AsyncIterator[ChatCompletionResponse]:
            for line in LINES:
                yield line

        return StreamingResponse(sse.aiter_encode(records()), media_type=media_types.SSE)

    with serving(Starlette(routes=[Route("/", events)])) as url, httpx.Client() as client:
        with httpx_sse.connect_sse(client, "GET", url) as source:
            *messages, done = [event.data for event in source.iter_sse()]
        with client.stream("GET", url) as answer:
            assert list(sse.iter_decode(answer.iter_raw())) == LINES
    assert [json.decode(message.encode()) for message in messages] == LINES
    assert done == "[DONE]"
