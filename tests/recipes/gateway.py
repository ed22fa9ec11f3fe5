"""A gateway: it meters and stamps what a completion service answers, whole or as a stream."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
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
TIMEOUT = aiohttp.ClientTimeout(total=1800, sock_connect=10, sock_read=300)
LOST = aiohttp.ClientError, asyncio.TimeoutError
FAILED = b'{"error":{"message":"bad gateway"}}'
report = logging.getLogger("gateway").warning


class Stream(StreamingResponse):
    """Forwards the stream in `answer`. If that stream fails, so does this one, and no caller takes it for complete."""

    def __init__(self, answer: aiohttp.ClientResponse, bill: Bill, start: float) -> None:
        super().__init__(self.chunks(), media_type=answer.content_type)
        self.answer, self.bill, self.start, self.framing = answer, bill, start, FRAMINGS[answer.content_type]
        self.decoder = self.framing.StreamDecoder(bytes, on_error=report)
        self.failure: Exception | None = None
        self.ended = False

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self.answer.content.iter_any():
                yield self.take(self.decoder.feed, chunk) or self.framing.KEEP_ALIVE
        except LOST as error:
            self.failure = error
        self.ended = True
        if last := self.take(self.decoder.finish) + (b"" if self.failure else self.framing.END):
            yield last
        if self.failure:
            raise self.failure  # aborts the connection; under @app.middleware("http"), Starlette ends it as if complete

    def take(self, decode: Callable[..., list[bytes]], *chunk: bytes) -> bytes:
        """Bill the messages that `decode` returns, before the caller can hang up, and return them stamped."""
        event = b""
        try:
            messages = decode(*chunk)
        except StreamError as error:
            self.failure, messages = error, error.records
            if error.kind == "upstream":
                data = error.data if len(error.data) < 1024 else FAILED  # it holds no more than the first KiB
                event = b"event: error\n%b\n" % b"".join(b"data: %b\n" % line for line in data.splitlines())
        latency = 1000 * (perf_counter() - self.start)
        envelopes, stamped = self.framing.stamp(messages, on_error=report, latency=latency)
        for envelope in envelopes:
            if envelope.cost is not None:
                self.bill(envelope.cost, envelope.session_id)
            if envelope.failed:
                self.failure = StreamError("upstream", "message", 0, 0, "an error message from the service")
        return stamped + event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self.ended:  # the caller hung up, but the rest of the stream costs all the same
                with suppress(*LOST, StreamError):
                    async for _ in self.chunks():
                        pass
            self.answer.close()


def create_app(service: str, bill: Bill) -> FastAPI:
    @asynccontextmanager
    async def session(app: FastAPI) -> AsyncIterator[None]:
        # No caller gets another's cookies, and callers who have hung up cannot use up the connection pool.
        jar, pool = aiohttp.DummyCookieJar(), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=pool, cookie_jar=jar, timeout=TIMEOUT) as app.state.client:
            yield

    app = FastAPI(lifespan=session)

    @app.post("/{path:path}")
    async def forward(request: Request) -> Response:
        start = perf_counter()
        path, query = (request.scope[name].decode() for name in ("raw_path", "query_string"))
        url = URL(f"{service}/{path.removeprefix('/')}?{query}", encoded=True)  # after "/", no path changes the host
        headers = [("accept-encoding", "identity")]  # aiohttp takes compressed lines that were cut for complete
        headers += [(name, value) for name, value in request.headers.items() if name in TO_SERVICE]
        try:
            content = await request.body()
            answer = await app.state.client.post(url, data=content, headers=headers, allow_redirects=False)
            if answer.status == 200 and answer.content_type in FRAMINGS:
                return Stream(answer, bill, start)
            body = await answer.read()
            if answer.status == 200:
                envelope, body = json.stamp(body, latency=1000 * (perf_counter() - start))
                if envelope.cost is not None:
                    bill(envelope.cost, envelope.session_id)
        except (*LOST, DecodeError) as error:
            report(error)
            return Response(FAILED, 502, media_type=media_types.JSON)
        return Response(body, answer.status, {k: v for k, v in answer.headers.items() if k.lower() in TO_CALLER})

    return app
