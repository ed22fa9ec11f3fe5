"""Write a stream with Flask, or under any WSGI server: a chunk per record, at once."""

from collections.abc import Iterator

from flask import Flask, Response, request

from chatcodec import ChatCompletionResponse, media_types, ndjson, sse

app = Flask(__name__)


def answer() -> Iterator[ChatCompletionResponse]:
    """Yield what a model answers."""
    yield ChatCompletionResponse(stream=True, choices=[{"delta": {"content": "Hi"}}])
    yield ChatCompletionResponse(stream=True, cost=0.25)


@app.get("/answer")
def stream() -> Response:
    """Write events for callers who accept them, else lines."""
    if request.accept_mimetypes.best_match([media_types.NDJSON, media_types.SSE]) == media_types.SSE:
        return Response(sse.iter_encode(answer()), mimetype=media_types.SSE)
    return Response(ndjson.iter_encode(answer()), mimetype=media_types.NDJSON)
