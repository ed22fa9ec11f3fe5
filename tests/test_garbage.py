"""What never wakes the garbage collector, so that a large heap never adds to a gateway's latency."""

from __future__ import annotations

import gc
import weakref
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any

import msgspec
import pytest

from chatcodec import ChatCompletionResponse, Envelope, frames, json, msgpack, ndjson, sse, transcode

from .support import Framing, each

RECORD = ChatCompletionResponse(generation_id="g-1", choices=[{"delta": {"text": "x"}}] * 3, cost=0.25)
# Twice as many as the collector lets pass, so that records of them wake it.
MANY = [RECORD] * 1400


def collections(run: Callable[[], Any], times: int = 10) -> int:
    """Count the collections, of any generation, while `run` is called over and over."""
    phases: list[str] = []
    note = lambda phase, _: phases.append(phase)
    gc.collect()
    gc.callbacks.append(note)
    try:
        for _ in range(times):
            run()
    finally:
        gc.callbacks.remove(note)
    return phases.count("stop")


def test_peek_and_patch_never_wake_the_collector(codec: Any) -> None:
    body = codec.encode(RECORD)
    assert collections(lambda: codec.peek(body), 1000) == 0
    assert collections(lambda: codec.patch(body, session_id="s-1", cost=None), 1000) == 0


@pytest.mark.parametrize("type", [Envelope, bytes])
def test_streams_of_envelopes_and_bytes_never_wake_the_collector(framing: Framing, type: Any) -> None:
    feed = partial(framing.stream.StreamDecoder(type).feed, framing.encoded(*MANY))
    feed()
    assert collections(feed) == 0


@pytest.mark.parametrize("name", ["iter_decode", "iter_batches"])
def test_iterating_over_small_records_never_wakes_the_collector(framing: Framing, name: str) -> None:
    time = datetime(2026, 1, 1, tzinfo=timezone.utc)
    choices = [{"index": 0, "delta": {"role": "assistant", "content": " word"}, "finishReason": None}]
    delta = ChatCompletionResponse(timestamp=time, generation_id="g-1", session_id="s-1", choices=choices, stream=True)
    whole = framing.encoded(*[delta] * 4000) + framing.end
    assert collections(lambda: deque(getattr(framing.stream, name)([whole]), maxlen=0)) == 0


def test_a_list_of_many_records_wakes_the_collector(framing: Framing) -> None:
    feed = partial(framing.stream.StreamDecoder().feed, framing.encoded(*MANY))
    kept: list[Any] = []  # CPython without the GIL collects only once memory has grown
    assert collections(lambda: kept.extend(feed()), 50) > 0


def test_writing_small_records_never_wakes_the_collector(framing: Framing) -> None:
    message = framing.codec.encode(RECORD)
    for many in (MANY, [message] * len(MANY), [*MANY, message]):
        assert collections(partial(framing.stream.encode, many)) == 0
        assert collections(lambda: deque(framing.stream.iter_encode(many), maxlen=0)) == 0
    assert collections(lambda: framing.stream.stamp([message] * 4000, session_id="s")) == 0


BAD = b'{"cost":"x"}'
HALF_PAIR = ChatCompletionResponse(session_id="\ud800")
# Calls that fail because of what they are given.
FAILURES: dict[str, Callable[[], object]] = {
    "decode": lambda: json.decode(BAD),
    "decode what is no text": lambda: json.decode(b'"\xff"'),
    "decode_choices": lambda: msgpack.decode_choices(b"\xc1"),
    "peek": lambda: msgpack.peek(b"\xc1"),
    "patch": lambda: json.patch(b"[]", cost=1),
    "stamp": lambda: json.stamp(BAD, cost=1),
    "encode": lambda: json.encode(HALF_PAIR),
    "encode_into": lambda: msgpack.encode_into(HALF_PAIR, bytearray()),
    "transcode.json_to_msgpack": lambda: transcode.json_to_msgpack(b'{"cost":'),
    "transcode.msgpack_to_json": lambda: transcode.msgpack_to_json(b"\x81\xa1a\xc7\x01\x05a"),
    "ndjson.stamp": lambda: ndjson.stamp([BAD]),
    "ndjson.encode": lambda: ndjson.encode([HALF_PAIR]),
    "ndjson.encode of lines": lambda: ndjson.encode([b"{\n"]),
    "feed": lambda: ndjson.StreamDecoder().feed(BAD + b"\n"),
    "feed events": lambda: sse.StreamDecoder().feed(b"event: error\n\n"),
    "finish": lambda: frames.iter_decode([b"\0"]).__next__(),
    "finish a second error": lambda: list(sse.iter_decode([b"data: 1\n\n"])),
    "iter_decode": lambda: list(ndjson.iter_decode([BAD])),
    "iter_batches": lambda: list(ndjson.iter_batches([BAD + b"\n"])),
    "iter_encode": lambda: list(ndjson.iter_encode([HALF_PAIR])),
    "aiter_decode": lambda: ndjson.aiter_decode(each([BAD])).__anext__().__await__().__next__(),
}


def failure_of(call: Callable[[], object]) -> weakref.ref[Exception] | None:
    try:
        call()
    except (msgspec.MsgspecError, TypeError) as error:
        return weakref.ref(error)
    return None


@pytest.mark.parametrize("call", FAILURES.values(), ids=FAILURES)
def test_an_error_and_its_input_are_freed_without_the_collector(call: Callable[[], object]) -> None:
    """Kept in a cycle, 500 bad bodies of 1 MB took 50 to 120 MB."""
    gc.disable()
    try:
        failure = failure_of(call)
        assert failure is not None
        assert failure() is None
    finally:
        gc.enable()
