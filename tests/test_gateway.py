"""The gateway among the recipes, between real sockets: what callers get and what is billed, whatever fails and where.

The exchange is short, so that each fault is tried at every byte of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPResponse, IncompleteRead
from types import SimpleNamespace
from typing import NamedTuple
from unittest.mock import AsyncMock

import pytest
import uvicorn
from fastapi import FastAPI
from msgspec import Raw

from chatcodec import media_types

from .recipes.gateway import create_app
from .reference import expected
from .support import EVENTS, LINES

Step = bytes | asyncio.Event  # what the service writes, and what it waits for
Bills = list[tuple[float, str | None]]

pytestmark = [pytest.mark.extras, pytest.mark.anyio]

MESSAGES = [b'{"choices":[{"text":"a"}]}', b'{"sessionId":"s","cost":0.25}', b'{"cost":0.50,"region":"eu"}']
BILLS: Bills = [(0.25, "s"), (0.5, None)]
WHOLE = MESSAGES[1]
REQUEST = b'{"messages":[]}'
ERROR = b'{"error":{"message":"overloaded"}}'
FRAMINGS = {media_types.NDJSON: LINES, media_types.SSE: EVENTS}
BODIES = {kind: framing.framed(*MESSAGES) + framing.end for kind, framing in FRAMINGS.items()}
PATIENCE = 20  # seconds
kinds = pytest.mark.parametrize("kind", FRAMINGS)
soon = partial(asyncio.wait_for, timeout=PATIENCE)


class Outcome(NamedTuple):
    """What is passed on of a stream: its good messages, and whether it is complete."""

    messages: list[bytes]
    complete: bool


def outcome(kind: str, body: bytes) -> Outcome:
    """Read a stream by its specification."""
    seen = expected(FRAMINGS[kind], body, Raw)
    errors = {item.kind for item in seen if not isinstance(item, bytes)}
    return Outcome([item for item in seen if isinstance(item, bytes)], errors.isdisjoint({"incomplete", "upstream"}))


def bills(messages: list[bytes]) -> Bills:
    """Return what `messages` cost, and the sessions they belong to."""
    records = map(json.loads, messages)
    return [(record["cost"], record.get("sessionId")) for record in records if "cost" in record]


def unstamped(message: bytes) -> bytes:
    """Return `message` as it was before its latency was stamped, in milliseconds."""
    before, latency = re.fullmatch(rb'(.*),"latency":([0-9.]+)}', message).groups()  # type: ignore[union-attr]
    assert 0 < float(latency) < PATIENCE * 1000
    return before + b"}"


class Answer(NamedTuple):
    """What a caller got."""

    status: int
    kind: str
    body: bytes
    complete: bool


def parsed(data: bytes) -> Answer:
    """Parse a response, or its beginning."""
    response = HTTPResponse(SimpleNamespace(makefile=lambda _: io.BytesIO(data)))  # type: ignore[arg-type]
    response.begin()
    try:
        body, complete = response.read(), True
    except IncompleteRead as error:
        body, complete = error.partial, False
    return Answer(response.status, response.headers.get_content_type(), body, complete)


@dataclass
class Gateway:
    """A gateway between callers and a service that follows `script` for each request."""

    app: FastAPI = field(init=False)
    address: tuple[str, int] = ("", 0)
    script: tuple[Step, ...] = ()
    target: bytes = b"/chat%2Fone%7E?version=1"
    billed: Bills = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def bill(self, cost: float, session: str | None) -> None:
        """Keep what a response cost."""
        self.billed.append((cost, session))
        self.news.set()

    async def settled(self, count: int) -> None:
        """Wait until there are `count` bills."""
        while len(self.billed) < count:
            self.news.clear()
            await soon(self.news.wait())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be the service."""
        self.requests.append(await reader.readuntil(REQUEST))
        for step in self.script:
            if isinstance(step, bytes):
                writer.write(step)
            else:
                await step.wait()
        writer.close()

    async def call(self, kind: str, *script: Step) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Start a call."""
        self.script = script
        reader, writer = await asyncio.open_connection(*self.address)
        head = b"POST %b HTTP/1.1\r\nHost: gateway?x=1\r\nConnection: close\r\nAccept: %b\r\nCookie: user=a\r\n"
        writer.write(head % (self.target, kind.encode()) + b"Content-Length: %d\r\n\r\n%b" % (len(REQUEST), REQUEST))
        return reader, writer

    async def response(self, kind: str, *script: Step) -> bytes:
        """Make a call, and return the response."""
        self.billed.clear()
        reader, writer = await self.call(kind, *script)
        data = await soon(reader.read())
        writer.close()
        return data

    def passed_on(self, kind: str, response: bytes) -> Outcome:
        """Check that each message in a stream has been stamped and billed, and return them unstamped."""
        answer = parsed(response)
        assert (answer.status, answer.kind) == (200, kind)
        stamped, complete = outcome(kind, answer.body)
        # A reader of events stops at [DONE], and does not see what becomes of the connection.
        assert complete == answer.complete or kind == media_types.NDJSON
        messages = [*map(unstamped, stamped)]
        assert self.billed == bills(messages)
        return Outcome(messages, answer.complete)

    async def stream(self, kind: str, *script: Step) -> Outcome:
        """Make a call for a stream, and return what is passed on of it."""
        response = await self.response(kind, *script)
        assert b"event:" not in response
        return self.passed_on(kind, response)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    served = Gateway()
    async with await asyncio.start_server(served.serve, "127.0.0.1", 0) as service:
        port = service.sockets[0].getsockname()[1]
        served.app = create_app(f"http://localhost:{port}", served.bill)  # IPs get no cookies
        server = uvicorn.Server(uvicorn.Config(served.app, log_level="critical", ws="none", http="h11"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            served.address = listener.getsockname()
            running = asyncio.create_task(server.serve([listener]))
            yield served
            billed = [*served.billed]
            server.should_exit = True
            await running
            assert served.billed == billed, "billed late, or twice"


def head(kind: str, *lines: str, status: int = 200) -> bytes:
    """Return the head of a response."""
    return "\r\n".join([f"HTTP/1.1 {status} Reason", f"Content-Type: {kind}", *lines, "", ""]).encode()


def whole(body: bytes, kind: str = media_types.JSON, *lines: str, status: int = 200) -> bytes:
    """Return a response of known length."""
    return head(kind, f"Content-Length: {len(body)}", *lines, status=status) + body


def chunk(data: bytes) -> bytes:
    """Return `data` as a chunk of a body; the empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def streamed(kind: str, *chunks: bytes) -> bytes:
    """Return a response in `chunks`, the last one empty if it is not cut."""
    return head(kind, "Transfer-Encoding: chunked") + b"".join(map(chunk, chunks))


