"""A proxy: whole responses stamped, streams metered or stamped on their way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from chatcodec import Envelope, RecordError, json, media_types, ndjson


def stamp(lines: bytes) -> bytes:
    """Set the session in each line that has a cost: a search, for a stream has one in its last line alone."""
    at = len(lines)
    while (at := lines.rfind(b'"cost":', 0, at)) >= 0:  # a key, for a quote inside a text is escaped
        start, end = lines.rfind(b"\n", 0, at) + 1, lines.index(b"\n", at)
        lines = lines[:start] + json.patch(lines[start:end], session_id="s-1") + lines[end:]
        at = start
    return lines


class Proxy:
    """Forwards to `upstream`, and keeps in `costs` what passed through."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.costs: list[float] = []
        self.bad: list[RecordError] = []
        routes = [
            Route("/whole", self.whole),
            Route("/metered/{path}", self.metered),
            Route("/stamped/{path}", self.stamped),
        ]
        self.app = Starlette(routes=routes, lifespan=self.session)

    @asynccontextmanager
    async def session(self, _: Starlette) -> AsyncIterator[None]:
        """Keep one client session while the application runs."""
        async with aiohttp.ClientSession(self.upstream) as self.client:
            yield

    async def whole(self, request: Request) -> Response:
        """Peek for the cost, and stamp the session."""
        async with self.client.get(request.url.path) as answer:
            body = await answer.read()
        self.costs.append(json.peek(body).cost or 0.0)
        return Response(json.patch(body, session_id="s-1"), answer.status, media_type=media_types.JSON)

    async def metered(self, request: Request) -> Response:
        """Forward each chunk as it came, and read the same chunk beside it."""
        answer = await self.client.get("/" + request.path_params["path"])
        decoder = ndjson.StreamDecoder(Envelope, on_error=self.bad.append)

        async def chunks() -> AsyncIterator[bytes]:
            async with answer:
                async for chunk in answer.content.iter_any():
                    yield chunk
                    self.costs += [line.cost for line in decoder.feed(chunk) if line.cost is not None]
            decoder.finish()

        return StreamingResponse(chunks(), answer.status, media_type=media_types.NDJSON)

    async def stamped(self, request: Request) -> Response:
        """Forward the lines of each chunk in one write, with a session on those that have a cost."""
        answer = await self.client.get("/" + request.path_params["path"])
        decoder = ndjson.StreamDecoder(bytes)

        async def chunks() -> AsyncIterator[bytes]:
            async with answer:
                async for chunk in answer.content.iter_any():
                    if lines := decoder.feed(chunk):
                        yield stamp(ndjson.encode(lines))
            yield stamp(ndjson.encode(decoder.finish()))

        return StreamingResponse(chunks(), answer.status, media_type=media_types.NDJSON)
