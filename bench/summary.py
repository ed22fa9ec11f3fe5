"""The summary: five rows, and how the figures compare with the targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.measure import Figure

    # The figures of each contender, by workload and corpus.
    Results = dict[str, dict[str, list[Figure]]]
    # Microseconds of CPU time that each contender adds to a gateway, by case.
    Added = dict[str, dict[str, float]]

CHATCODEC, MSGSPEC, ORJSON = "chatcodec", "msgspec, by hand", "orjson, by hand"


@dataclass
class Row:
    """A job, and its time with chatcodec and by hand."""

    job: str
    unit: str
    figures: dict[str, float]


@dataclass
class Target:
    """The target for the ratio of a contender's time to another's: an upper bound, by corpus."""

    workload: str
    contender: str
    base: str
    bounds: dict[str, float]


def _both(deltas: float, responses: float) -> dict[str, float]:
    return {"deltas": deltas, "responses": responses}


_PEEK_AND_PATCH = "chatcodec, peek and then patch"
_STAMP_LOOPS = {"ndjson": "json", "sse": "json", "frames": "msgpack"}
TARGETS = [
    Target("ndjson.encode, 100 records", CHATCODEC, "msgspec encode_lines", _both(1.5, 1.1)),
    Target("ndjson.encode, 1 record", CHATCODEC, "msgspec encode_lines", _both(2.5, 1.4)),
    Target("sse.encode, 100 records", CHATCODEC, "msgspec encode_lines, no events", _both(1.9, 1.4)),
    Target("json.stamp, a field absent", CHATCODEC, _PEEK_AND_PATCH, _both(0.95, 0.75)),
    Target("json.stamp, a field present", CHATCODEC, _PEEK_AND_PATCH, _both(1.0, 0.75)),
    *(
        Target(f"{framing}.stamp, {number}", CHATCODEC, f"a loop over {codec}.stamp", _both(bound, bound))
        for framing, codec in _STAMP_LOOPS.items()
        for number, bound in (
            ("1 message", 1.05),
            ("4 messages", 1.05),
            ("40 messages", 0.8 if framing == "ndjson" else 1.05),
        )
    ),
    *(
        Target(f"{framing}, {items}, iterated", "chatcodec aiter_encode", "async for, encode", _both(1.1, 1.1))
        for framing in _STAMP_LOOPS
        for items in ("200 records", "200 records in batches of 20")
    ),
    *(
        Target(f"{framing} iteration, 16384 bytes a chunk", f"chatcodec {way}", "chatcodec feed", _both(1.05, 1.05))
        for framing in _STAMP_LOOPS
        for way in ("iter_batches", "aiter_batches")
    ),
    *(
        Target("fan-out of 200 events", f"chatcodec, {way}", "orjson and ormsgpack, by hand", {"deltas": bound})
        for way, bound in (("decoded once and encoded twice", 0.92), ("unknown fields kept", 1.66))
    ),
]


# Each job's case in the gateway.
_GATEWAY = {
    "a gateway's job on a whole response": "whole, the field absent",
    "a gateway's job on each of 200 lines": "each of 200 lines, the field absent",
}
_ADDED = {CHATCODEC: "chatcodec", MSGSPEC: "msgspec, dict[str, Raw]", ORJSON: "orjson", "pydantic": "pydantic"}
# Each job's workload on deltas, how many of its records make up the job, and its contenders.
_JOBS: dict[str, tuple[str, int, dict[str, str]]] = {
    "reading 200 lines, chunks of 16 KiB": (
        "ndjson feed, records, 16384 bytes a chunk",
        200,
        {
            CHATCODEC: "chatcodec",
            MSGSPEC: "split by hand + msgspec",
            ORJSON: "split by hand + orjson, to dicts",
            "httpx lines + msgspec": "httpx iter_lines + msgspec",
        },
    ),
    "writing 100 records as events": (
        "sse.encode, 100 records",
        100,
        {
            CHATCODEC: "chatcodec",
            MSGSPEC: "msgspec, joined by hand",
            ORJSON: "orjson, joined by hand, from dicts",
        },
    ),
    "200 events, stamped, to lines and to frames": (
        "fan-out of 200 events",
        1,
        {
            CHATCODEC: "chatcodec, decoded once and encoded twice",
            "chatcodec, all fields kept": "chatcodec, unknown fields kept",
            MSGSPEC: "msgspec to a Struct, by hand",
            ORJSON: "orjson and ormsgpack, by hand",
        },
    ),
}


def rows(results: Results, added: Added) -> Iterator[Row]:
    """Yield the five rows, as far as they were measured."""
    for job, case in _GATEWAY.items():
        if times := added.get(case):
            yield Row(job, "µs added", {name: times[contender] for name, contender in _ADDED.items()})
    for job, (workload, count, shown) in _JOBS.items():
        figures = {figure.contender: figure for figure in results.get(workload, {}).get("deltas", [])}
        if figures:
            times = {name: figures[contender].nanoseconds * count / 1000 for name, contender in shown.items()}
            yield Row(job, "µs", times)


def targets(results: Results) -> Iterator[tuple[Target, str, float, float]]:
    """Yield each target with its corpus, its bound and what was measured."""
    for target in TARGETS:
        for corpus, bound in target.bounds.items():
            ratios = {figure.contender: figure.ratio for figure in results.get(target.workload, {}).get(corpus, [])}
            if ratios:
                yield target, corpus, bound, ratios[target.contender] / ratios[target.base]
