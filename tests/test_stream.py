"""What both streams promise, `chatcodec.ndjson` and `chatcodec.frames`: the same names, the same behaviour."""

from __future__ import annotations

import gc
import inspect
import itertools
import sys
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import chatcodec
from chatcodec import (
    ChatCompletionResponse,
    DecodeError,
    Envelope,
    RecordError,
    frames,
    json,
    msgpack,
    ndjson,
    sse,
)

from .wire import CASES, STREAMS, hostile, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

streams = pytest.mark.parametrize(("stream", "codec"), STREAMS, ids=["ndjson", "frames"])
TYPES = [ChatCompletionResponse, Envelope, msgspec.Raw, bytes]
KEEP_ALIVE = {ndjson: b"\n", frames: b"\0\0\0\0"}
BAD = {ndjson: b'{"cost":"x"}', frames: b"\x81\xa4cost\xa1x"}
COSTS = [ChatCompletionResponse(cost=float(number)) for number in range(1, 6)]


def plain(record: Any) -> Any:
    """Turn a record of any type into something that compares by its bytes."""
    if isinstance(record, Envelope):
        return [getattr(record, name) for name in record.__struct_fields__ if name != "choices"], bytes(record.choices)
    return bytes(record) if isinstance(record, msgspec.Raw) else record


def told(error: RecordError) -> tuple[Any, ...]:
    """Turn an error into what a user sees of it, but for the records before it."""
    return "bad", error.unit, error.index, error.offset, error.reason, error.data, str(error)


def outcome(stream: ModuleType, chunks: Iterable[Any], **options: Any) -> list[Any]:
    """Decode `chunks` with a decoder that raises; return records and errors in their order."""
    decoder = stream.StreamDecoder(**options)
    seen: list[Any] = []

    def drain(call: Callable[[], list[Any]]) -> None:
        while True:
            try:
                seen.extend(map(plain, call()))
                return
            except RecordError as error:
                seen.extend(map(plain, error.records))
                seen.append(told(error))
                call = lambda: decoder.feed(b"")

    for chunk in chunks:
        drain(lambda: decoder.feed(chunk))
    drain(decoder.finish)
    assert decoder.buffered == 0
    return seen


def outcome_of_callback(stream: ModuleType, chunks: Iterable[Any], **options: Any) -> list[Any]:
    """Decode `chunks` with a decoder that calls back; return the records, then the errors."""
    errors: list[Any] = []
    decoder = stream.StreamDecoder(on_error=lambda error: errors.append(told(error)), **options)
    seen = [record for chunk in chunks for record in decoder.feed(chunk)] + decoder.finish()
    return [*map(plain, seen), *errors]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut `data` at `places`."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


def sorted_out(seen: list[Any]) -> list[Any]:
    """Return the records, then the errors."""
    return sorted(seen, key=lambda item: isinstance(item, tuple) and item[0] == "bad")


@st.composite
def streams_of(draw: st.DrawFn, stream: ModuleType, codec: ModuleType) -> bytes:
    """Draw a stream of good and bad records and keep-alives, or of anything."""
    pieces = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.integers(0, 5))
        if kind == 0:
            pieces.append(KEEP_ALIVE[stream])
        elif kind == 1:
            pieces.append(draw(st.binary(max_size=12)))
        else:
            message = draw(hostile(codec)) if kind == 2 else codec.encode(draw(records))
            pieces.append(frame(stream, message, draw(st.sampled_from([b"\n", b"\r\n", b" \t\r\n"]))))
    whole = b"".join(pieces)
    return (
        draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) * (stream is ndjson)
        + whole[: draw(st.integers(0, len(whole) + 5))]
    )


def frame(stream: ModuleType, message: bytes, end: bytes = b"\n") -> bytes:
    """Frame a message as it is, good or bad."""
    return message + end if stream is ndjson else len(message).to_bytes(4, "big") + message


def framed(stream: ModuleType, *messages: bytes) -> bytes:
    """Frame messages as they are, good or bad."""
    return b"".join(frame(stream, message) for message in messages)


# The first promise: how a stream is cut never matters.


