"""Threads: functions without state, a stream decoder for each, and nothing of one is seen in another."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

from chatcodec import ChatCompletionResponse, Envelope

from .oddities import odd_records
from .support import Framing, cut, drained, outcome

THREADS = 4


@pytest.fixture(autouse=True)
def eager_switches() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_functions_are_safe_to_call_from_many_threads(codec: Any) -> None:
    def work(number: int) -> None:
        record = ChatCompletionResponse(session_id=str(number), choices=[{"a": [number] * 50}], cost=1.0)
        message = codec.encode(record)
        for _ in range(300):
            assert codec.decode(message) == record
            assert codec.decode_choices(codec.peek(message).choices) == record.choices
            assert codec.decode(codec.patch(message, cost=float(number))).cost == number

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


def test_threads_read_each_with_a_decoder_of_its_own(framing: Framing) -> None:
    start = threading.Barrier(THREADS)

    def read(number: int) -> tuple[list[Any], list[Any]]:
        random = Random(number)
        pieces = [*map(framing.encoded, odd_records(random, 300)), *[framing.bad] * 30]
        random.shuffle(pieces)
        whole = b"".join(pieces) + framing.end
        chunks = cut(whole, random.choices(range(len(whole)), k=400))
        start.wait()
        return drained(framing.stream.iter_decode(chunks, Envelope)), outcome(framing, [whole], type=Envelope)

    with ThreadPoolExecutor(THREADS) as pool:
        for seen, expected in pool.map(read, range(THREADS)):
            assert len(seen) == 330
            assert seen == expected
