"""What all three framings promise, `chatcodec.ndjson`, `chatcodec.frames` and `chatcodec.sse`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse, DecodeError, RecordError, StreamError, ValidationError

from .reference import expected
from .support import (
    BOM,
    COSTS,
    EVENTS,
    FRAMES,
    LINES,
    TYPES,
    Framing,
    alarm,
    alarms,
    bad,
    check_growth,
    cut,
    errors_last,
    errors_of,
    outcome,
    outcome_of_callback,
    pieces,
    plain,
    read_stream,
    released_view,
    streams_of,
    texts,
    traced,
)
from .wire import CASES

KIB = 1024
MIB = 1024 * KIB
LONG = ChatCompletionResponse(session_id="s-1", choices=[{"delta": {"content": "x" * 3000}}], cost=0.25)


def test_all_three_have_the_same_names_and_signatures(framing: Framing) -> None:
    readers = {"StreamDecoder", "iter_decode", "aiter_decode", "iter_batches", "aiter_batches"}
    module, lines = framing.stream, LINES.stream
    assert readers | {"encode", "aiter_encode", "KEEP_ALIVE", "END"} <= set(module.__all__) == set(lines.__all__)
    for name in {*module.__all__} - {"KEEP_ALIVE", "END"}:
        ours, others = (inspect.signature(getattr(one, name)).parameters for one in (module, lines))
        assert {*ours} - {*others} <= ({"require_done"} if name in readers else set())
        assert [*ours.values()][: len(others)] == [*others.values()]
        assert getattr(module, name).__doc__


# Any cut


@given(data=st.data(), limit=st.none() | st.integers(1, 60) | st.integers(900, 1100))
def test_any_cut_gives_what_the_specification_says(framing: Framing, type: Any, data: Any, limit: int | None) -> None:
    whole = data.draw(streams_of(framing))
    assume(whole not in (BOM[:1], BOM[:2]))  # too long for the smallest limits, if it is no byte order mark
    places = data.draw(st.lists(st.integers(0, len(whole)), max_size=8))
    buffer = data.draw(st.sampled_from([bytes, bytearray]))
    options: dict[str, Any] = {"type": type, "max_record_bytes": limit}
    if framing is EVENTS:
        options["require_done"] = data.draw(st.booleans())
    seen = outcome(framing, [whole], **options)
    assert seen == expected(framing, whole, **options)
    assert outcome(framing, map(buffer, cut(whole, places)), **options) == seen
    assert outcome(framing, pieces(whole, 1), **options) == seen
    assert outcome_of_callback(framing, cut(whole, places), **options) == errors_last(seen)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_record_of_the_wire_table_reads_the_same_at_every_cut(framing: Framing, case: Any) -> None:
    whole = framing.framed(case.encoded(framing.codec)) * 2
    assert framing.stream.encode([case.record, case.record]) == whole
    for place in range(len(whole) + 1):
        assert outcome(framing, [*cut(whole, [place]), framing.end]) == [case.record] * 2


@pytest.mark.parametrize("size", [100, 1400, 16 * KIB, 64 * KIB, 3 * MIB])
def test_long_streams_of_everything_read_as_the_specification_says(framing: Framing, type: Any, size: int) -> None:
    random = Random(size)
    lengths = [0, 10, 10, 300, 300, 2900, 17_000, 70_000 if size > 100 else 0]
    good = [framing.encoded(ChatCompletionResponse(session_id="x" * length, cost=1.0)) for length in lengths]
    odd = [framing.bad, framing.keep_alive, framing.frame(framing.malformed + b" " * 5000), *framing.pieces[:2]]
    whole = b"".join(random.choice(random.choices([good, good[:3], odd], [20, 40, 1])[0]) for _ in range(500))
    seen = outcome(framing, pieces(whole, size), type=type, max_record_bytes=60_000)
    assert seen == expected(framing, whole, type, 60_000)
    assert len(seen) > 100
    assert outcome(framing, map(bytearray, pieces(whole, size)), type=type, max_record_bytes=60_000) == seen


class Cost(msgspec.Struct):
    cost: float


@pytest.mark.parametrize("type", [Cost, dict[str, Any], list[int], int])
@given(data=st.binary(max_size=60))
def test_a_stream_reads_into_any_type_as_the_codec_reads_a_message(framing: Framing, type: Any, data: bytes) -> None:
    for whole in (data, framing.encoded(*COSTS) + framing.frame(data)):
        assert outcome(framing, [whole], type=type, max_record_bytes=100) == expected(framing, whole, type, 100)


@given(data=st.data())
def test_each_good_record_comes_once_whatever_hooks_raise_drained_or_not(framing: Framing, data: Any) -> None:
    """A StopIteration, which would pass for the end of the records, comes out as a RuntimeError."""
    made: list[float | None] = []
    reported: list[int] = []
    seen: list[Any] = []

    class Hooked(ChatCompletionResponse):
        def __post_init__(self) -> None:
            made.append(self.cost)
            if self.stream:
                raise of_type

    def report(error: RecordError) -> None:
        reported.append(error.index)
        if failure:
            raise failure

    of_type = data.draw(st.sampled_from([KeyError, StopIteration]))
    failure = data.draw(st.sampled_from([None, OSError(), RecordError("malformed", "line", 1, 0, "mine")]))
    on_error = data.draw(st.sampled_from([None, report]))
    drain = data.draw(st.booleans())
    type: Any = data.draw(st.sampled_from([Hooked, Hooked | None]))  # whose hook the outermost type does not show
    kinds = data.draw(st.lists(st.sampled_from("ggghbk"), max_size=80))
    built = [ChatCompletionResponse(cost=float(number), stream=kind == "h") for number, kind in enumerate(kinds)]
    other = {"b": framing.bad, "k": framing.keep_alive}
    whole = b"".join(other.get(kind) or framing.encoded(record) for kind, record in zip(kinds, built, strict=True))
    decoder = framing.stream.StreamDecoder(type, on_error=on_error)

    def ready(call: Callable[..., list[Any]], *chunk: bytes) -> bool:
        try:
            seen.extend(call(*chunk))
        except RecordError as error:
            seen.extend(error.records)
            error.records = []
            return bool(call == decoder.finish)
        except (KeyError, RuntimeError, OSError):
            return False
        return True

    ended = framing is FRAMES or kinds[-1:] in (["b"], ["k"]) or data.draw(st.booleans())
    whole = whole + framing.end if ended else whole.rstrip(b"\n")
    for chunk in cut(whole, data.draw(st.lists(st.integers(0, 2000), max_size=5))):
        done = ready(decoder.feed, chunk)
        while drain and not done:
            done = ready(decoder.feed, b"")
    while not ready(decoder.finish):
        pass
    assert [record.cost for record in seen] == [place for place, kind in enumerate(kinds) if kind == "g"]
    assert made == [place for place, kind in enumerate(kinds) if kind in "gh"]
    if on_error:
        assert reported == [place for place, kind in enumerate(kinds, 1) if kind == "b"]


@given(data=st.data())
def test_bytes_from_a_stream_can_be_framed_again(framing: Framing, data: Any) -> None:
    errors: list[RecordError] = []
    seen = outcome(framing, [data.draw(streams_of(framing))], type=bytes, on_error=errors.append)
    messages = [item for item in seen if isinstance(item, bytes)]
    # Not as the very first bytes, where a message of a byte order mark alone, which is no JSON, would be skipped.
    again = outcome(framing, [framing.keep_alive, framing.stream.encode(messages), framing.end], type=bytes)
    assert [message.rstrip(b"\r") for message in again] == [message.rstrip(b"\r") for message in messages]


# Buffers


def test_chunks_may_be_any_contiguous_buffer(framing: Framing) -> None:
    whole = framing.encoded(*COSTS)
    assert framing.stream.StreamDecoder().feed(memoryview(whole * 2).cast("H")) == COSTS * 2
    for chunk in (bytearray(whole), memoryview(whole), msgspec.Raw(whole), memoryview(whole * 2)[: len(whole)]):
        assert framing.stream.StreamDecoder().feed(chunk) == COSTS


def test_a_record_never_changes_when_the_callers_buffers_do(framing: Framing, type: Any) -> None:
    message = framing.codec.encode(ChatCompletionResponse(choices=[{"a": "b" * 40}]))
    whole = framing.framed(message, message)
    (clean,) = map(plain, framing.stream.StreamDecoder(type).feed(framing.frame(message)))
    for place in range(len(whole) + 1):
        decoder = framing.stream.StreamDecoder(type)
        kept = []
        for chunk in map(bytearray, cut(whole, [place])):
            kept += decoder.feed(memoryview(chunk) if place % 2 else chunk)
            chunk[:] = b"}" * len(chunk)
        assert [plain(record) for record in kept] == [clean] * 2


@pytest.mark.parametrize(
    ("chunk", "error"),
    [("text", TypeError), (5, TypeError), (released_view(), ValueError), (memoryview(b"{} {} ")[::2], BufferError)],
)
def test_a_chunk_that_is_no_contiguous_buffer_is_the_callers_mistake(framing: Framing, chunk: Any, error: Any) -> None:
    decoder = framing.stream.StreamDecoder()
    decoder.feed(framing.bad[:5])
    with pytest.raises(error) as mistake:
        decoder.feed(chunk)
    assert not isinstance(mistake.value, DecodeError)
    with pytest.raises(RecordError) as caught:
        decoder.feed(framing.bad[5:])
    assert (caught.value.index, caught.value.offset) == (1, 0)


# Bad records


def test_a_bad_record_raises_with_the_good_ones_before_it_and_the_next_feed_continues(framing: Framing) -> None:
    one, two, three, four, five = map(framing.encoded, COSTS)
    decoder = framing.stream.StreamDecoder()
    with pytest.raises(RecordError) as first:
        decoder.feed(one + two + framing.bad + three + framing.bad + four)
    assert bad(first.value)[:4] == ("invalid", framing.unit, 3, len(one + two))
    assert (first.value.data, first.value.records) == (framing.invalid, COSTS[:2])
    assert decoder.buffered == len(three + framing.bad + four)
    with pytest.raises(RecordError) as second:
        decoder.feed(five)
    assert (second.value.index, second.value.records) == (5, COSTS[2:3])
    assert decoder.buffered == len(four + five)
    assert decoder.feed(b"") == COSTS[3:]
    assert decoder.buffered == 0
    assert decoder.feed(framing.end) == decoder.finish() == []


@pytest.mark.parametrize("length", [10, 9000])
def test_a_long_buffer_gives_the_same_drained_or_not(framing: Framing, type: Any, length: int) -> None:
    good = framing.encoded(ChatCompletionResponse(session_id="x" * length))
    bad_one = framing.frame(framing.malformed) if type is msgspec.Raw else framing.bad
    for size in (100, 1000, len(good) - 1):
        *first, last = pieces(good, size)
        chunks = [*first, last + bad_one * 3 + good * 2 + bad_one + good, good[:-3], good[-3:], *[b""] * 5, framing.end]
        undrained = read_stream(framing.stream.StreamDecoder(type), chunks, drain=False)
        assert undrained == outcome(framing, chunks, type=type)


def test_an_error_names_its_kind_and_the_codecs_error_is_its_cause(framing: Framing) -> None:
    errors: list[RecordError] = []
    decoder = framing.stream.StreamDecoder(max_record_bytes=40, on_error=errors.append)
    decoder.feed(framing.framed(framing.malformed, framing.invalid, b"x" * 50))
    assert [error.kind for error in errors] == ["malformed", "invalid", "too_long"]
    assert [type(error.__cause__) for error in errors] == [DecodeError, ValidationError, type(None)]
    assert all(error.__context__ in (None, error.__cause__) for error in errors)
    for error, message in zip(errors, (framing.malformed, framing.invalid), strict=False):
        with pytest.raises(DecodeError) as caught:
            framing.codec.decode(message)
        assert error.reason == str(caught.value)


@pytest.mark.parametrize("message", [b'{"sessionId":"', b'{"cost":1} ', b"\xa9"])
@pytest.mark.parametrize("length", [10, 3000, 70_000])
def test_a_reason_depends_on_neither_the_cut_nor_earlier_records(framing: Framing, message: Any, length: int) -> None:
    whole = framing.frame(message + b"x" * length)
    (alone, *_) = errors_of(outcome(framing, [whole]))
    for before in (framing.bad, framing.good, framing.keep_alive * 600):
        for size in (1000, 20_000, len(before + whole)):
            *_, error = errors_of(outcome(framing, [*pieces(before + whole, size), framing.end]))
            assert (error.reason, error.offset, error.data) == (alone.reason, len(before), alone.data)


def test_the_constants_are_the_keep_alive_and_the_end_that_readers_skip(framing: Framing) -> None:
    good, idle, end = framing.good, framing.stream.KEEP_ALIVE, framing.stream.END
    assert (idle, end) == (framing.keep_alive, framing.end)
    for whole in (b"", idle * 3, end, idle * 2 + good + idle + framing.bad + idle + good + end + idle):
        wanted = expected(framing, whole, ChatCompletionResponse)
        assert outcome(framing, [whole]) == outcome(framing, pieces(whole, 1)) == wanted


def test_a_record_error_that_on_error_raises_carries_the_records_of_the_call(framing: Framing) -> None:
    failure = RecordError("malformed", "line", 1, 0, "mine")

    def fail(_: RecordError) -> None:
        raise failure

    decoder = framing.stream.StreamDecoder(on_error=fail)
    with pytest.raises(RecordError) as caught:
        decoder.feed(framing.encoded(*COSTS[:2]) + framing.bad + framing.encoded(*COSTS[2:]))
    assert caught.value is failure
    assert failure.records == COSTS[:2]
    assert decoder.feed(b"") == COSTS[2:]


@alarms
def test_no_record_is_lost_or_repeated_when_a_signal_handler_raises(framing: Framing, kind: Any) -> None:
    """The exception surfaces when a call of C code returns, and all its records are decoded."""
    long = framing.encoded(ChatCompletionResponse(choices=[{"a": [1] * 70_000}]))
    for parts, times in (([framing.good], 300_000), ([framing.good] * 20 + [framing.keep_alive], 5_000), ([long], 80)):
        chunk = b"".join(parts) * times
        for _ in range(3):
            decoder = framing.stream.StreamDecoder()
            with pytest.raises(kind), alarm(kind):
                decoder.feed(chunk)
            assert len(decoder.feed(b"")) == times * (len(parts) - parts.count(framing.keep_alive))
            with pytest.raises(RecordError) as caught:
                decoder.feed(framing.bad)
            assert (caught.value.index, caught.value.offset) == (times * len(parts) + 1, len(chunk))


# The end of a stream


def test_finish_makes_the_decoder_ready_for_a_new_stream(framing: Framing) -> None:
    decoder = framing.stream.StreamDecoder()
    for tail in [framing.end, framing.bad * 2 + framing.end, framing.bad[:-4]] * 3:
        whole = framing.encoded(*COSTS) + tail
        assert read_stream(decoder, [whole], drain=False) == outcome(framing, [whole])


def test_finish_without_draining_raises_the_stream_error_or_the_first_bad_record(framing: Framing) -> None:
    whole = framing.bad + framing.encoded(*COSTS[:2]) + framing.bad + framing.encoded(*COSTS[2:]) + framing.bad
    for tail, kind, index in ((framing.end, RecordError, 4), (framing.bad[:-4], StreamError, 9)):
        decoder = framing.stream.StreamDecoder()
        with pytest.raises(RecordError):
            decoder.feed(whole + tail)
        with pytest.raises(kind) as caught:
            decoder.finish()
        assert (type(caught.value), caught.value.index, caught.value.records) == (kind, index, COSTS)
        assert decoder.buffered == 0


def test_a_last_record_without_its_end_counts_if_it_decodes_and_is_incomplete_if_not(framing: Framing) -> None:
    text = b'{"sessionId":"\xff"}'
    rows = [(ChatCompletionResponse, b"{}"), (ChatCompletionResponse, framing.invalid), (msgspec.Raw, b'{"co')]
    for type, message in [*rows, *((bytes, message) for message in (b"5", text, framing.invalid, b'{"co'))]:
        framed = framing.good + framing.frame(message)
        for whole in (framed.rstrip(b"\n"), framed.rstrip(b"\n") + b"\r", framed[:-3]):
            assert outcome(framing, [whole], type=type) == expected(framing, whole, type)


# The limit


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_rejected(framing: Framing, limit: int) -> None:
    with pytest.raises(ValueError, match=f"max_record_bytes is {limit}"):
        framing.stream.StreamDecoder(max_record_bytes=limit)


def test_the_limit_is_16_mib_by_default_and_none_with_none(framing: Framing) -> None:
    around = 7 if framing is EVENTS else 0  # of an event its lines count, with their names and ends
    longest = b"x" * (16 * MIB - around)
    assert framing.stream.StreamDecoder(bytes).feed(framing.frame(longest)) == [longest]
    with pytest.raises(RecordError) as caught:
        framing.stream.StreamDecoder(bytes).feed(framing.frame(longest + b"x"))
    assert (caught.value.kind, "16777216" in caught.value.reason) == ("too_long", True)
    unlimited = framing.stream.StreamDecoder(bytes, max_record_bytes=None)
    assert unlimited.feed(framing.frame(longest + b"x")) == [longest + b"x"]


@pytest.mark.parametrize("length", [60, 20_000])
@pytest.mark.parametrize("before", [0, 1, 100])
def test_whether_a_record_is_too_long_never_depends_on_the_cut(framing: Framing, length: int, before: int) -> None:
    message = framing.codec.encode(ChatCompletionResponse(session_id="x" * length))
    limit = len(message) + (7 if framing is EVENTS else 0)
    whole = framing.good * before + framing.frame(message) + framing.good
    for over in (0, 1):
        wanted = expected(framing, whole, ChatCompletionResponse, limit - over)
        assert [error.kind for error in errors_of(wanted) if error.offset < len(whole)] == ["too_long"] * over
        for size in (len(whole), 1400, len(framing.good) * before + len(message), length // 3):
            assert outcome(framing, pieces(whole, size), max_record_bytes=limit - over) == wanted


@texts
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, None])
def test_a_byte_order_mark_is_skipped_at_the_very_start_alone_and_never_too_long(framing: Framing, limit: Any) -> None:
    record = framing.frame(b"1")
    for whole in (BOM, BOM + record * 2, BOM * 2 + record, record + BOM + record, BOM[:2] + record, BOM[:1]):
        for place in range(len(whole)):
            seen = outcome(framing, cut(whole, [place]), max_record_bytes=limit)
            assert seen == expected(framing, whole, ChatCompletionResponse, limit)


def test_a_record_that_is_too_long_is_reported_as_soon_as_it_is_known_and_skipped_unbuffered(framing: Framing) -> None:
    head, last = (b"\0\0\x27", b"\x10") if framing is FRAMES else (b"data: " + b"x" * (1000 - 6), b"x")
    decoder = framing.stream.StreamDecoder(max_record_bytes=1000)
    decoder.feed(framing.good)
    assert [record for byte in pieces(head, 1) for record in decoder.feed(byte)] == []
    with pytest.raises(RecordError) as caught:
        decoder.feed(last)
    assert bad(caught.value)[:4] == ("too_long", framing.unit, 2, len(framing.good))
    for piece in (b"", *pieces(b"x" * 10_000, 100)):
        assert decoder.feed(piece) == []
        assert decoder.buffered == 0
    assert decoder.feed({LINES: b"\n", FRAMES: b"", EVENTS: b"\n\n"}[framing] + framing.encoded(*COSTS)) == COSTS


# Memory


@pytest.mark.parametrize("type", TYPES[1:], ids=lambda record: record.__name__)
@pytest.mark.parametrize("size", [1400, 64 * KIB, 3 * MIB])
def test_a_kept_view_keeps_its_own_record_alive_and_not_its_chunk(framing: Framing, type: Any, size: int) -> None:
    def keep_some() -> list[Any]:
        decoder = framing.stream.StreamDecoder(type)
        kept: list[Any] = []
        for start in range(0, len(whole), size):
            kept += decoder.feed(bytes(memoryview(whole)[start : start + size]))[:1]
        return kept

    for record in (LONG, ChatCompletionResponse(choices=[{"delta": "x" * 500}])):
        message = framing.codec.encode(record)
        whole = framing.frame(message) * (max(2 * size, 20_000) // len(message) + 1)
        count = len(keep_some())
        assert count > 0
        # The least of three: other threads of the tests may allocate meanwhile.
        assert min(traced(keep_some)[0] for _ in range(3)) < count * (1.2 * len(message) + 500) + 4000


def test_the_unfinished_record_alone_is_buffered(framing: Framing, type: Any) -> None:
    whole = framing.encoded(LONG)

    def feed() -> Any:
        decoder = framing.stream.StreamDecoder(type)
        decoder.feed(whole[:-200])
        for _ in range(3):
            decoder.feed(whole[-200:] + whole * 300 + whole[:-200])
            assert decoder.buffered == len(whole) - 200
        return decoder

    feed()
    assert traced(feed)[0] < 3 * len(whole) + 5400


def test_a_buffer_that_is_never_drained_keeps_no_decoded_bytes(framing: Framing) -> None:
    def feed() -> Any:
        decoder = framing.stream.StreamDecoder(bytes, max_record_bytes=5000)
        for _ in range(50):
            with pytest.raises(RecordError):
                decoder.feed(framing.encoded(LONG) * 10 + framing.frame(b"x" * 6000))
        return decoder

    assert traced(feed)[0] < 100_000


def test_an_unfinished_record_in_tiny_pieces_takes_no_more_memory_than_its_bytes(framing: Framing) -> None:
    whole = framing.encoded(ChatCompletionResponse(session_id="x" * 20_000))

    def feed() -> Any:
        decoder = framing.stream.StreamDecoder()
        for at in range(0, len(whole) - 2, 2):
            decoder.feed(whole[at : at + 2])
        assert decoder.buffered > 20_000
        return decoder

    assert traced(feed)[0] < 1.3 * len(whole)


@pytest.mark.parametrize("size", [KIB, 64 * KIB, MIB])
def test_a_record_without_end_takes_bounded_memory(framing: Framing, size: int) -> None:
    errors: list[RecordError] = []
    piece = b"x" * size

    def read() -> None:
        decoder = framing.stream.StreamDecoder(max_record_bytes=MIB, on_error=errors.append)
        decoder.feed(b"\xff\xff\xff\xff" if framing is FRAMES else b"data: ")
        for _ in range(8 * MIB // size):
            assert decoder.feed(piece) == []
            assert decoder.buffered <= MIB

    assert traced(read)[1] < 5 * MIB
    assert [(error.kind, error.index, error.offset) for error in errors] == [("too_long", 1, 0)]


def test_a_kept_error_keeps_no_chunk_alive(framing: Framing) -> None:
    def read() -> Any:
        errors: list[RecordError] = []
        decoder = framing.stream.StreamDecoder(on_error=errors.append)
        for _ in range(20):
            decoder.feed(bytes(bytearray(framing.bad + framing.encoded(LONG) * 100)))
        assert len(errors) == 20
        return errors

    read()
    assert traced(read)[0] < 100_000


# Growth


def large(framing: Framing, size: int) -> bytes:
    return framing.encoded(ChatCompletionResponse(session_id="x" * size))


def cut_before_the_last_byte(framing: Framing, size: int) -> list[bytes]:
    whole = framing.good.replace(b"\n", b"\r\n" if framing is not FRAMES else b"\n")
    return [whole[:-1], whole[-1:]] * size


CHUNKS: dict[str, tuple[int, Callable[[Framing, int], list[Any]]]] = {
    "a record a byte at a time": (4000, lambda framing, size: pieces(large(framing, size), 1)),
    "a record in mutable pieces": (4000, lambda framing, size: [*map(bytearray, pieces(large(framing, size), 1))]),
    "a record in pieces of 100 bytes": (2000, lambda framing, size: pieces(large(framing, 100 * size), 100)),
    "records a byte at a time": (250, lambda framing, size: pieces(framing.good * size, 1)),
    "records cut before their last byte": (1000, cut_before_the_last_byte),
    "long records cut at their ends": (10, lambda framing, size: pieces(framing.encoded(LONG), 27) * size),
    "records in one chunk": (2000, lambda framing, size: [framing.good * size]),
    "bad records in one chunk": (300, lambda framing, size: [framing.bad * size]),
    "many good records and a bad one": (40, lambda framing, size: [(framing.good * 50 + framing.bad) * size]),
    "bad records a byte at a time": (100, lambda framing, size: pieces(framing.bad * size, 1)),
    "keep-alives in one chunk": (500, lambda framing, size: [framing.keep_alive * size]),
    "keep-alives a byte at a time": (400, lambda framing, size: pieces(framing.keep_alive * size, 1)),
    "keep-alives and records": (300, lambda framing, size: [(framing.good + framing.keep_alive) * size]),
    "a record without end": (2000, lambda _, size: [b"\x7f\0\0\0" * 10] * size),
    "a record of carriage returns": (4000, lambda framing, size: [framing.frame(b"")[:4], *[b"\r"] * size]),
    "empty chunks inside a record": (2000, lambda framing, size: [framing.good[:7], *[b""] * size]),
    "records too long by a byte": (300, lambda framing, size: [framing.frame(b"x" * 101) * size]),
}


@pytest.mark.parametrize("limit", [None, 100])
@pytest.mark.parametrize("name", CHUNKS)
def test_cost_grows_linearly_with_the_bytes(framing: Framing, name: str, limit: int | None) -> None:
    size, chunks_of = CHUNKS[name]

    def make(scale: int) -> Callable[[], object]:
        chunks = chunks_of(framing, scale)
        return lambda: outcome(framing, chunks, max_record_bytes=limit)

    check_growth(make, size)


def test_errors_that_are_not_drained_cost_no_more_than_drained_ones(framing: Framing) -> None:
    def make(size: int) -> Callable[[], object]:
        return lambda: read_stream(framing.stream.StreamDecoder(), [framing.bad * 2] * size, drain=False)

    check_growth(make, 100)