@streams
@pytest.mark.parametrize("type", TYPES)
@settings(max_examples=150)
@given(data=st.data(), limit=st.one_of(st.none(), st.integers(1, 60)))
def test_any_cut_gives_the_same_records_and_errors(
    stream: ModuleType, codec: ModuleType, type: Any, data: Any, limit: int | None
) -> None:
    whole = data.draw(streams_of(stream, codec))
    places = data.draw(st.lists(st.integers(0, len(whole)), max_size=8))
    options = {"type": type, "max_record_bytes": limit}
    expected = outcome(stream, [whole], **options)
    assert outcome(stream, cut(whole, places), **options) == expected
    assert outcome(stream, [whole[at : at + 1] for at in range(len(whole))], **options) == expected
    assert outcome_of_callback(stream, cut(whole, places), **options) == sorted_out(expected)


@streams
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_record_of_the_table_streams_whatever_the_cut(stream: ModuleType, codec: ModuleType, case: Any) -> None:
    whole = framed(stream, case.encoded(codec)) * 2
    assert stream.encode([case.record, case.record]) == whole
    for place in range(len(whole) + 1):
        assert outcome(stream, cut(whole, [place])) == [case.record] * 2


@streams
@pytest.mark.parametrize("buffer", [bytes, bytearray])
def test_a_stream_longer_than_a_batch_is_decoded_whole(stream: ModuleType, codec: ModuleType, buffer: Any) -> None:
    many = [ChatCompletionResponse(cost=float(number), session_id="x" * (number % 50)) for number in range(3000)]
    whole = stream.encode(many)
    for size in (len(whole), 65536, 1400, 100):
        chunks = [buffer(whole[at : at + size]) for at in range(0, len(whole), size)]
        assert outcome(stream, chunks) == many
        assert outcome(stream, chunks, type=bytes) == list(map(codec.encode, many))


@streams
def test_records_longer_than_a_batch_are_decoded(stream: ModuleType, codec: ModuleType) -> None:
    many = [ChatCompletionResponse(session_id="x" * length) for length in (16000, 17000, 40000, 5, 100_000)]
    whole = stream.encode(many)
    for size in (len(whole), 65536, 1400):
        assert outcome(stream, [whole[at : at + size] for at in range(0, len(whole), size)]) == many


# Types


@streams
def test_a_type_of_the_users_is_decoded_into(stream: ModuleType, codec: ModuleType) -> None:
    class Cost(msgspec.Struct):
        cost: float

    assert stream.StreamDecoder(Cost).feed(stream.encode(COSTS)) == [Cost(float(number)) for number in range(1, 6)]


@streams
def test_bytes_are_the_messages_as_they_came_good_or_bad(stream: ModuleType, codec: ModuleType) -> None:
    messages = [codec.encode(COSTS[0]), b"no message", codec.encode(COSTS[1])]
    assert stream.StreamDecoder(bytes).feed(framed(stream, *messages)) == messages


@streams
def test_raw_is_a_view_whose_syntax_was_checked(stream: ModuleType, codec: ModuleType) -> None:
    whole = framed(stream, BAD[stream], BAD[stream][:-1])
    assert outcome(stream, [whole], type=msgspec.Raw)[0] == BAD[stream]
    assert outcome(stream, [whole], type=msgspec.Raw)[1][2] == 2


@streams
@pytest.mark.parametrize("type", [Envelope, msgspec.Raw, bytes])
@pytest.mark.parametrize("buffer", [bytearray, lambda data: memoryview(bytearray(data))])
def test_a_view_never_changes_under_its_reader(stream: ModuleType, codec: ModuleType, type: Any, buffer: Any) -> None:
    whole = stream.encode([ChatCompletionResponse(choices=[{"a": "b" * 40}])])
    chunk = buffer(whole)
    (record,) = stream.StreamDecoder(type).feed(chunk)
    before = plain(record)
    chunk[:] = b"x" * len(chunk)
    assert plain(record) == before


