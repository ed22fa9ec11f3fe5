"""Seeded records of every odd kind that a peer in another language or library can read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

from chatcodec import ChatCompletionResponse

from .wire import UTC

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
FIRST = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // MILLISECOND
LAST = (datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC) - EPOCH) // MILLISECOND

# A Date holds milliseconds. The edges are those of the sizes of MessagePack's timestamp.
DATES = [FIRST, LAST, -1, 0, 1, 999, 2**31 * 1000, 2**32 * 1000 - 1, 2**32 * 1000, 2**34 * 1000 - 1, 2**34 * 1000]
TEXTS = [
    *("", *'aé"\\/ﷺ\ufeff\uffff', "e\u0301", "漢字", "😀", "👩\u200d👩\u200d👧", "</script>"),
    *map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]),
]
FLOATS = [0.0, -0.0, 0.1, 1e21, 1e-7, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 123456789.12345679]
INTEGERS = [
    *(0, -1, 127, 128, -32, -33, 255, 256, 2**15, 2**16),
    *(2**31, -(2**31), -(2**31) - 1, 2**32, -(2**63), 2**64 - 1),
]
AROUND_2_53 = [sign * (2**53 + step) for sign in (1, -1) for step in range(-3, 4)]


def text(random: Random) -> str:
    return "".join(random.choices(TEXTS, k=random.randrange(12)))


def number(random: Random) -> float:
    return random.choice([random.choice(FLOATS), random.uniform(-1, 1) * 10.0 ** random.randrange(-300, 300)])


def instant(random: Random) -> datetime:
    return EPOCH + random.choice([random.choice(DATES), random.randint(FIRST, LAST)]) * MILLISECOND


def value(random: Random, depth: int) -> Any:
    leaves: list[Callable[[], Any]] = [
        *(partial(random.choice, some) for some in ([None, True, False], INTEGERS, AROUND_2_53)),
        *(partial(number, random), partial(text, random)),
    ]
    branches: list[Callable[[], Any]] = [
        lambda: [value(random, depth - 1) for _ in range(random.randrange(4))],
        lambda: fields(random, depth - 1),
    ]
    return random.choice(leaves + branches * (depth > 0))()


def fields(random: Random, depth: int) -> dict[str, Any]:
    return {text(random): value(random, depth) for _ in range(random.randrange(4))}


def choices(random: Random) -> list[dict[str, Any]]:
    if random.randrange(50):
        return [fields(random, 5) for _ in range(random.randrange(4))]
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {text(random): [deep, value(random, 0)]}
    return [deep]


def odd_record(random: Random) -> ChatCompletionResponse:
    """Return the next of a series of records: dates, text, numbers and nesting at the edges of what is allowed."""
    made: dict[str, Any] = {
        "timestamp": instant(random),
        "generation_id": text(random),
        "session_id": text(random),
        "choices": choices(random),
        "stream": bool(random.randrange(2)),
        "cost": number(random),
        "latency": number(random),
    }
    return ChatCompletionResponse(**{name: made[name] for name in made if random.randrange(10)})


def odd_records(random: Random, count: int) -> list[ChatCompletionResponse]:
    return [odd_record(random) for _ in range(count)]
