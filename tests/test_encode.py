"""Writing: records, and messages that are encoded already, as lines, frames and events."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections import deque
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from itertools import cycle
from operator import add
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse, DecodeError, EncodeError, Envelope, frames, ndjson, sse

from .support import COSTS, EVENTS, Awaited, Framing, alarm, alarms, each, released_view, texts
from .wire import Priced, records, values, without


def read(framing: Framing, whole: bytes, type: Any = bytes) -> list[Any]:
    """Read back what was written, and the end after it."""
    decoder = framing.stream.StreamDecoder(type)
    return [*decoder.feed(whole + framing.stream.END), *decoder.finish()]


def named(value: Any) -> str:
    """Return a name for a parameter: a view's `repr` is another in each process, and some are long."""
    return f"{type(value).__name__} {value[:9]!r}" if isinstance(value, (str, bytes)) else type(value).__name__


@alarms
def test_an_exception_from_a_signal_handler_passes_through(framing: Framing, kind: type[BaseException]) -> None:
    many = COSTS * 60_000
    with pytest.raises(kind), alarm(kind):
        framing.stream.encode(many)


def test_no_records_encode_to_no_bytes(framing: Framing) -> None:
    assert framing.stream.encode([]) == framing.stream.encode(iter(())) == b""


@pytest.mark.parametrize("collection", [list, tuple, iter, deque])
def test_records_and_messages_of_any_kind_can_be_mixed_in_any_collection(framing: Framing, collection: Any) -> None:
    one, *others = map(framing.codec.encode, COSTS)
    kinds = [bytes, bytearray, memoryview, msgspec.Raw]
    messages = [kind(message) for kind, message in zip(kinds, others, strict=True)]
    assert framing.stream.encode(collection([COSTS[0], *messages])) == framing.framed(one, *others)
    assert framing.stream.encode(collection(messages)) == framing.framed(*others)


def test_a_list_is_left_as_it_was(framing: Framing) -> None:
    messages = [framing.codec.encode(record) for record in COSTS]
    for items in (COSTS[:], messages, [*COSTS, *messages]):
        before = items[:]
        framing.stream.encode(items)
        assert items == before


@given(many=st.lists(records, min_size=1, max_size=5))
def test_a_record_is_written_the_same_whatever_is_next_to_it(framing: Framing, many: Any) -> None:
    whole = framing.framed(*map(framing.codec.encode, many))
    assert framing.stream.encode(many) == whole
    assert framing.stream.encode([Priced(), *many]) == framing.stream.encode([Priced()]) + whole
    assert framing.stream.encode([*many, b"1"]) == whole + framing.framed(b"1")


# What encode rejects


SINGLE = [b"{}", b"", bytearray(b"{}"), memoryview(b"{}"), msgspec.Raw(b"{}"), COSTS[0], Envelope()]


@pytest.mark.parametrize(
    ("bad", "hint"),
    [
        *((bad, ": put a single one in a list") for bad in SINGLE),
        *((bad, "") for bad in ("{}", "", {}, {b"": 1}, 5, None)),
        (each(COSTS), ": aiter_encode takes async ones"),
    ],
    ids=named,
)
@pytest.mark.parametrize("name", ["encode", "iter_encode"])
def test_an_argument_that_is_no_collection_is_rejected(framing: Framing, bad: Any, hint: str, name: str) -> None:
    with pytest.raises(TypeError, match=rf"^expected an iterable of .*, got {type(bad).__name__}{hint}$"):
        getattr(framing.stream, name)(bad)


