"""Made-up chat-completion traffic: whole responses, and the chunks that streamed ones arrive in.

The same seed gives the same bytes on every Python: only `random` and `getrandbits` of `random.Random` are used.

    python -m bench.corpus      # regenerates tests/data/responses.ndjson and tests/data/deltas.ndjson
"""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from itertools import count as count_from
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from bench import phrases

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")
Record = dict[str, Any]

START = datetime(2026, 3, 1, 8, 0, tzinfo=timezone.utc)
SAMPLE = Path(__file__).parents[1] / "tests" / "data"
SAMPLE_RESPONSES = 75
SHORT_CHARACTERS = 850


class Source:
    """Random numbers in the shapes that traffic needs."""

    def __init__(self, seed: int) -> None:
        random = Random(seed)
        self.chance = random.random
        self._bits = random.getrandbits

    def below(self, stop: int) -> int:
        """Return an integer from 0 up to, but not including, `stop`."""
        return int(self.chance() * stop)

    def pick(self, items: list[T]) -> T:
        """Return one of `items`."""
        return items[int(self.chance() * len(items))]

    def spread(self, middle: float, factor: float) -> float:
        """Return a log-normal number: two of three are within `factor` of `middle`."""
        normal = math.sqrt(-2 * math.log(1 - self.chance())) * math.cos(2 * math.pi * self.chance())
        return float(middle * factor**normal)

    def identifier(self) -> str:
        """Return 32 hexadecimal digits."""
        return f"{self._bits(128):032x}"


def responses(count: int, seed: int = 1) -> Iterator[Record]:
    """Yield `count` whole responses, 2.9 kB each as JSON on average."""
    return islice(_endless(seed), count)


def deltas(count: int, seed: int = 1) -> Iterator[Record]:
    """Yield the first `count` chunks of the same responses, streamed one after the other, 220 bytes each."""
    source = Source(seed)
    return islice((chunk for response in _endless(seed) for chunk in chunks(response, source)), count)


def lines(records: Iterable[Record]) -> Iterator[bytes]:
    r"""Encode `records` as lines; one sender in twenty writes Unicode as ``\u`` escapes, the others as it is."""
    dumps = [json.JSONEncoder(ensure_ascii=escape, separators=(",", ":")).encode for escape in (False, True)]
    for record in records:
        yield dumps[record["generationId"] < "0d"](record).encode() + b"\n"


def _endless(seed: int) -> Iterator[Record]:
    source = Source(seed)
    time = START
    session = source.identifier()
    for _ in count_from():
        if source.chance() < 0.6:
            session = source.identifier()
        time += timedelta(milliseconds=int(source.spread(300_000, 2)))
        choice = _tool_call(source) if source.chance() < 0.1 else _answer(source)
        size = len(str(choice["message"]))
        yield {
            "timestamp": _text(time),
            "generationId": source.identifier(),
            "sessionId": session,
            "choices": [choice],
            "stream": False,
            "cost": round(source.pick([0.6, 2.5, 15.0, 60.0]) * (size / 4 + 40) / 1e6, 7),
            "latency": round(source.spread(3_000, 1.8) + size * 1.5, 3),
        }


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


def _answer(source: Source) -> Record:
    message = {"role": "assistant", "content": _prose(source), "refusal": None}
    reason = "length" if source.chance() < 0.03 else "stop"
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}


def _tool_call(source: Source) -> Record:
    name, arguments = source.pick(phrases.TOOLS)
    call = {
        "id": f"call_{source.identifier()[:24]}",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(_filled(source, arguments), ensure_ascii=False)},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}


def _filled(source: Source, arguments: Record) -> Record:
    return {key: _sentence(source) if value is None else value for key, value in arguments.items()}


def _prose(source: Source) -> str:
    """Return an answer: paragraphs in one language, with code, tables, formulas and lists between them."""
    language = source.chance()
    sentences = phrases.OTHER_LANGUAGES[source.below(len(phrases.OTHER_LANGUAGES))] if language < 0.22 else None
    parts = [
        _block(source) if source.chance() < 0.35 else _paragraph(source, sentences)
        for _ in range(1 + int(source.spread(6.7, 2.2)))
    ]
    return "\n\n".join(parts)