def paused(kind: str, size: int, resumed: asyncio.Event) -> tuple[Step, ...]:
    """Return the script of a service that waits for `resumed` after `size` bytes of its stream."""
    body = BODIES[kind]
    return streamed(kind, body[:size]), resumed, chunk(body[size:]) + chunk(b"")


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@kinds
async def test_a_stream_is_stamped_and_each_cost_billed(gateway: Gateway, kind: str, encoding: str) -> None:
    body = gzip.compress(BODIES[kind]) if encoding == "gzip" else BODIES[kind]
    beginning = head(kind, "Transfer-Encoding: chunked", f"Content-Encoding: {encoding}")
    passed_on = await gateway.stream(kind, beginning, chunk(body[:30]), chunk(body[30:]), chunk(b""))
    assert passed_on == Outcome(MESSAGES, complete=True)
    assert gateway.billed == BILLS
    request = gateway.requests[0].lower()
    assert request.startswith(b"post /chat%2fone%7e?version=1 ")
    assert b"accept: " + kind.encode() in request
    assert b"accept-encoding: identity" in request


async def test_a_whole_response_is_stamped_and_billed_and_no_path_leads_to_another_host(gateway: Gateway) -> None:
    gateway.target = b"%2F@127.0.0.1:1/one?version=1"
    for message in MESSAGES:
        status, kind, body, complete = parsed(await gateway.response(media_types.JSON, whole(message)))
        assert (status, kind, unstamped(body), complete) == (200, media_types.JSON, message, True)
        assert gateway.billed == bills([message])
    assert gateway.requests[0].startswith(b"POST /%2F@127.0.0.1:1/one?version=1 ")


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "ended early"])
@kinds
async def test_a_stopped_stream_is_complete_only_if_http_and_its_framing_say_so(
    gateway: Gateway, kind: str, cut: bool
) -> None:
    body = BODIES[kind]
    for size in range(1, len(body) + cut):
        messages, complete = outcome(kind, body[:size])
        passed_on = await gateway.stream(kind, streamed(kind, body[:size], *[b""] * (not cut)))
        assert passed_on == Outcome(messages, complete=complete and not cut)


