"""The README's gateway, and one that forwards as simply as can be, on FastAPI, aiohttp and uvicorn.

python -m bench.gateway.apps PORT NAME     # serves it before an upstream, and prints its port
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse

from bench.gateway import cases
from bench.gateway.handlers import Meter
from chatcodec import media_types
from tests.recipes.gateway import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bench.gateway.handlers import Handler

RECIPE = "the README's gateway"
# The contenders: the README's gateway, and the simple one by what it does to a response.
NAMES = ["untouched", RECIPE, "orjson"]


def simple_app(service: str, name: str) -> FastAPI:
    """Return a gateway that forwards what one of the contenders of `bench.gateway` makes of a response."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as app.state.client:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/{path:path}")
    async def forward(path: str) -> Response:
        answer = await app.state.client.post(f"{service}/{path}")
        whole = answer.content_type == media_types.JSON
        case = "whole, the field absent" if whole else "each of 200 lines, the field absent"
        handle = cases.handler(case, name, Meter())
        if whole:
            return Response(handle(await answer.read()), media_type=media_types.JSON)
        return StreamingResponse(_chunks(answer, handle), media_type=answer.content_type)

    return app


async def _chunks(answer: aiohttp.ClientResponse, handle: Handler) -> AsyncIterator[bytes]:
    async for chunk in answer.content.iter_any():
        yield handle(chunk)


def main() -> None:
    """Serve one of them."""
    port, name = sys.argv[1:]
    service, meter = f"http://127.0.0.1:{port}", Meter()
    app = create_app(service, meter.add) if name == RECIPE else simple_app(service, name)
    app.get("/cpu")(lambda: Response(str(time.process_time_ns())))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        asyncio.run(server.serve([listener]))


if __name__ == "__main__":
    main()