@streams
def test_chunks_of_any_buffer_are_taken(stream: ModuleType, codec: ModuleType) -> None:
    whole = stream.encode(COSTS)
    pairs = memoryview(whole * 2).cast("H")
    assert len(pairs) == len(whole)
    assert stream.StreamDecoder().feed(pairs) == COSTS * 2
    for chunk in (
        bytearray(whole),
        memoryview(whole),
        msgspec.Raw(whole),
        memoryview(whole + whole)[: len(whole)],
    ):
        assert stream.StreamDecoder().feed(chunk) == COSTS


@streams
@pytest.mark.parametrize("chunk", ["text", 5, None, [1]])
def test_what_has_no_buffer_is_a_type_error_and_changes_nothing(
    stream: ModuleType, codec: ModuleType, chunk: Any
) -> None:
    decoder = stream.StreamDecoder()
    with pytest.raises(TypeError):
        decoder.feed(chunk)
    assert decoder.feed(stream.encode(COSTS)) == COSTS


# Errors


@streams
def test_without_on_error_a_bad_record_raises_and_the_stream_goes_on(stream: ModuleType, codec: ModuleType) -> None:
    good = [stream.encode([record]) for record in COSTS]
    bad = framed(stream, BAD[stream])
    decoder = stream.StreamDecoder()
    with pytest.raises(RecordError) as first:
        decoder.feed(good[0] + good[1] + bad + good[2] + bad + good[3])
    assert (first.value.index, first.value.offset) == (3, len(good[0] + good[1]))
    assert (first.value.data, first.value.records) == (BAD[stream], COSTS[:2])
    assert decoder.buffered == len(good[2] + bad + good[3])
    with pytest.raises(RecordError) as second:
        decoder.feed(good[4])
    assert (second.value.index, second.value.records) == (5, COSTS[2:3])
    assert decoder.buffered == len(good[3] + good[4])
    assert decoder.feed(b"") == COSTS[3:]
    assert decoder.buffered == 0
    assert decoder.finish() == []


@streams
def test_with_on_error_it_is_told_and_the_stream_goes_on(stream: ModuleType, codec: ModuleType) -> None:
    errors: list[RecordError] = []
    decoder = stream.StreamDecoder(on_error=errors.append)
    bad = framed(stream, BAD[stream])
    assert decoder.feed(bad + stream.encode(COSTS[:2]) + bad + stream.encode(COSTS[2:])) == COSTS
    assert [(error.index, error.records) for error in errors] == [(1, []), (4, [])]
    assert all(type(error.__cause__) is chatcodec.ValidationError for error in errors)
    assert all(error.__traceback__ is None for error in errors)


@streams
def test_keep_alives_are_skipped_and_counted(stream: ModuleType, codec: ModuleType) -> None:
    alive = KEEP_ALIVE[stream]
    whole = (
        alive * 2 + stream.encode(COSTS[:1]) + alive + framed(stream, BAD[stream]) + stream.encode(COSTS[1:2]) + alive
    )
    seen = outcome(stream, [whole])
    assert [seen[0], seen[2]] == COSTS[:2]
    assert seen[1][2] == 5


@streams
@pytest.mark.parametrize("failure", [KeyError("stop"), RecordError("malformed", "line", 1, 2, "again")])
def test_what_on_error_raises_comes_out_and_loses_nothing(
    stream: ModuleType, codec: ModuleType, failure: Exception
) -> None:
    def fail(_: RecordError) -> None:
        raise failure

    decoder = stream.StreamDecoder(on_error=fail)
    with pytest.raises(type(failure)) as caught:
        decoder.feed(stream.encode(COSTS[:2]) + framed(stream, BAD[stream]) + stream.encode(COSTS[2:]))
    assert caught.value is failure
    assert getattr(failure, "records", []) + decoder.feed(b"") == COSTS


@streams
def test_what_the_users_type_raises_comes_out_and_the_stream_goes_on(stream: ModuleType, codec: ModuleType) -> None:
    class Odd(msgspec.Struct):
        cost: float

        def __post_init__(self) -> None:
            if self.cost == 2:
                message = "not a ValueError"
                raise KeyError(message)

    decoder = stream.StreamDecoder(Odd)
    with pytest.raises(KeyError):
        decoder.feed(stream.encode(COSTS))
    assert [record.cost for record in decoder.feed(b"")] == [1, 3, 4, 5]


