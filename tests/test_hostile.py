"""Hostile bytes: only ours come out, memory stays in proportion, and work grows no faster than the input."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from chatcodec import ChatCompletionResponse, DecodeError, RecordError, json, msgpack, ndjson

from .hostility import STREAM, TRANSCODERS, TYPES, asked, check_message, check_stream, found_inputs, saved_messages
from .oddities import odd_record
from .test_stream import BAD, KEEP_ALIVE, cut, framed, outcome, streams, work
from .wire import CODECS, nested

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from .hostility import Message

codecs = pytest.mark.parametrize("codec", CODECS, ids=["json", "msgpack"])
SAVED = list(saved_messages())
saved = pytest.mark.parametrize("message", SAVED, ids=[f"{one.codec.__name__[10:]}: {one.name}" for one in SAVED])
GOOD = ChatCompletionResponse(session_id="good")
MIB = 1024 * 1024
SAMPLE = Path(__file__).parent / "data"


# The corpus


@saved
def test_every_function_does_with_a_message_what_the_corpus_says(message: Message) -> None:
    assert check_message(message.codec, message.data) == message.verdict


@saved
def test_a_hostile_message_in_a_stream_harms_no_other(message: Message) -> None:
    stream = STREAM[message.codec]
    good = stream.encode([GOOD])
    whole = good + framed(stream, message.data) + good
    check_stream(stream, whole, [len(good), len(good) + 1, len(whole) - 1])
    seen = outcome(stream, [whole])
    assert seen[0] == seen[-1] == GOOD
    if b"\n" not in message.data and message.data.strip():
        errors = [item for item in seen if isinstance(item, tuple)]
        assert (len(seen), len(errors)) == (3, message.verdict[0] == "n")


@streams
def test_the_whole_corpus_as_one_stream_is_cut_anywhere(stream: ModuleType, codec: ModuleType) -> None:
    random = Random(1)
    pieces = [framed(stream, message.data) for message in SAVED if message.codec is codec]
    for limit in (None, 10):
        random.shuffle(pieces)
        whole = b"".join(pieces)
        check_stream(stream, whole, random.choices(range(len(whole)), k=50), limit)


@pytest.mark.parametrize("codec", CODECS, ids=["json", "msgpack"])
def test_what_the_fuzzer_kept_passes_every_check(codec: ModuleType) -> None:
    for data in found_inputs():
        check_message(codec, data)
        check_stream(STREAM[codec], data, [len(data) // 2, len(data) // 3])
        check_stream(STREAM[codec], data, [len(data) // 2], limit=8)


# Mutations of real records


def damaged(random: Random, message: bytes) -> bytes:
    """Return `message` with a few bytes set, taken out, doubled, moved or put in."""
    data = bytearray(message)
    for _ in range(random.randrange(1, 4)):
        start = random.randrange(len(data) + 1)
        end = start + random.choice([0, 1, 1, 2, 8, 100])
        piece = bytes(data[start:end])
        data[start:end] = random.choice(
            [
                b"",
                piece * 2,
                piece[::-1],
                random.randbytes(len(piece) or 1),
                bytes(byte ^ 1 << random.randrange(8) for byte in piece),
                random.choice(
                    [b"{", b"}", b'"', b",", b"\n", b"\\", b"\0", b"\xc1", b"\xff", b"\xdf", b"\xed\xa0\x80"]
                ),
            ]
        )
    return bytes(data) if random.randrange(10) else bytes(data[: random.randrange(len(data) + 1)])


def real_messages(codec: ModuleType) -> list[bytes]:
    """Return realistic messages and odd ones."""
    random = Random(2)
    lines = [line for path in sorted(SAMPLE.glob("*.ndjson")) for line in path.read_bytes().splitlines()]
    real = [line if codec is json else TRANSCODERS[json](line) for line in random.sample(lines, 100)]
    return real + [codec.encode(odd_record(random)) for _ in range(100)]


@codecs
def test_damaged_records_raise_ours_or_nothing(codec: ModuleType) -> None:
    random = Random(3)
    for message in real_messages(codec) * 10:
        check_message(codec, damaged(random, message))


@streams
def test_damaged_streams_are_cut_anywhere(stream: ModuleType, codec: ModuleType) -> None:
    random = Random(4)
    messages = [message for message in real_messages(codec) if len(message) < 500]
    for _ in range(40):
        whole = damaged(random, framed(stream, *random.sample(messages, 4)))
        limit = random.choice([None, None, 50, 300])
        check_stream(stream, whole, random.choices(range(len(whole) + 1), k=6), limit)


# Long lines, which are decoded many at a time: what stands on a line, and what is spread over lines

PADDING = b'"x":"' + b"a" * 1500 + b'"'
LONG_PIECES = [
    *[b"{" + PADDING + b"}\n"] * 6,
    *(b"{" + PADDING + b"}{" + PADDING + b"}\n", b"{" + PADDING + b"}", b"{" + PADDING + b',"y":{}\n{},"z":1}\n'),
    *(b'{"y":[{' + PADDING + b"}\n{}]}\n", b'{"y":{' + PADDING + b"}\n}\n", b"{\n" + PADDING + b"}\n", b"{}\n"),
    *(
        b"{" + PADDING + b"} \n",
        b"{" + PADDING + b"}\r\n",
        b'{"cost":"' + b"}\n{" * 300 + b'"}\n',
        b"\n",
        b"[{}]\n",
        b"{",
        b"}\n",
    ),
]


def line_by_line(whole: bytes) -> list[Any]:
    """Return the record of each line, or ``None`` for a line that is none."""
    lines = [line for line in whole.split(b"\n") if line.strip(b" \t\r")]
    return [asked(json.decode, line.removesuffix(b"\r"))[1] for line in lines]


@pytest.mark.parametrize("seed", range(30))
def test_a_line_is_a_record_also_where_lines_are_long(seed: int) -> None:
    random = Random(seed)
    whole = b"".join(random.choices(LONG_PIECES, k=40))
    expected = line_by_line(whole)
    for count in (0, 3, 40, 200):
        chunks = cut(whole, random.choices(range(len(whole) + 1), k=count))
        seen = outcome(ndjson, chunks)
        assert [None if isinstance(item, tuple) else item for item in seen] == expected


# Nesting


@codecs
def test_nesting_of_a_million_is_a_decode_error_everywhere(codec: ModuleType) -> None:
    message = nested(codec, 1_000_000)
    choices = message.partition(b"choices")[2].removeprefix(b'":')[: -1 if codec is json else None]
    for read, data in (
        (codec.decode, message),
        (codec.peek, message),
        (codec.patch, message),
        (TRANSCODERS[codec], message),
        (codec.decode_choices, choices),
    ):
        with pytest.raises(DecodeError, match="nested deeper"):
            read(data)


@streams
def test_and_in_a_stream_it_is_one_bad_record(stream: ModuleType, codec: ModuleType) -> None:
    good = stream.encode([GOOD])
    whole = good + framed(stream, nested(codec, 1_000_000)) + good
    for type in TYPES[:3]:
        seen = outcome(stream, [whole], type=type)
        assert [isinstance(item, tuple) and item[0] == "bad" for item in seen] == [False, True, False]


# Memory


def peak_of(run: Callable[[], object]) -> int:
    """Return how much memory `run` holds at most, by Python's own count."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@saved
