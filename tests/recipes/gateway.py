"""A gateway: it meters and stamps what a completion service answers, whole or as a stream."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter

import aiohttp
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from yarl import URL

from chatcodec import DecodeError, Framing, StreamError, json, media_types, ndjson, sse

FRAMINGS: dict[str, Framing] = {media_types.NDJSON: ndjson, media_types.SSE: sse}
Bill = Callable[[float, str | None], None]  # called with a cost and its session; must neither raise nor block
TO_SERVICE = {"accept", "authorization", "content-encoding", "content-type"}  # the headers that are forwarded
TO_CALLER = {"content-type", "location", "retry-after"}
FAILED = b'{"error":{"message":"bad gateway"}}'
report = logging.getLogger("gateway").warning


class Stream(StreamingResponse):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.stream_response(send)  # StreamingResponse cancels this when the caller hangs up
        finally:  # some servers raise then, but the rest of the stream costs all the same
            async for _ in self.body_iterator:
                pass


async def stamped(answer: aiohttp.ClientResponse, bill: Bill, start: float) -> AsyncIterator[bytes]:
    """Stamp and bill a stream. If it fails, so does this, and no caller takes it for complete."""
    framing = FRAMINGS[answer.content_type]
    decoder = framing.StreamDecoder(bytes, on_error=report)
    failure: Exception | None = None
    chunk: bytes | None = None
    while chunk != b"":
        event = b""
        try:
            chunk = await answer.content.readany()  # empty at the end
        except aiohttp.ClientError as error:
            chunk, failure = b"", error
            answer.close()
        try:
            messages = decoder.feed(chunk) if chunk else decoder.finish()
        except StreamError as error:
            failure, messages = error, error.records
            if error.kind == "upstream":
                data = error.data if len(error.data) < 1024 else FAILED  # it holds no more than the first KiB
                event = b"event: error\ndata: %b\n\n" % data.replace(b"\n", b"\ndata: ")
        envelopes, lines = framing.stamp(messages, on_error=report, latency=1000 * (perf_counter() - start))
        for envelope in envelopes:
            if envelope.cost is not None:
                bill(envelope.cost, envelope.session_id)
            if envelope.failed:
                failure = DecodeError("the stream has an error message")
        yield lines + event or (framing.KEEP_ALIVE if chunk else b"")
    if failure:
        raise failure  # aborts the connection; under @app.middleware("http"), Starlette ends it as if complete
    yield framing.END


def create_app(service: str, bill: Bill) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # callers who have hung up cannot use up the pool
            cookie_jar=aiohttp.DummyCookieJar(),  # no caller gets another's cookies
            headers={"accept-encoding": "identity"},  # aiohttp takes compressed lines that were cut for complete
            timeout=aiohttp.ClientTimeout(connect=10, sock_read=300),  # no limit on the whole of a stream
        ) as app.state.client:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/{path:path}")
    async def forward(request: Request) -> Response:
        start = perf_counter()
        target = request.scope["raw_path"].removeprefix(b"/") + b"?" + request.scope["query_string"]
        url = URL(f"{service}/{target.decode()}", encoded=True)  # after "/", no path changes the host
        headers = [(name, value) for name, value in request.headers.items() if name in TO_SERVICE]
        try:
            answer = await app.state.client.post(url, data=await request.body(), headers=headers, allow_redirects=False)
            if answer.status == 200 and answer.content_type in FRAMINGS:
                return Stream(stamped(answer, bill, start), media_type=answer.content_type)
            body = await answer.read()
            if answer.status == 200:
                envelope, body = json.stamp(body, latency=1000 * (perf_counter() - start))
                if envelope.cost is not None:
                    bill(envelope.cost, envelope.session_id)
        except (aiohttp.ClientError, DecodeError) as error:
            report(error)
            return Response(FAILED, 502, media_type=media_types.JSON)
        return Response(body, answer.status, {k: v for k, v in answer.headers.items() if k.lower() in TO_CALLER})

    return app
