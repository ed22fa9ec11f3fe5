"""Threads: a stream decoder for each, and nothing of one is seen in another."""

from __future__ import annotations

import sys
import threading
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from chatcodec import Envelope

from .oddities import odd_records
from .support import cut, drained, framings, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .support import Framing


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@framings
@pytest.mark.usefixtures("eager_switches")
def test_four_threads_each_with_a_decoder_of_its_own(framing: Framing) -> None:
    start = threading.Barrier(4)
    seen: dict[int, list[Any]] = {}
    expected: dict[int, list[Any]] = {}

    def read(number: int) -> None:
        random = Random(number)
        records = odd_records(random, 300)
        pieces = [framing.encoded(record) for record in records] + [framing.bad] * 30
        random.shuffle(pieces)
        whole = b"".join(pieces) + framing.end
        chunks = cut(whole, random.choices(range(len(whole)), k=400))
        start.wait()
        seen[number] = drained(framing.stream.iter_decode(chunks, Envelope))
        expected[number] = outcome(framing, [whole], type=Envelope)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert seen == expected
    assert all(len(items) == 330 for items in seen.values())