def _paragraph(source: Source, sentences: list[str] | None) -> str:
    number = 1 + source.below(6)
    if sentences:
        return "".join(source.pick(sentences) for _ in range(number)).strip()
    text = " ".join(_sentence(source) for _ in range(number))
    if source.chance() < 0.06:
        text += " " + source.pick(phrases.EMOJI)
    if source.chance() < 0.004:
        # A line separator, as it comes along with text pasted from a word processor.
        text = text.replace(". ", ".\u2028", 1)
    return text


def _sentence(source: Source) -> str:
    return source.pick(phrases.SENTENCES).format(
        thing=source.pick(phrases.THINGS),
        other=source.pick(phrases.THINGS),
        verb=source.pick(phrases.VERBS),
        quality=source.pick(phrases.QUALITIES),
        number=2 + source.below(500),
    )


def _block(source: Source) -> str:
    kind = source.chance()
    if kind < 0.4:
        return source.pick(phrases.CODE).replace("NAME", source.pick(phrases.NAMES))
    if kind < 0.55:
        return _table(source)
    if kind < 0.62:
        return source.pick(phrases.FORMULAS)
    if kind < 0.72:
        return f"### {source.pick(phrases.THINGS).capitalize()}"
    start = source.pick(["- ", "* ", "1. **{}**: "])
    return "\n".join(
        start.format(source.pick(phrases.QUALITIES)) + _sentence(source) for _ in range(2 + source.below(5))
    )


def _table(source: Source) -> str:
    rows = [f"| {source.pick(phrases.THINGS)} | {source.below(9_000) / 10} ms | {source.pick(phrases.MARKS)} |"
            for _ in range(2 + source.below(7))]  # fmt: skip
    return "\n".join(["| Part | Time | OK? |", "|---|---:|:-:|", *rows])


def chunks(response: Record, source: Source) -> Iterator[Record]:
    """Yield `response` as a streaming provider sends it; cost and latency come with the last chunk alone."""
    choice = response["choices"][0]
    time = datetime.strptime(response["timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z")
    head = {"generationId": response["generationId"], "sessionId": response["sessionId"]}
    for delta in _pieces(choice["message"], source):
        yield {
            "timestamp": _text(time), **head,
            "choices": [{"index": 0, "delta": delta, "finish_reason": None}], "stream": True,
        }  # fmt: skip
        time += timedelta(milliseconds=5 + source.below(60))
    yield {
        "timestamp": _text(time), **head,
        "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}], "stream": True,
        "cost": response["cost"], "latency": response["latency"],
    }  # fmt: skip


def _pieces(message: Record, source: Source) -> Iterator[Record]:
    if message["content"] is not None:
        yield from ({"content": text} for text in _cut(message["content"], source))
        return
    (call,) = message["tool_calls"]
    function = {"name": call["function"]["name"], "arguments": ""}
    yield {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call, "function": function}]}
    for text in _cut(call["function"]["arguments"], source):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}


def _cut(text: str, source: Source) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + 1 + source.below(8)
        yield text[start:end]
        start = end


def main() -> None:
    """Regenerate the sample that the tests use."""
    SAMPLE.mkdir(exist_ok=True)
    (SAMPLE / "responses.ndjson").write_bytes(b"".join(lines(responses(SAMPLE_RESPONSES))))
    (SAMPLE / "deltas.ndjson").write_bytes(b"".join(lines(_short_deltas())))


def _short_deltas() -> Iterator[Record]:
    """Yield the chunks of the sample's short responses, so that few chunks show every kind of answer."""
    source = Source(1)
    short = (response for response in responses(SAMPLE_RESPONSES) if len(str(response)) < SHORT_CHARACTERS)
    return (chunk for response in short for chunk in chunks(response, source))


if __name__ == "__main__":
    main()