@kinds
async def test_a_stream_corrupted_at_any_byte_loses_only_the_bad_message(
    gateway: Gateway, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = BODIES[kind]
    for at in range(len(body)):
        caplog.clear()
        spoiled = body[:at] + b"\0" + body[at + 1 :]
        wanted = outcome(kind, spoiled)
        assert len(wanted.messages) >= len(MESSAGES) - 2  # two, where the end of one is spoiled
        assert await gateway.stream(kind, streamed(kind, spoiled, b"")) == wanted
        # The standard ignores unknown fields beside data: what a spoiled blank line joins is lost unreported.
        assert caplog.messages or not wanted.complete or spoiled[at - 1 : at] == b"\n"


@kinds
async def test_messages_before_a_delay_at_any_byte_are_passed_on_at_once(gateway: Gateway, kind: str) -> None:
    body = BODIES[kind]
    for size in range(1, len(body)):
        due = [message for message in MESSAGES if FRAMINGS[kind].frame(message) in body[:size]]
        gateway.billed.clear()
        resumed = asyncio.Event()
        reader, writer = await gateway.call(kind, *paused(kind, size, resumed))
        data = await soon(reader.readuntil(b"\r\n\r\n"))
        while not (body_so_far := parsed(data).body) or len(outcome(kind, body_so_far).messages) < len(due):
            data += await soon(reader.read(1000))
        assert gateway.billed == bills(due)
        resumed.set()
        data += await soon(reader.read())
        writer.close()
        assert gateway.passed_on(kind, data) == Outcome(MESSAGES, complete=True)


@pytest.mark.parametrize("turns", [0, 9], ids=["at once", "once the gateway knows"])
@kinds
async def test_a_caller_who_hangs_up_in_mid_stream_is_billed_for_all(gateway: Gateway, kind: str, turns: int) -> None:
    """`turns` of the event loop are between that and what the service still sends."""
    for size in range(1, len(BODIES[kind])):
        hung_up = asyncio.Event()
        reader, writer = await gateway.call(kind, *paused(kind, size, hung_up))
        await soon(reader.readuntil(b"\r\n\r\n"))
        await soon(reader.readuntil(b"\r\n"))
        writer.transport.abort()
        for _ in range(turns):
            await asyncio.sleep(0)
        hung_up.set()
        await gateway.settled(size * len(BILLS))
    assert gateway.billed == BILLS * (len(BODIES[kind]) - 1)


@pytest.mark.parametrize("kind", [media_types.JSON, *FRAMINGS])
async def test_a_caller_who_hangs_up_at_any_byte_of_the_response_is_billed_once(gateway: Gateway, kind: str) -> None:
    script, costs = (streamed(kind, BODIES[kind], b""), BILLS) if kind in FRAMINGS else (whole(WHOLE), BILLS[:1])
    longest = len(await gateway.response(kind, script))
    for size in range(longest):
        reader, writer = await gateway.call(kind, script)
        with contextlib.suppress(asyncio.IncompleteReadError):  # a latency with fewer digits
            await soon(reader.readexactly(size))
        writer.transport.abort()
        await gateway.settled((size + 2) * len(costs))
    assert gateway.billed == costs * (longest + 1)


@pytest.mark.parametrize("sent", range(4))
@kinds
async def test_bills_are_the_same_if_the_server_raises_once_a_caller_hangs_up(
    gateway: Gateway, kind: str, sent: int
) -> None:
    """ASGI 2.4 asks for that; uvicorn discards what is sent."""
    gateway.script = (streamed(kind, BODIES[kind], b""),)
    receive = AsyncMock(return_value={"type": "http.request", "body": REQUEST})
    send = AsyncMock(side_effect=[*[None] * sent, BrokenPipeError])
    target = {"path": "/", "raw_path": b"/", "query_string": b""}
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "POST", "headers": [], **target}
    with pytest.raises(BrokenPipeError):
        await gateway.app(scope, receive, send)
    assert gateway.billed == BILLS


