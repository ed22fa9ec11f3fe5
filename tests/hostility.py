"""What every hostile input has to pass: the corpus, and the checks that the tests and the fuzzer share."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from chatcodec import DecodeError, EncodeError, json, msgpack, transcode

from .support import TYPES, Framing, cut, errors_last, errors_of, outcome, outcome_of_callback, pieces

CORPUS = Path(__file__).parent / "corpus"
FOUND = CORPUS / "found.txt"  # what the fuzzer kept: one input a line, in hexadecimal

TRANSCODERS = {json: transcode.json_to_msgpack, msgpack: transcode.msgpack_to_json}


class Message(NamedTuple):
    """A line of the corpus: what decode, peek, patch and transcoding do with `data`, by their letters."""

    codec: Any
    verdict: str
    data: bytes
    name: str


def saved_messages() -> Iterator[Message]:
    for name, codec in (("json", json), ("msgpack", msgpack)):
        for line in (CORPUS / f"{name}.txt").read_text(encoding="ascii").splitlines():
            if line and not line.startswith("#"):
                data, _, what = line[5:].rpartition("  # ")
                yield Message(codec, line[:4], ast.literal_eval(data), what)


def found_inputs() -> list[bytes]:
    return [bytes.fromhex(line) for line in FOUND.read_text(encoding="ascii").split()]


def readers(codec: Any) -> list[Callable[[Any], Any]]:
    """Return the functions that a verdict is about, in the order of its letters."""
    return [codec.decode, codec.peek, codec.patch, TRANSCODERS[codec]]


def asked(function: Callable[[Any], Any], given: Any) -> tuple[str, Any]:
    """Return the letter of what `function` does with what is given, and its result; raise what may not come out."""
    try:
        return "y", function(given)
    except DecodeError:
        return "n", None
    except EncodeError:
        return "e", None


def check_message(codec: Any, data: bytes) -> str:
    """Give `data` to every function of `codec`, check that they agree, and return the verdict."""
    letters, results = zip(*(asked(read, data) for read in readers(codec)), strict=True)
    record, envelope, patched, transcoded = results
    _, stamped = asked(codec.stamp, data)
    assert (stamped is None) == (envelope is None or patched is None)
    if stamped is not None and envelope is not None:
        assert bytes(stamped[0].choices) == bytes(envelope.choices)
        assert stamped[1] == patched
    asked(codec.decode_choices, data)
    if envelope is not None:
        asked(codec.decode_choices, envelope.choices)
    if record is not None:
        assert envelope is not None
        # Patch alone reads unknown keys, which have to be text.
        assert patched is not None or data.decode(errors="ignore").encode() != data
        # By their texts: NaN does not equal itself.
        assert repr(record) == repr(codec.decode(patched or data))
        assert repr(record.choices) == repr(codec.decode_choices(envelope.choices))
        for field in {*record.__struct_fields__} - {"choices"}:
            assert repr(getattr(record, field)) == repr(getattr(envelope, field))
        written = codec.encode(record)
        assert repr(record) == repr(codec.decode(written))
        assert codec.patch(written) == written
        if transcoded is not None:
            arrived = (msgpack if codec is json else json).decode(transcoded)
            assert (arrived.session_id, arrived.stream) == (record.session_id, record.stream)
            assert codec is msgpack or arrived == record
    return "".join(letters)


def check_stream(framing: Framing, data: bytes, places: list[int], limit: int | None = None) -> None:
    """Decode `data` as a stream of every type, and check that cuts do not matter, and the order and size of errors."""
    for type in TYPES:
        options = {"type": type, "max_record_bytes": limit}
        seen = outcome(framing, [data], **options)
        assert repr(outcome(framing, cut(data, places), **options)) == repr(seen)
        assert repr(outcome(framing, pieces(data, 1), **options)) == repr(seen)
        assert repr(outcome_of_callback(framing, cut(data, places), **options)) == repr(errors_last(seen))
        found = [error[2:4] for error in errors_of(seen) if error.kind != "incomplete"]
        assert sorted(set(found)) == found
        assert all(len(error.data) <= min(1024, limit or 1024) for error in errors_of(seen))