@streams
def test_the_data_of_an_error_is_its_first_kibibyte(stream: ModuleType, codec: ModuleType) -> None:
    bad = BAD[stream] + b" " * 5000
    ((*_, data, _),) = outcome(stream, [framed(stream, bad)])
    assert data == bad[:1024]
    ((*_, data, _),) = outcome(stream, [framed(stream, BAD[stream])], max_record_bytes=len(BAD[stream]))
    assert data == BAD[stream]


@streams
def test_a_kept_error_keeps_no_chunk_alive(stream: ModuleType, codec: ModuleType) -> None:
    kept: list[RecordError] = []
    decoder = stream.StreamDecoder(on_error=kept.append)
    chunk = framed(stream, BAD[stream]) + stream.encode([ChatCompletionResponse(session_id="x" * 100_000)])
    tracemalloc.start()
    try:
        for _ in range(20):
            decoder.feed(bytes(bytearray(chunk)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == 20
    assert held < len(chunk)


@streams
def test_behind_a_bad_record_that_came_in_pieces_only_the_rest_is_held(stream: ModuleType, codec: ModuleType) -> None:
    bad, rest = framed(stream, BAD[stream]), stream.encode(COSTS)
    decoder = stream.StreamDecoder()
    assert decoder.feed(bad[:5]) == []
    with pytest.raises(RecordError):
        decoder.feed(bad[5:] + rest)
    assert decoder.buffered == len(rest)
    assert decoder.feed(b"") == COSTS


@streams
def test_what_is_held_can_be_asked_for_in_on_error_too(stream: ModuleType, codec: ModuleType) -> None:
    held: list[int] = []

    def look(_: RecordError) -> None:
        held.append(decoder.buffered)
        if len(held) == 1:
            raise KeyError

    decoder = stream.StreamDecoder(on_error=look)
    bad = framed(stream, BAD[stream])
    with pytest.raises(KeyError):
        decoder.feed(bad * 3)
    decoder.finish()
    assert held == [len(bad) * 2, len(bad), 0]


# finish


@streams
def test_finish_makes_the_decoder_new(stream: ModuleType, codec: ModuleType) -> None:
    decoder = stream.StreamDecoder()
    bad = framed(stream, BAD[stream])
    for _ in range(2):
        assert decoder.feed(stream.encode(COSTS)) == COSTS
        assert decoder.finish() == []
        with pytest.raises(RecordError) as caught:
            decoder.feed(bad)
        assert (caught.value.index, caught.value.offset) == (1, 0)
        decoder.feed(bad[:3])
        with pytest.raises(RecordError) as caught:
            decoder.finish()
        assert (caught.value.index, caught.value.offset) == (2, len(bad))
        assert decoder.buffered == 0


@streams
def test_finish_calls_on_error_too(stream: ModuleType, codec: ModuleType) -> None:
    errors: list[RecordError] = []
    decoder = stream.StreamDecoder(on_error=errors.append)
    assert decoder.feed(stream.encode(COSTS) + BAD[stream][:6]) == COSTS
    assert decoder.finish() == []
    assert [error.index for error in errors] == [6]


@streams
def test_finish_behind_an_error_that_was_not_drained_loses_no_record(stream: ModuleType, codec: ModuleType) -> None:
    bad = framed(stream, BAD[stream])
    decoder = stream.StreamDecoder()
    with pytest.raises(RecordError):
        decoder.feed(bad + stream.encode(COSTS[:2]) + bad + stream.encode(COSTS[2:]) + BAD[stream][:6])
    with pytest.raises(RecordError) as caught:
        decoder.finish()
    assert (caught.value.index, caught.value.records) == (4, COSTS)
    assert decoder.feed(stream.encode(COSTS)) == COSTS


# Bounds


@streams
@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(stream: ModuleType, codec: ModuleType, limit: int) -> None:
    message = f"^max_record_bytes is {limit}, and must be 1 or more, or None for no limit$"
    with pytest.raises(ValueError, match=message):
        stream.StreamDecoder(max_record_bytes=limit)


@streams
def test_the_limit_is_16_mib_unless_told(stream: ModuleType, codec: ModuleType) -> None:
    longest = b"x" * 2**24
    assert stream.StreamDecoder(bytes).feed(framed(stream, longest)) == [longest]
    with pytest.raises(RecordError, match="limit of 16777216"):
        stream.StreamDecoder(bytes).feed(framed(stream, longest + b"x"))


@streams
@given(place=st.integers(0, 200), over=st.integers(-1, 1), filler=st.booleans())
def test_whether_a_record_is_too_long_never_depends_on_the_cut(
    stream: ModuleType, codec: ModuleType, place: int, over: int, filler: bool
) -> None:
    message = codec.encode(ChatCompletionResponse(session_id="x" * 60))
    whole = framed(stream, *([codec.encode(COSTS[0])] * filler), message, codec.encode(COSTS[1]))
    limit = len(message) - over
    seen = outcome(stream, cut(whole, [place]), max_record_bytes=limit)
    assert len(seen) == 2 + filler
    assert (seen[filler] == codec.decode(message)) is (over < 1)
    if over == 1:
        assert seen[filler][2] == 1 + filler
        assert f"limit of {limit}" in seen[filler][4]


@streams
def test_a_long_record_is_told_as_soon_as_it_is_known_and_never_held(stream: ModuleType, codec: ModuleType) -> None:
    decoder = stream.StreamDecoder(max_record_bytes=1000)
    piece = b"x" * 100
    start = piece if stream is ndjson else (10_000).to_bytes(4, "big")
    told_after = 0
    try:
        decoder.feed(start)
        for told_after in range(1, 100):  # noqa: B007
            decoder.feed(piece)
            assert decoder.buffered <= 1000
    except RecordError as error:
        assert (error.index, error.offset) == (1, 0)
    assert told_after == (10 if stream is ndjson else 0)
    for _ in range(100 - told_after - (stream is ndjson)):
        assert decoder.feed(piece) == []
        assert decoder.buffered == 0
    assert decoder.feed((b"\n" if stream is ndjson else b"") + stream.encode(COSTS)) == COSTS


@streams
@pytest.mark.parametrize("type", [ChatCompletionResponse, bytes])
def test_a_long_record_behind_good_ones_in_a_chunk_is_not_held_either(
    stream: ModuleType, codec: ModuleType, type: Any
) -> None:
    decoder = stream.StreamDecoder(type, max_record_bytes=30)
    good = stream.encode(COSTS[:1])
    long = b"x" * 5000 if stream is ndjson else b"\0\0\x20\0" + b"x" * 5000
    expected = [codec.encode(COSTS[0])] if type is bytes else COSTS[:1]
    assert decoder.feed(good + good[:3]) == decoder.feed(good[3:]) == expected
    with pytest.raises(RecordError) as caught:
        decoder.feed(good + long)
    assert (caught.value.index, caught.value.offset, caught.value.records) == (4, 3 * len(good), expected)
    assert decoder.buffered <= 5000
    decoder.feed(b"")
    assert decoder.buffered == 0


@streams
def test_a_long_record_that_the_stream_ends_in_is_one_bad_record(stream: ModuleType, codec: ModuleType) -> None:
    whole = b"x" * 50 if stream is ndjson else b"\0\0\0\x64" + b"x" * 50
    assert len(outcome(stream, [whole], max_record_bytes=10)) == 1


@streams
def test_there_is_no_limit_with_none(stream: ModuleType, codec: ModuleType) -> None:
    record = ChatCompletionResponse(session_id="x" * (16 * 1024 * 1024))
    whole = stream.encode([record])
    assert len(outcome(stream, [whole])[0]) == 7  # an error: a longer record than the reader's limit can be written
    assert outcome(stream, [whole], max_record_bytes=None) == [record]


@pytest.mark.parametrize("stream", [ndjson, frames, sse])
def test_memory_is_that_of_the_unfinished_record_also_in_tiny_pieces(stream: ModuleType) -> None:
    whole = stream.encode([ChatCompletionResponse(session_id="x" * 200_000)])
    decoder = stream.StreamDecoder()
    tracemalloc.start()
    try:
        for at in range(0, len(whole) - 2, 2):
            decoder.feed(whole[at : at + 2])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decoder.buffered > 200_000
    assert held < 1.3 * decoder.buffered


@streams
@pytest.mark.parametrize("buffer", [bytes, bytearray])
def test_what_is_held_is_not_copied_for_every_piece(stream: ModuleType, codec: ModuleType, buffer: Any) -> None:
    whole = stream.encode([ChatCompletionResponse(session_id="x" * 1_000_000)])
    decoder = stream.StreamDecoder()
    decoder.feed(buffer(whole[:500_000]))
    copies = 0
    tracemalloc.start()
    try:
        for at in range(500_000, 502_000, 100):
            piece = buffer(whole[at : at + 100])
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            decoder.feed(piece)
            _, most = tracemalloc.get_traced_memory()
            copies += most - before > 400_000
    finally:
        tracemalloc.stop()
    assert decoder.buffered == 502_000
    assert copies <= 2


def work(run: Callable[[], object]) -> Counter[str]:
    """Count the calls that `run` makes, into Python and into C, by name.

    A collection would count too, with the callbacks and finalizers of whatever else is in the process.
    """
    calls: Counter[str] = Counter()

    def count(_: Any, event: str, function: Any) -> None:
        if event in ("call", "c_call"):
            calls[function.__name__ if event == "c_call" else event] += 1

    gc.disable()
    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


@streams
@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize("buffer", [bytes, bytearray])
def test_work_grows_linearly_when_a_record_arrives_in_pieces(
    stream: ModuleType, codec: ModuleType, buffer: Any, size: int
) -> None:
    def take(length: int) -> Counter[str]:
        whole = stream.encode([ChatCompletionResponse(session_id="x" * length)])
        decoder = stream.StreamDecoder()
        pieces = [buffer(whole[at : at + size]) for at in range(0, len(whole), size)]
        return work(lambda: [decoder.feed(piece) for piece in pieces])

    one, two = take(20_000), take(40_000)
    assert sum(two.values()) < 2.1 * sum(one.values())
    # The pieces are put together when the last one is there; a frame's also when its length is.
    assert one["join"] == two["join"] <= 2


@pytest.mark.parametrize("stream", [ndjson, sse])
@pytest.mark.parametrize("type", [ChatCompletionResponse, bytes])
def test_records_of_a_chunk_that_must_be_copied_are_decoded_together(stream: ModuleType, type: Any) -> None:
    decoder = stream.StreamDecoder(type)
    one, many = (bytearray(stream.encode(COSTS * count)) for count in (1, 50))
    assert len(decoder.feed(one)) == len(COSTS)
    few = work(lambda: decoder.feed(one))
    assert work(lambda: decoder.feed(many))["call"] == few["call"]


@streams
def test_work_grows_linearly_with_bad_records_in_one_chunk(stream: ModuleType, codec: ModuleType) -> None:
    def take(count: int) -> int:
        errors: list[RecordError] = []
        decoder = stream.StreamDecoder(on_error=errors.append)
        chunk = framed(stream, BAD[stream]) * count
        calls = work(lambda: decoder.feed(chunk))
        assert len(errors) == count
        return sum(calls.values())

    assert take(4000) < 2.1 * take(2000)


@streams
@given(data=st.binary(max_size=60))
@example(data=b"\xff" * 8)
def test_bytes_of_any_kind_raise_record_errors_or_nothing(stream: ModuleType, codec: ModuleType, data: bytes) -> None:
    for type in TYPES:
        outcome(stream, [data], type=type)


def test_both_have_the_same_names_and_signatures() -> None:
    assert ndjson.__all__ == frames.__all__
    for name in filter(str.islower, ndjson.__all__):
        assert inspect.signature(getattr(ndjson, name)) == inspect.signature(getattr(frames, name))
    assert issubclass(RecordError, DecodeError)
    assert json.__all__ == msgpack.__all__
