"""A Litestar handler returns the record: Litestar encodes with msgspec too."""

from litestar import Litestar, get

from chatcodec import ChatCompletionResponse


@get("/answer")
async def answer() -> ChatCompletionResponse:
    """Return a response."""
    return ChatCompletionResponse(generation_id="g-1", cost=0.25)


app = Litestar([answer])