def test_no_message_takes_memory_that_it_has_no_bytes_for(message: Message) -> None:
    assert peak_of(lambda: check_message(message.codec, message.data)) < 64 * 1024


@pytest.mark.parametrize("size", [b"\xdd", b"\xdf"])
def test_nor_do_lengths_inside_lengths_that_the_bytes_seem_to_be_there_for(size: bytes) -> None:
    depth, rest = 500, 200_000
    message = (
        b"\x81\xa1x" + (size + (rest // 2).to_bytes(4, "big") + b"\xa0" * (size == b"\xdf")) * depth + b"\0" * rest
    )
    for read in (msgpack.decode, msgpack.peek, msgpack.patch, TRANSCODERS[msgpack]):
        assert peak_of(lambda read=read: asked(read, message)) < 40 * len(message)  # type: ignore[misc]
        assert asked(read, message) == ("n", None)


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (json, b'{"choices":[' + b"{}," * 100_000 + b"{}]}"),
        (msgpack, b"\x81\xa7choices\xdd\0\1\x86\xa0" + b"\x80" * 100_000),
    ],
)
def test_the_smallest_values_take_memory_in_proportion(codec: ModuleType, message: bytes) -> None:
    assert peak_of(lambda: codec.decode(message)) < 100 * len(message)
    assert peak_of(lambda: codec.peek(message)) < 1024
    assert peak_of(lambda: codec.patch(message, cost=1.0)) < 2 * len(message) + 1024


