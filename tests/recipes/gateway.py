"""A gateway: it meters and stamps what a completion service answers, whole or as a stream."""

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import aiohttp
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from chatcodec import DecodeError, Envelope, Framing, StreamError, json, media_types, ndjson, sse

FRAMINGS: dict[str, Framing] = {media_types.NDJSON: ndjson, media_types.SSE: sse}
TO_SERVICE = ("accept", "authorization", "content-type")
report = logging.getLogger("gateway").warning


class Call:
    """One call: what its answer costs goes to `bill`, with the session it belongs to."""

    def __init__(self, bill: Callable[[float, str | None], object]) -> None:
        self.bill, self.start = bill, time.perf_counter()

    def latency(self) -> float:
        return (time.perf_counter() - self.start) * 1000

    def charge(self, envelope: Envelope) -> None:
        if envelope.cost is not None:
            self.bill(envelope.cost, envelope.session_id)


class Stream(StreamingResponse):
    """Passes on the stream in `answer`. If that fails, so does this: no caller takes it for complete."""

    def __init__(self, answer: aiohttp.ClientResponse, call: Call) -> None:
        super().__init__(self.chunks(), media_type=answer.content_type)
        self.answer, self.call = answer, call
        self.framing = FRAMINGS[answer.content_type]
        self.decoder = self.framing.StreamDecoder(bytes, on_error=report)
        self.failure: Exception | None = None
        self.ended = False

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self.answer.content.iter_any():
                yield self.take(partial(self.decoder.feed, chunk)) or self.framing.KEEP_ALIVE
        except aiohttp.ClientError as error:
            self.failure = error
        self.ended = True
        last = self.take(self.decoder.finish)
        if last := last if self.failure else last + self.framing.END:
            yield last
        if self.failure:
            raise self.failure

    def take(self, decode: Callable[[], list[bytes]]) -> bytes:
        """Charge what `decode` returns, before anybody can hang up, and return it stamped."""
        event = b""
        try:
            messages = decode()
        except StreamError as error:
            self.failure, messages = error, error.records
            if error.kind == "upstream":
                event = b"event: error\n%b\n" % b"".join(b"data: %b\n" % line for line in error.data.splitlines())
        envelopes, stamped = self.framing.stamp(messages, on_error=report, latency=self.call.latency())
        for envelope in envelopes:
            self.call.charge(envelope)
            if envelope.failed:
                self.failure = StreamError("upstream", "message", 0, 0, "an error message from upstream")
        return stamped + event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self.ended:  # the caller hung up, and what is still to come costs all the same
                with suppress(aiohttp.ClientError, StreamError):
                    async for _ in self.chunks():
                        pass
            self.answer.close()


def create_app(service: str, bill: Callable[[float, str | None], object]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
        async with aiohttp.ClientSession(timeout=timeout) as app.state.client:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/{path:path}")
    async def forward(path: str, request: Request) -> Response:
        call = Call(bill)
        headers = {name: value for name, value in request.headers.items() if name in TO_SERVICE}
        try:
            answer = await app.state.client.post(f"{service}/{path}", data=await request.body(), headers=headers)
            if answer.ok and answer.content_type in FRAMINGS:
                return Stream(answer, call)
            body = await answer.read()
            if answer.ok:
                envelope, body = json.stamp(body, latency=call.latency())
                call.charge(envelope)
        except (aiohttp.ClientError, DecodeError) as error:
            report(error)
            return Response(b'{"error":{"message":"bad gateway"}}', 502, media_type=media_types.JSON)
        return Response(body, answer.status, {"content-type": answer.headers.get("content-type", media_types.JSON)})

    return app
