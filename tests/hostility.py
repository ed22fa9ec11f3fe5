"""What every hostile input has to pass: the corpus, and the checks that the tests and the fuzzer share."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatcodec import DecodeError, EncodeError, json, msgpack, transcode

from .support import TYPES, Framing, cut, errors_last, errors_of, outcome, outcome_of_callback, pieces

CORPUS = Path(__file__).parent / "corpus"
FOUND = CORPUS / "found.txt"  # what the fuzzer kept: one input a line, in hexadecimal

TRANSCODERS = {json: transcode.json_to_msgpack, msgpack: transcode.msgpack_to_json}
OTHER = {json: msgpack, msgpack: json}


@dataclass(frozen=True)
class Message:
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
    letters, results = zip(
        *(asked(read, data) for read in (codec.decode, codec.peek, codec.patch, TRANSCODERS[codec])), strict=True
    )
    record, envelope, patched, transcoded = results
    stamped = asked(codec.stamp, data)[1]
    assert (stamped is None) == (envelope is None or patched is None)
    if stamped is not None:
        assert envelope is not None
        check_same(bytes(stamped[0].choices), bytes(envelope.choices))
        assert stamped[1] == patched
    asked(codec.decode_choices, data)
    if envelope is not None:
        asked(codec.decode_choices, envelope.choices)
    if record is not None:
        assert envelope is not None
        # Patch alone reads unknown keys, which have to be text.
        assert patched is not None or data.decode(errors="ignore").encode() != data
        check_same(record, codec.decode(patched or data))
        check_same(record.choices, codec.decode_choices(envelope.choices))
        for field in record.__struct_fields__:
            assert field == "choices" or repr(getattr(record, field)) == repr(getattr(envelope, field))
        written = codec.encode(record)
        check_same(record, codec.decode(written))
        assert codec.patch(written) == written
    if record is not None and transcoded is not None:
        arrived = OTHER[codec].decode(transcoded)
        assert (arrived.session_id, arrived.stream) == (record.session_id, record.stream)
        assert codec is msgpack or arrived == record
    return "".join(letters)


def check_same(one: object, other: object) -> None:
    """Check that two values are the same, by their texts: NaN is no equal of itself."""
    assert repr(one) == repr(other)


def check_stream(framing: Framing, data: bytes, places: list[int], limit: int | None = None) -> None:
    """Decode `data` as a stream of every type, and check that its cuts do not matter and its errors say their place."""
    for type in TYPES:
        options = {"type": type, "max_record_bytes": limit}
        seen = outcome(framing, [data], **options)
        check_same(outcome(framing, cut(data, places), **options), seen)
        check_same(outcome(framing, pieces(data, 1), **options), seen)
        check_same(outcome_of_callback(framing, cut(data, places), **options), errors_last(seen))
        found = [error[2:4] for error in errors_of(seen) if error.kind != "incomplete"]
        assert sorted(set(found)) == found
        assert all(len(error.data) <= min(1024, limit or 1024) for error in errors_of(seen))