@streams
@pytest.mark.parametrize("size", [1024, 65536, MIB])
def test_a_record_without_end_is_not_held(stream: ModuleType, codec: ModuleType, size: int) -> None:
    errors: list[RecordError] = []
    piece = b"x" * size

    def read() -> None:
        decoder = stream.StreamDecoder(max_record_bytes=MIB, on_error=errors.append)
        decoder.feed(b"{" if stream is ndjson else b"\xff\xff\xff\xff")
        for _ in range(32 * MIB // size):
            assert decoder.feed(piece) == []
            assert decoder.buffered <= MIB

    assert peak_of(read) < 5 * MIB
    assert [(error.index, error.offset) for error in errors] == [(1, 0)]


@streams
def test_errors_hold_little_however_many_they_are(stream: ModuleType, codec: ModuleType) -> None:
    errors: list[RecordError] = []
    bad = framed(stream, BAD[stream] + b" " * 100_000) * 10

    def read() -> None:
        decoder = stream.StreamDecoder(on_error=errors.append)
        for _ in range(20):
            decoder.feed(bad)

    read()
    del errors[:]
    assert peak_of(read) < 200 * 3000 + 2 * len(bad)
    assert len(errors) == 200


# Work


def drained(stream: ModuleType, chunks: list[bytes], limit: int | None = None) -> Callable[[], object]:
    return lambda: outcome(stream, chunks, max_record_bytes=limit)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


# Each attack by its name: the chunks of one that is `size` times as long as the smallest.
ATTACKS: dict[str, Callable[[Any, int], list[bytes]]] = {
    "bad records in one chunk": lambda stream, size: [framed(stream, BAD[stream]) * size],
    "good and bad records by turns": lambda stream, size: [
        (stream.encode([GOOD]) + framed(stream, BAD[stream])) * size
    ],
    "a bad record behind many good ones": lambda stream, size: [
        (stream.encode([GOOD] * 50) + framed(stream, BAD[stream])) * (size // 50)
    ],
    "keep-alives in one chunk": lambda stream, size: [KEEP_ALIVE[stream] * size],
    "keep-alives one by one": lambda stream, size: [KEEP_ALIVE[stream]] * size,
    "keep-alives a byte at a time": lambda stream, size: pieces(KEEP_ALIVE[stream] * size, 1),
    "records a byte at a time": lambda stream, size: pieces(stream.encode([GOOD]) * (size // 10), 1),
    "bad records a byte at a time": lambda stream, size: pieces(framed(stream, BAD[stream]) * (size // 10), 1),
    "a record without end in pieces": lambda _, size: [b"\x7f\0\0\0" * 10] * size,
    "empty chunks": lambda stream, size: [stream.encode([GOOD])[:7], *[b""] * size],
    "chunks that end in the next record's first bytes": lambda stream, size: pieces(stream.encode([GOOD]) * size, 27),
    "byte order marks": lambda _, size: [b"\xef\xbb\xbf" * size + b"\n"],
    "records too long by a byte": lambda stream, size: [framed(stream, b"x" * 101) * size],
}


@streams
@pytest.mark.parametrize("limit", [None, 100])
@pytest.mark.parametrize("attack", ATTACKS)
def test_work_grows_no_faster_than_what_is_sent(
    stream: ModuleType, codec: ModuleType, attack: str, limit: int | None
) -> None:
    one, two = (work(drained(stream, ATTACKS[attack](stream, size), limit)) for size in (1000, 2000))
    assert sum(two.values()) < 2.1 * sum(one.values()) + 100


@streams
def test_what_is_held_grows_in_place(stream: ModuleType, codec: ModuleType) -> None:
    decoder = stream.StreamDecoder()
    start = stream.encode([GOOD, ChatCompletionResponse(session_id="x" * 100_000)])[:-50_000]
    assert decoder.feed(start) == [GOOD]
    decoder.feed(b"y")  # it may be made ready to grow once
    held = decoder._tail
    for _ in range(100):
        decoder.feed(b"yyy")
    assert decoder._tail is held
    assert decoder.buffered > len(start) - 50


@codecs
@pytest.mark.parametrize("reader", range(4))
def test_one_message_is_a_fixed_number_of_calls_whatever_its_length(codec: ModuleType, reader: int) -> None:
    read = [codec.decode, codec.peek, codec.patch, TRANSCODERS[codec]][reader]
    short, long = (codec.encode(ChatCompletionResponse(choices=[{"a": [1] * size}])) for size in (10, 10_000))
    assert work(lambda: read(long)) == work(lambda: read(short))