async def test_callers_who_hang_up_leave_connections_for_others(gateway: Gateway) -> None:
    """A client of aiohttp has 100 connections by default."""
    end = asyncio.Event()
    try:
        for _ in range(101):
            reader, writer = await gateway.call(media_types.SSE, streamed(media_types.SSE, b"data: {}\n\n"), end)
            await soon(reader.readuntil(b"\r\n\r\n"))
            writer.transport.abort()
        response = await gateway.response(media_types.JSON, whole(WHOLE))
    finally:
        end.set()
    assert unstamped(parsed(response).body) == WHOLE


@pytest.mark.parametrize("place", range(4))
@kinds
async def test_a_stream_with_an_error_message_is_not_complete(gateway: Gateway, kind: str, place: int) -> None:
    messages = [*MESSAGES[:place], ERROR, *MESSAGES[place:]]
    body = FRAMINGS[kind].framed(*messages) + FRAMINGS[kind].end
    assert await gateway.stream(kind, streamed(kind, body, b"")) == Outcome(messages, complete=False)


@pytest.mark.parametrize("place", range(4))
async def test_a_stream_with_an_error_event_is_not_complete(gateway: Gateway, place: int) -> None:
    """The event is passed on in its place, and so is what follows it."""
    error = b'event: error\ndata: {"message":\ndata: "overloaded"}'
    events = [*map(EVENTS.frame, MESSAGES)]
    events.insert(place, error + b"\n\n")
    unended = [*events[:-1], events[-1].removesuffix(b"\n\n")]
    for chunks in (events, [b"".join(events)], [*events, EVENTS.end], unended):
        response = await gateway.response(media_types.SSE, streamed(media_types.SSE, *chunks, b""))
        assert gateway.passed_on(media_types.SSE, response) == Outcome(MESSAGES, complete=False)
        assert response[: response.index(error + b"\n\n")].count(b'"latency":') == place
        assert b"[DONE]" not in response


async def test_an_error_event_whose_data_is_too_long_for_an_error_is_replaced(gateway: Gateway) -> None:
    event = b'event: error\ndata: {"message":"%b"}\n\n' % (b"x" * 1500)
    answer = parsed(await gateway.response(media_types.SSE, streamed(media_types.SSE, event, b"")))
    assert re.fullmatch(rb'event: error\ndata: {"error":{"message":"[a-z ]+"}}\n\n', answer.body)
    assert not answer.complete


@pytest.mark.parametrize(
    ("kind", "body"),
    [("text/html", b"<h1>502</h1>"), ("text/html", b""), (media_types.JSON, ERROR), (media_types.SSE, b"data: x\n\n")],
)
async def test_a_response_without_status_200_is_passed_on_unchanged(gateway: Gateway, kind: str, body: bytes) -> None:
    lines = "Location: http://localhost:1/elsewhere", "Retry-After: 7"
    for status in (502, 429, 307, 202):
        response = await gateway.response(media_types.JSON, whole(body, kind, *lines, status=status))
        assert parsed(response) == Answer(status, kind, body, complete=True)
        assert {line.lower().encode() for line in lines} <= {*response.lower().split(b"\r\n")}
    assert gateway.billed == []


async def test_a_cookie_of_the_service_reaches_no_other_caller(gateway: Gateway) -> None:
    response = whole(WHOLE, media_types.JSON, "Set-Cookie: tenant=a")
    for _ in range(2):
        assert b"cookie" not in (await gateway.response(media_types.JSON, response)).lower()
    assert not any(b"cookie" in request.lower() for request in gateway.requests)


async def test_a_response_cut_or_corrupted_at_any_byte_is_a_bad_gateway(gateway: Gateway) -> None:
    good, places = whole(WHOLE), range(len(WHOLE))
    cut = [good[:size] for size in range(len(good))]
    ended_early = [whole(WHOLE[:at]) for at in places]
    spoiled = [whole(WHOLE[:at] + b"\0" + WHOLE[at + 1 :]) for at in places]
    for response in cut + ended_early + spoiled:
        answer = parsed(await gateway.response(media_types.JSON, response))
        assert (answer.status, answer.kind) == (502, media_types.JSON)
        assert "error" in json.loads(answer.body)
    assert gateway.billed == []
