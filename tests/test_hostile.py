"""Hostile bytes: only ours come out, and memory stays in proportion."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.corpus import SAMPLE
from chatcodec import ChatCompletionResponse, DecodeError, json, msgpack

from .hostility import TRANSCODERS, Message, asked, check_message, check_stream, found_inputs, readers, saved_messages
from .oddities import odd_record
from .support import FRAMINGS_OF, TYPES, Bad, Framing, errors_of, outcome, traced, work
from .wire import hostile, nested

SAVED = list(saved_messages())
saved = pytest.mark.parametrize("message", SAVED, ids=[f"{one.codec.__name__[10:]}: {one.name}" for one in SAVED])
GOOD = ChatCompletionResponse(session_id="good")


# The corpus


@saved
def test_every_function_does_with_a_message_what_the_corpus_says(message: Message) -> None:
    assert check_message(message.codec, message.data) == message.verdict


@saved
def test_a_hostile_message_in_a_stream_harms_no_other(message: Message) -> None:
    for framing in FRAMINGS_OF[message.codec]:
        good = framing.encoded(GOOD)
        whole = good + framing.frame(message.data) + good + framing.end
        check_stream(framing, whole, [len(good), len(good) + 1, len(whole) - 1])
        seen = outcome(framing, [whole])
        assert seen[0] == seen[-1] == GOOD
        if not {*b"\r\n"} & {*message.data} and message.data.strip():
            assert (len(seen), len(errors_of(seen))) == (3, message.verdict[0] == "n")


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 5))])
def test_inputs_that_the_fuzzer_kept_pass_every_check(codec: Any, part: int) -> None:
    for data in found_inputs()[part::5]:
        check_message(codec, data)
        for framing in FRAMINGS_OF[codec]:
            check_stream(framing, data, [len(data) // 2, len(data) // 3])
            check_stream(framing, data, [len(data) // 2], limit=8)


# Mutations of real records


def damaged(random: Random, message: bytes) -> bytes:
    """Return `message` with a few bytes set, taken out, doubled, moved or put in."""
    data = bytearray(message)
    tokens = [b"{", b"}", b'"', b",", b"\n", b"\\", b"\0", b"\xc1", b"\xff", b"\xdf", b"\xed\xa0\x80"]
    for _ in range(random.randrange(1, 4)):
        start = random.randrange(len(data) + 1)
        end = start + random.choice([0, 1, 1, 2, 8, 100])
        piece = bytes(data[start:end])
        flipped = bytes(byte ^ 1 << random.randrange(8) for byte in piece)
        others = [b"", piece * 2, piece[::-1], flipped, random.randbytes(len(piece) or 1), random.choice(tokens)]
        data[start:end] = random.choice(others)
    return bytes(data) if random.randrange(10) else bytes(data[: random.randrange(len(data) + 1)])


def test_damaged_records_raise_only_documented_errors(codec: Any) -> None:
    random = Random(3)
    lines = [line for path in sorted(SAMPLE.glob("*.ndjson")) for line in path.read_bytes().splitlines()]
    real = [line if codec is json else TRANSCODERS[json](line) for line in random.sample(lines, 100)]
    for message in (real + [codec.encode(odd_record(random)) for _ in range(100)]) * 10:
        check_message(codec, damaged(random, message))


@pytest.mark.slow
@settings(max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), more=st.sampled_from([b"", *(message.data for message in SAVED)]))
def test_thousands_of_hostile_messages_pass_every_check(codec: Any, data: st.DataObject, more: bytes) -> None:
    check_message(codec, more + data.draw(hostile(codec)))


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris is not installed")
def test_a_minute_of_guided_fuzzing_finds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", str(tmp_path / "corpus"), "-max_total_time=90"]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert len(list((tmp_path / "corpus").iterdir())) > len(SAVED)  # it found its way into more than it started from


# Nesting


def test_nesting_of_a_million_is_a_decode_error_everywhere(codec: Any) -> None:
    message = nested(codec, 1_000_000)
    choices = message.partition(b"choices")[2].removeprefix(b'":')[: -1 if codec is json else None]
    for read, data in [*((read, message) for read in readers(codec)), (codec.decode_choices, choices)]:
        with pytest.raises(DecodeError, match="nested deeper"):
            read(data)


def test_nesting_of_a_million_in_a_stream_is_one_bad_record(framing: Framing) -> None:
    whole = framing.encoded(GOOD) + framing.frame(nested(framing.codec, 1_000_000)) + framing.encoded(GOOD)
    for type in TYPES[:3]:
        seen = outcome(framing, [whole + framing.end], type=type)
        assert [isinstance(item, Bad) for item in seen] == [False, True, False]


# Memory and work


@saved
def test_no_message_takes_memory_that_it_has_no_bytes_for(message: Message) -> None:
    assert traced(lambda: check_message(message.codec, message.data))[1] < 64 * 1024


@pytest.mark.parametrize("size", [b"\xdd", b"\xdf"])
def test_lengths_inside_lengths_take_no_memory_that_they_have_no_bytes_for(size: bytes) -> None:
    header = size + (100_000).to_bytes(4, "big") + b"\xa0" * (size == b"\xdf")
    message = b"\x81\xa1x" + header * 500 + bytes(200_000)
    for read in readers(msgpack):
        assert traced(partial(asked, read, message))[1] < 40 * len(message)
        assert asked(read, message) == ("n", None)


SMALLEST_VALUES = {
    json: b'{"choices":[' + b"{}," * 100_000 + b"{}]}",
    msgpack: b"\x81\xa7choices\xdd\0\1\x86\xa0" + b"\x80" * 100_000,
}


def test_the_smallest_values_take_memory_in_proportion(codec: Any) -> None:
    message = SMALLEST_VALUES[codec]
    assert traced(lambda: codec.decode(message))[1] < 100 * len(message)
    assert traced(lambda: codec.peek(message))[1] < 1024
    assert traced(lambda: codec.patch(message, cost=1.0))[1] < 2 * len(message) + 1024


def test_one_message_is_a_fixed_number_of_calls_whatever_its_length(codec: Any) -> None:
    short, long = (codec.encode(ChatCompletionResponse(choices=[{"a": [1] * size}])) for size in (10, 10_000))
    for read in readers(codec):
        assert work(lambda: read(long)) == work(lambda: read(short))
