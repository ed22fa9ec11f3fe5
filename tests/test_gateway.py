"""The gateway among the recipes, between real sockets: what callers get and what is billed, whatever fails and where.

The exchange is short, so that each fault is tried at every byte of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
import uvicorn

from chatcodec import media_types

from .recipes.gateway import create_app
from .reference import blocks_of_events, blocks_of_lines

Step = bytes | asyncio.Event  # what the service writes, and what it waits for
Bills = list[tuple[float, str | None]]

pytestmark = [pytest.mark.extras, pytest.mark.anyio]

MESSAGES = [b'{"choices":[{"text":"a"}]}', b'{"sessionId":"s","cost":0.25}', b'{"cost":0.50,"region":"eu"}']
BILLS: Bills = [(0.25, "s"), (0.5, None)]
KINDS = [media_types.NDJSON, media_types.SSE]
BODIES = {
    media_types.NDJSON: b"".join(b"%b\n" % message for message in MESSAGES),
    media_types.SSE: b"".join(b"data: %b\n\n" % message for message in [*MESSAGES, b"[DONE]"]),
}
WHOLE = MESSAGES[1]
kinds = pytest.mark.parametrize("kind", KINDS)
PATIENCE = 20


class Outcome(NamedTuple):
    """What is passed on of a stream: its messages, and whether it is complete."""

    messages: list[bytes]
    complete: bool


def outcome(kind: str, body: bytes) -> Outcome:
    """Read a stream by its specification: bad messages are dropped, and a message cut short makes it incomplete."""
    messages: list[bytes] = []
    complete = kind == media_types.NDJSON
    for block in blocks_of_events(body) if kind == media_types.SSE else blocks_of_lines(body):
        done = block.message == b"[DONE]"
        try:
            if block.message is not None and not done:
                json.loads(block.message)
                messages.append(block.message)
        except ValueError:
            if not block.ended:
                return Outcome(messages, complete=False)
        if kind == media_types.SSE and (block.message or block.foreign):
            complete = done
    return Outcome(messages, complete)


def bills(messages: list[bytes]) -> Bills:
    """Return what `messages` cost, and the sessions they belong to."""
    records = map(json.loads, messages)
    return [(record["cost"], record.get("sessionId")) for record in records if "cost" in record]


class Answer(NamedTuple):
    """What a caller got."""

    status: int
    kind: str
    body: bytes
    complete: bool

    @property
    def passed_on(self) -> Outcome:
        """Return the messages without the latency that was stamped, and whether a reader takes them for all.

        A reader of events stops at [DONE], and does not see what becomes of the connection.
        """
        messages, complete = outcome(self.kind, self.body)
        return Outcome([*map(unstamped, messages)], complete if self.kind == media_types.SSE else self.complete)


def unstamped(message: bytes) -> bytes:
    """Return `message` as it was before its latency was stamped, in milliseconds."""
    before, latency = re.fullmatch(rb'(.*),"latency":([0-9.]+)}', message).groups()  # type: ignore[union-attr]
    assert 0 < float(latency) < PATIENCE * 1000
    return before + b"}"


@dataclass
class Gateway:
    """A gateway between callers and a service that follows `script` for each request."""

    address: tuple[str, int] = ("", 0)
    script: tuple[Step, ...] = ()
    target: bytes = b"/chat%2Fone?version=1"
    billed: Bills = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0

    def bill(self, cost: float, session: str | None) -> None:
        """Keep what a response cost."""
        self.billed.append((cost, session))
        self.news.set()

    async def settled(self, count: int = len(BILLS)) -> None:
        """Wait until each call so far has been billed that often."""
        while len(self.billed) < self.calls * count:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), PATIENCE)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be the service."""
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        for step in self.script:
            if isinstance(step, bytes):
                writer.write(step)
            else:
                await step.wait()
        writer.close()

    async def call(self, kind: str, *script: Step) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Start a call."""
        self.script = script
        self.calls += 1
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(
            b"POST %b HTTP/1.1\r\nHost: gateway?x=1\r\nConnection: close\r\n"
            b"Accept: %b\r\nContent-Length: 0\r\n\r\n" % (self.target, kind.encode())
        )
        return reader, writer

    async def raw_answer(self, kind: str, *script: Step) -> bytes:
        """Make a call, and return the response."""
        reader, writer = await self.call(kind, *script)
        data = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        return data

    async def answer(self, kind: str, *script: Step) -> Answer:
        """Make a call, and read the answer to its end."""
        self.billed.clear()
        return parsed(await self.raw_answer(kind, *script))


def parsed(data: bytes) -> Answer:
    """Parse a response (RFC 9112)."""
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    complete = True
    if headers.get("transfer-encoding") == "chunked":
        chunks, complete, rest = [], False, body
        while rest and not complete:
            size, _, rest = rest.partition(b"\r\n")
            chunks.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
            complete = size == b"0"
        body = b"".join(chunks)
    else:
        assert len(body) == int(headers["content-length"])
    return Answer(int(status.split()[1]), headers["content-type"].partition(";")[0], body, complete)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Gateway]:
    """Serve the gateway; when that ends, all calls have been billed."""
    gateway = Gateway()
    async with await asyncio.start_server(gateway.serve, "127.0.0.1", 0) as service:
        url = f"http://localhost:{service.sockets[0].getsockname()[1]}"  # addresses get no cookies
        app = create_app(url, gateway.bill)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", http="h11"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            gateway.address = listener.getsockname()
            running = asyncio.create_task(server.serve([listener]))
            try:
                yield gateway
            finally:
                server.should_exit = True
                await running


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with serving() as served:
        yield served


def head(kind: str, *lines: str, status: str = "200 OK") -> bytes:
    """Return the head of a response."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Type: {kind}", *lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """Return `data` as a chunk of a body, the empty one is its end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def streamed(kind: str, *chunks: bytes) -> bytes:
    """Return a stream in `chunks`, the last one empty if it is not cut."""
    return head(kind, "Transfer-Encoding: chunked") + b"".join(map(chunk, chunks))


def paused(kind: str, size: int, resumed: asyncio.Event) -> tuple[Step, ...]:
    """Return the script of a service that waits for `resumed` after so many bytes of its stream."""
    body = BODIES[kind]
    return streamed(kind, body[:size]), resumed, chunk(body[size:]) + chunk(b"")


def whole(body: bytes, kind: str = media_types.JSON, status: str = "200 OK", size: int | None = None) -> bytes:
    """Return a whole response; `size` is what it promises."""
    return head(kind, f"Content-Length: {len(body) if size is None else size}", status=status) + body


@kinds
async def test_a_stream_is_stamped_and_each_cost_billed(gateway: Gateway, kind: str) -> None:
    answer = await gateway.answer(kind, streamed(kind, BODIES[kind], b""))
    assert (answer.status, answer.kind) == (200, kind)
    assert answer.passed_on == Outcome(MESSAGES, complete=True)
    assert gateway.billed == BILLS
    request = gateway.requests[0].lower()
    assert request.startswith(b"post /chat%2fone?version=1 ")
    assert b"accept: " + kind.encode() in request
    assert b"accept-encoding: identity" in request


async def test_a_whole_response_is_stamped_and_billed_and_no_path_leads_to_another_host(gateway: Gateway) -> None:
    gateway.target = b"%2F@127.0.0.1:1/one?version=1"
    answer = await gateway.answer(media_types.JSON, whole(WHOLE))
    assert (answer.status, answer.kind, unstamped(answer.body)) == (200, media_types.JSON, WHOLE)
    assert gateway.billed == BILLS[:1]
    assert gateway.requests[0].startswith(b"POST /%2F@127.0.0.1:1/one?version=1 ")


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "ended early"])
@kinds
async def test_a_stream_that_stops_at_any_byte_is_complete_only_if_http_and_its_framing_say_so(
    gateway: Gateway, kind: str, cut: bool
) -> None:
    body = BODIES[kind]
    for size in range(1, len(body) + cut):
        messages, complete = outcome(kind, body[:size])
        wanted = Outcome(messages, complete=complete and not cut)
        answer = await gateway.answer(kind, streamed(kind, body[:size], *[b""] * (not cut)))
        assert answer.passed_on == wanted
        assert answer.complete == wanted.complete
        assert gateway.billed == bills(messages)


@kinds
async def test_a_stream_that_is_spoiled_at_any_byte_loses_the_bad_message_alone(
    gateway: Gateway, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = BODIES[kind]
    for at in range(len(body)):
        caplog.clear()
        spoiled = body[:at] + b"\0" + body[at + 1 :]
        wanted = outcome(kind, spoiled)
        assert len(wanted.messages) >= len(MESSAGES) - 2  # two, where the end of one is spoiled
        answer = await gateway.answer(kind, streamed(kind, spoiled, b""))
        assert answer.passed_on == wanted
        assert gateway.billed == bills(wanted.messages)
        # The standard ignores unknown fields beside data: what a spoiled blank line joins is lost unreported.
        assert caplog.messages or not wanted.complete or spoiled[at - 1 : at] == b"\n"


@kinds
async def test_what_came_before_a_delay_at_any_byte_is_passed_on_at_once(gateway: Gateway, kind: str) -> None:
    body = BODIES[kind]
    end = b"\n" if kind == media_types.NDJSON else b"\n\n"
    for size in range(1, len(body)):
        due = [message for message in outcome(kind, body[:size]).messages if message + end in body[:size]]
        gateway.billed.clear()
        resumed = asyncio.Event()
        reader, writer = await gateway.call(kind, *paused(kind, size, resumed))
        data = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        while not (body_so_far := parsed(data).body) or len(outcome(kind, body_so_far).messages) < len(due):
            data += await asyncio.wait_for(reader.read(1000), PATIENCE)
        assert gateway.billed == bills(due)
        resumed.set()
        data += await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        assert parsed(data).passed_on == Outcome(MESSAGES, complete=True)
        assert gateway.billed == BILLS


@pytest.mark.parametrize("turns", [0, 9], ids=["at once", "once the gateway knows"])
@kinds
async def test_a_caller_who_hangs_up_at_any_byte_of_a_stream_is_billed_once_for_all(kind: str, turns: int) -> None:
    """`turns` of the event loop are between that and what the service still sends."""
    sizes = range(1, len(BODIES[kind]))
    async with serving() as gateway:
        for size in sizes:
            hung_up = asyncio.Event()
            reader, writer = await gateway.call(kind, *paused(kind, size, hung_up))
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
            await asyncio.wait_for(reader.readuntil(b"\r\n"), PATIENCE)
            writer.transport.abort()
            for _ in range(turns):
                await asyncio.sleep(0)
            hung_up.set()
            await gateway.settled()
    assert gateway.billed == BILLS * len(sizes)


@pytest.mark.parametrize("kind", [media_types.JSON, *KINDS])
async def test_a_caller_who_hangs_up_at_any_byte_of_the_response_is_billed_once(kind: str) -> None:
    script = streamed(kind, BODIES[kind], b"") if kind in KINDS else whole(WHOLE)
    costs = BILLS if kind in KINDS else BILLS[:1]
    async with serving() as gateway:
        longest = len(await gateway.raw_answer(kind, script))
        await gateway.settled(len(costs))
        for size in range(longest):
            reader, writer = await gateway.call(kind, script)
            with contextlib.suppress(asyncio.IncompleteReadError):  # a latency with fewer digits
                await asyncio.wait_for(reader.readexactly(size), PATIENCE)
            writer.transport.abort()
            await gateway.settled(len(costs))
    assert gateway.billed == costs * (longest + 1)


@kinds
@pytest.mark.parametrize("place", range(4))
async def test_an_error_message_in_a_stream_is_passed_on_and_the_stream_not_complete(
    gateway: Gateway, kind: str, place: int
) -> None:
    messages = [*MESSAGES]
    messages.insert(place, b'{"error":{"message":"overloaded"}}')
    body = b"".join(b"%b\n" % message for message in messages)
    if kind == media_types.SSE:
        body = b"".join(b"data: %b\n\n" % message for message in [*messages, b"[DONE]"])
    answer = await gateway.answer(kind, streamed(kind, body, b""))
    assert not answer.complete
    assert answer.passed_on == Outcome(messages, complete=False)
    assert gateway.billed == BILLS


@pytest.mark.parametrize("place", range(4))
async def test_an_error_event_is_passed_on_and_the_stream_not_complete(gateway: Gateway, place: int) -> None:
    """What follows it is passed on and billed too."""
    error = b'event: error\ndata: {"message":\ndata: "overloaded"}'
    events = [b"data: %b\n\n" % message for message in MESSAGES]
    events.insert(place, error + b"\n\n")
    streams = [events, [b"".join(events)], [*events, b"data: [DONE]\n\n"]]
    if place == len(MESSAGES):
        streams.append([*events[:-1], error])  # the last event may lack its blank line
    for chunks in streams:
        answer = await gateway.answer(media_types.SSE, streamed(media_types.SSE, *chunks, b""))
        assert error + b"\n\n" in answer.body
        assert b"[DONE]" not in answer.body
        assert not answer.complete
        assert gateway.billed == BILLS


async def test_an_error_event_whose_data_is_too_long_for_an_error_is_replaced(gateway: Gateway) -> None:
    event = b'event: error\ndata: {"message":"%b"}\n\n' % (b"x" * 1500)
    answer = await gateway.answer(media_types.SSE, streamed(media_types.SSE, event, b""))
    name, data = answer.body.split(b"\n", 1)
    assert name == b"event: error"
    assert "error" in json.loads(data.removeprefix(b"data: "))
    assert not answer.complete


@kinds
async def test_a_stream_may_be_compressed_on_its_way_to_the_gateway(gateway: Gateway, kind: str) -> None:
    compressed = gzip.compress(BODIES[kind])
    beginning = head(kind, "Transfer-Encoding: chunked", "Content-Encoding: gzip")
    answer = await gateway.answer(kind, beginning, chunk(compressed[:30]), chunk(compressed[30:]), chunk(b""))
    assert answer.passed_on == Outcome(MESSAGES, complete=True)
    assert gateway.billed == BILLS


@pytest.mark.parametrize(
    "body", [b": ping\n\n", b"<html>\n<h1>502</h1>\n</html>\n", b'{"error":{"message":"overloaded"}}']
)
async def test_a_stream_without_an_event_is_not_complete(gateway: Gateway, body: bytes) -> None:
    answer = await gateway.answer(media_types.SSE, streamed(media_types.SSE, body, b""))
    assert answer.passed_on == Outcome([], complete=False)
    assert not answer.complete


@pytest.mark.parametrize(
    "status", ["502 Bad Gateway", "429 Too Many Requests", "307 Temporary Redirect", "202 Accepted"]
)
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>\n<h1>502</h1>\n</html>\n"),
        ("text/html", b""),
        (media_types.JSON, b'{"error":{"message":"overloaded"}}'),
        (media_types.SSE, b"event: error\ndata: overloaded\n\n"),
    ],
)
async def test_a_response_without_status_200_is_passed_on_unchanged(
    gateway: Gateway, status: str, kind: str, body: bytes
) -> None:
    answer = await gateway.answer(media_types.JSON, whole(body, kind, status))
    assert answer == Answer(int(status[:3]), kind, body, complete=True)
    assert gateway.billed == []


async def test_a_redirect_is_passed_on_and_not_followed(gateway: Gateway) -> None:
    lines = "Location: http://localhost:1/elsewhere", "Retry-After: 7", "Content-Length: 0"
    redirect = head("text/html", *lines, status="307 Temporary Redirect")
    answer = (await gateway.raw_answer(media_types.JSON, redirect)).lower()
    assert b"\r\nlocation: http://localhost:1/elsewhere\r\n" in answer
    assert b"\r\nretry-after: 7\r\n" in answer


async def test_a_cookie_of_the_service_reaches_no_other_caller(gateway: Gateway) -> None:
    response = head(media_types.JSON, "Set-Cookie: tenant=a", f"Content-Length: {len(WHOLE)}") + WHOLE
    for _ in range(2):
        assert b"cookie" not in (await gateway.raw_answer(media_types.JSON, response)).lower()
    assert not any(b"cookie" in request.lower() for request in gateway.requests)


async def test_callers_who_hang_up_leave_connections_for_others(gateway: Gateway) -> None:
    """A client of aiohttp has 100 connections, if it is not made otherwise."""
    end = asyncio.Event()
    try:
        for _ in range(101):
            reader, writer = await gateway.call(media_types.SSE, streamed(media_types.SSE, b"data: {}\n\n"), end)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
            writer.transport.abort()
        answer = await asyncio.wait_for(gateway.answer(media_types.JSON, whole(WHOLE)), PATIENCE)
    finally:
        end.set()
    assert unstamped(answer.body) == WHOLE


async def test_a_response_that_is_cut_or_a_body_that_is_spoiled_at_any_byte_is_a_bad_gateway() -> None:
    beginning = head(media_types.JSON, f"Content-Length: {len(WHOLE)}")
    responses = [beginning[:size] for size in range(0, len(beginning), 5)]
    for at in range(len(WHOLE)):
        cut, ended_early = whole(WHOLE[:at], size=len(WHOLE)), whole(WHOLE[:at])
        responses += [cut, ended_early, whole(WHOLE[:at] + b"\0" + WHOLE[at + 1 :])]
    async with serving() as gateway:
        for response in responses:
            answer = await gateway.answer(media_types.JSON, response)
            assert (answer.status, answer.kind) == (502, media_types.JSON)
            assert "error" in json.loads(answer.body)
    assert gateway.billed == []