@pytest.mark.parametrize("bad", ["{}", 5, {}, None, [b"{}"], (b"{}",), datetime], ids=repr)
def test_an_item_that_is_no_record_or_message_is_rejected(framing: Framing, bad: Any) -> None:
    with pytest.raises(TypeError, match=rf"^record 2: expected a record .*, got {type(bad).__name__}$"):
        framing.stream.encode([COSTS[0], bad])


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (ChatCompletionResponse(session_id="\ud800"), EncodeError),
        (ChatCompletionResponse(timestamp=datetime(2026, 1, 1)), EncodeError),
        (without("timestamp"), EncodeError),
        (ChatCompletionResponse(choices=[{"a": object()}]), TypeError),
        (Envelope(), TypeError),
    ],
    ids=["lone surrogate", "no offset", "deleted field", "object", "envelope"],
)
def test_an_error_of_the_codec_starts_with_the_records_number(framing: Framing, bad: Any, error: Any) -> None:
    with pytest.raises(error) as alone:
        framing.codec.encode(bad)
    with pytest.raises(error) as caught:
        framing.stream.encode([*COSTS[:2], bad])
    assert str(caught.value) == f"record 3: {alone.value}"
    assert "".join(traceback.format_exception(caught.value)).count("Error: ") == 1


def test_an_exception_from_the_iterable_passes_through(framing: Framing) -> None:
    def failing() -> Iterator[Any]:
        yield COSTS[0]
        raise TypeError("mine")  # noqa: EM101

    with pytest.raises(TypeError, match=r"^mine$"):
        framing.stream.encode(failing())


def test_a_released_view_is_the_callers_mistake(framing: Framing) -> None:
    for items in ([released_view()], [COSTS[0], released_view()]):
        with pytest.raises(ValueError, match="released"):
            framing.stream.encode(items)


@texts
@pytest.mark.parametrize("blank", [b"", b" ", b"\t\r", b"\n", b" \r\n "])
def test_a_blank_message_is_an_encode_error(framing: Framing, blank: bytes) -> None:
    for message in (blank, memoryview(blank)):
        with pytest.raises(EncodeError, match=r"^record 2: a blank message is no record$"):
            framing.stream.encode([b"{}", message])
    assert framing.stream.encode([b"\x0b", b"{}"]) == framing.framed(b"\x0b", b"{}")  # not JSON's white space


# Line breaks


@texts
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_record_that_holds_a_view_with_line_breaks_is_still_one(framing: Framing, end: bytes) -> None:
    record = ChatCompletionResponse(choices=[{"a": msgspec.Raw(b"[" + end + b"1]")}])
    back = read(framing, framing.stream.encode([COSTS[0], record, COSTS[1]]), ChatCompletionResponse)
    assert back == [COSTS[0], ChatCompletionResponse(choices=[{"a": [1]}]), COSTS[1]]


def test_an_event_has_a_line_of_data_for_each_line_of_the_message() -> None:
    assert sse.encode([b"a\nb\r\nc\rd", b"{}"]) == b"data: a\ndata: b\ndata: c\ndata: d\n\ndata: {}\n\n"


def test_a_line_is_json_without_white_space_where_the_message_had_line_breaks() -> None:
    messages: list[Any] = [b'{\n  "a" : 1.0E+2,\r\n "b": "x  y"}\n', bytearray(b'{ "c": 1}')]
    assert ndjson.encode(messages) == b'{"a":1.0E+2,"b":"x  y"}\n{ "c": 1}\n'


@pytest.mark.parametrize(
    "message", [b"{}\n{}", b'"a\nb"', b"[1,\n]", b"{\n", b"secret\n1", b"[" * 1_000_000 + b"\n"], ids=named
)
def test_a_message_that_is_not_json_cannot_be_put_on_one_line(message: bytes) -> None:
    with pytest.raises(EncodeError, match=r"^record 2: line breaks in what is not JSON: ") as caught:
        ndjson.encode([b"{}", message])
    assert isinstance(caught.value.__cause__, DecodeError)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
strings = st.sampled_from([r'"\u00e9\/"', r'"\"\\ : , \n"', '"  a  "', '"\u2028"'])
compact = values.map(msgspec.json.encode).map(bytes.decode) | numbers | strings
TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[\w.+-]+|\W')


@given(values=st.lists(compact, max_size=3), between=st.lists(st.text(" \t\r\n", max_size=3), min_size=1, max_size=8))
def test_only_white_space_between_tokens_changes_where_lines_become_one(values: list[str], between: list[str]) -> None:
    message = f"[{','.join(values)}]"
    spread = "\n" + "".join(map(add, TOKEN.findall(message), cycle(between)))
    assert ndjson.encode([spread.encode()]) == message.encode() + b"\n"


