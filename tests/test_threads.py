"""Threads: a stream decoder for each, and nothing of one is seen in another."""

from __future__ import annotations

import sys
import threading
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from chatcodec import Envelope, RecordError

from .oddities import odd_records
from .test_stream import BAD, cut, framed, outcome, plain, streams, told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@streams
@pytest.mark.usefixtures("eager_switches")
def test_four_threads_each_with_a_decoder_of_its_own(stream: ModuleType, codec: ModuleType) -> None:
    start = threading.Barrier(4)
    seen: dict[int, list[Any]] = {}
    expected: dict[int, list[Any]] = {}

    def read(number: int) -> None:
        random = Random(number)
        records = odd_records(random, 300)
        pieces = [stream.encode([record]) for record in records] + [framed(stream, BAD[stream])] * 30
        random.shuffle(pieces)
        whole = b"".join(pieces)
        chunks = cut(whole, random.choices(range(len(whole)), k=400))
        start.wait()
        seen[number] = drained(stream, chunks)
        expected[number] = outcome(stream, [whole], type=Envelope)

    def drained(stream: ModuleType, chunks: list[bytes]) -> list[Any]:
        iterator = stream.iter_decode(chunks, Envelope)
        items: list[Any] = []
        while True:
            try:
                for record in iterator:
                    items.append(plain(record))
                return items
            except RecordError as error:
                items.append(told(error))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert seen == expected
    assert all(len(items) == 330 for items in seen.values())