@given(messages=st.lists(st.lists(st.sampled_from([b"{}", b"\r", b"\n", b"\xff", b" ", b":", b"[DONE]"])), max_size=4))
@example(messages=[[b"{}", b"\n"], [b"\n", b"{}"]])
def test_an_event_reads_back_as_its_message(messages: list[list[bytes]]) -> None:
    whole = [message for parts in messages if (message := b"".join(parts)).strip() not in (b"", b"[DONE]")]
    expected = [re.sub(rb"\r\n?", b"\n", message) for message in whole]
    assert read(EVENTS, sse.encode(whole)) == expected


@pytest.mark.parametrize("done", [b"[DONE]", b" [DONE]\t", b"[DONE]\n", b"\r\n[DONE]"])
def test_an_event_that_would_end_the_stream_is_an_encode_error(done: bytes) -> None:
    for message in (done, memoryview(done)):
        with pytest.raises(EncodeError, match=r"^record 2: \[DONE\] would end the stream$"):
            sse.encode([COSTS[0], message])


# Frames


def test_an_empty_frame_is_an_encode_error() -> None:
    with pytest.raises(EncodeError, match=r"^record 2: an empty message is no record$"):
        frames.encode([COSTS[0], b""])


def test_a_message_longer_than_a_frame_can_be_is_an_encode_error() -> None:
    with pytest.raises(EncodeError, match=r"^record 2: 4294967296 bytes are longer than a frame can be$"):
        frames.encode([COSTS[0], bytes(2**32)])  # zeroed pages that nobody touches


def test_the_longest_possible_frame_is_written() -> None:
    class Longest(bytes):
        """As long as it says, without the memory that this takes."""

        def __len__(self) -> int:
            return 2**32 - 1

        def __bytes__(self) -> bytes:
            return self

    assert frames.encode([Longest(b"x")]) == b"\xff\xff\xff\xffx"


# iter_encode and aiter_encode


WRITERS = {
    "iter_encode": lambda framing, items: framing.stream.iter_encode(items),
    "aiter_encode": lambda framing, items: Awaited(framing.stream.aiter_encode(each(items))),
}
both = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@both
def test_each_item_is_one_chunk_and_the_end_follows(framing: Framing, write: Any) -> None:
    message = framing.codec.encode(COSTS[1])
    seen = write(framing, [COSTS[0], message, [COSTS[2], msgspec.Raw(message)], bytearray(message)])
    chunks = [[COSTS[0]], [message], [COSTS[2], message], [message]]
    assert [*seen] == [*map(framing.stream.encode, chunks), *filter(None, [framing.stream.END])]


@both
@pytest.mark.parametrize("items", [[], [[]], [[], []]])
def test_an_item_that_holds_nothing_is_no_chunk(framing: Framing, write: Any, items: Any) -> None:
    assert [*write(framing, items)] == [framing.stream.END] * bool(framing.stream.END)


OF_NO_RECORD: list[Any] = ["{}", 5, {}, None, (COSTS[0],), [[COSTS[0]]], ["{}"]]
UNWRITABLE: list[tuple[Any, type[Exception], str]] = [
    *((bad, TypeError, "expected a record") for bad in OF_NO_RECORD),
    (ChatCompletionResponse(timestamp=datetime(2026, 1, 1)), EncodeError, "timestamp has no offset"),
    (b"", EncodeError, "an? (blank|empty) message"),
    ([b"", b"1"], EncodeError, "an? (blank|empty) message"),
]


@both
@pytest.mark.parametrize(("bad", "error", "text"), UNWRITABLE, ids=repr)
def test_an_item_that_cannot_be_written_is_rejected_with_the_number_of_its_record(
    framing: Framing, write: Any, bad: Any, error: type[Exception], text: str
) -> None:
    seen: list[bytes] = []
    with pytest.raises(error, match=rf"^record 4: {text}"):
        seen.extend(write(framing, [COSTS[0], [], COSTS[1:3], bad, COSTS[0]]))
    assert seen == [framing.stream.encode(COSTS[:1]), framing.stream.encode(COSTS[1:3])]


@both
def test_neither_the_end_nor_an_item_follows_an_exception(framing: Framing, write: Any) -> None:
    def failing() -> Iterator[Any]:
        yield COSTS[0]
        raise ConnectionError

    for items, error in ((failing(), ConnectionError), ([COSTS[0], Envelope(), COSTS[1]], TypeError)):
        chunks = write(framing, items)
        assert next(chunks) == framing.stream.encode(COSTS[:1])
        with pytest.raises(error):
            next(chunks)
        assert list(chunks) == []


@both
def test_each_chunk_comes_before_the_next_item_is_requested_and_its_list_can_be_reused(
    framing: Framing, write: Any
) -> None:
    batch: list[Any] = []
    requested: list[Any] = []

    def source() -> Iterator[list[Any]]:
        for record in [*COSTS, Envelope()]:
            requested.append(record)
            batch[:] = [record]
            yield batch

    chunks = write(framing, source())
    for number, record in enumerate(COSTS, 1):
        assert next(chunks) == framing.stream.encode([record])
        assert requested == COSTS[:number]
        batch.clear()
    with pytest.raises(TypeError, match=r"^record 6: "):
        next(chunks)


@pytest.mark.parametrize(
    "bad", [COSTS, b"{}", "{}", {}, COSTS[0], None, iter(COSTS)], ids=lambda bad: type(bad).__name__
)
def test_items_that_are_not_async_are_rejected_at_once(framing: Framing, bad: Any) -> None:
    message = rf"^expected an async iterable of .*, got {type(bad).__name__}: iter_encode takes others$"
    with pytest.raises(TypeError, match=message):
        framing.stream.aiter_encode(bad)


async def closing(closed: asyncio.Event, *items: Any) -> AsyncIterator[Any]:
    """Yield `items`, wait for ever at an ellipsis, and note when that was closed, which takes it a moment."""
    try:
        for item in items:
            if item is ...:
                await asyncio.Event().wait()
            yield item
    finally:
        await asyncio.sleep(0)
        closed.set()


@pytest.mark.parametrize("read", [None, "aiter_decode", "aiter_batches"])
def test_a_reader_that_leaves_early_closes_the_source_before_it_goes_on(framing: Framing, read: str | None) -> None:
    async def main() -> None:
        closed = asyncio.Event()
        if read is None:
            records = closing(closed, *COSTS)
        else:
            records = getattr(framing.stream, read)(closing(closed, framing.encoded(*COSTS), framing.end))
        chunks: Any = framing.stream.aiter_encode(records)
        await anext(chunks)
        await chunks.aclose()
        assert closed.is_set()

    asyncio.run(main())


def test_an_item_that_cannot_be_written_closes_the_source_too(framing: Framing) -> None:
    async def main() -> None:
        source = closing(closed := asyncio.Event(), Envelope(), *COSTS)
        with pytest.raises(TypeError):
            await anext(framing.stream.aiter_encode(source))
        assert closed.is_set()

    asyncio.run(main())


def test_a_source_that_is_no_generator_can_be_read_further_after_an_error(framing: Framing) -> None:
    class Records:
        def __init__(self) -> None:
            self.items = each([Envelope(), COSTS[0]])

        def __aiter__(self) -> Records:
            return self

        async def __anext__(self) -> Any:
            return await anext(self.items)

    records = Records()
    with pytest.raises(TypeError):
        next(Awaited(framing.stream.aiter_encode(records)))
    rest = Awaited(framing.stream.aiter_encode(records))
    assert b"".join(rest) == framing.stream.encode(COSTS[:1]) + framing.stream.END


def test_cancelling_reaches_the_source(framing: Framing) -> None:
    async def main() -> None:
        chunks = framing.stream.aiter_encode(closing(closed := asyncio.Event(), COSTS[0], ...))
        await anext(chunks)
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert closed.is_set()
        assert [chunk async for chunk in chunks] == []

    asyncio.run(main())
