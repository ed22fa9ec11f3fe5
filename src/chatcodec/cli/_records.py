"""What each command does with a stream of records: find bad ones, sum up, or convert."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from chatcodec import StreamError, ValidationError, json, msgpack
from chatcodec._decoder import converting, cut_off
from chatcodec._stats.logged import Logged
from chatcodec.transcode import json_to_msgpack, msgpack_to_json

from ._formats import FORMATS, Cut
from ._jobs import Bad, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chatcodec import RecordError

    from ._jobs import Meter, Segment

_DECODE = {json: msgspec.json.Decoder(Logged).decode, msgpack: msgspec.msgpack.Decoder(Logged).decode}
_LONG_FRAME = "; frames begin with their length in 4 bytes, so this may be another format: try --from"
_WITHOUT_DONE = "stream ended without [DONE]"


class _ProviderError(ValidationError):
    """A message is valid, but the provider reported an error in it."""


def check(segment: Segment, meter: Meter, max_record_bytes: int) -> Iterator[Part]:
    """Yield the bad records of `segment`, part by part."""
    for part in _decoded(segment, meter, max_record_bytes):
        yield part._replace(value=None)


def summarise(segment: Segment, meter: Meter, max_record_bytes: int) -> Iterator[Part]:
    """Yield the one `Summary` of `segment`."""
    from chatcodec._stats.summary import Summary  # noqa: PLC0415  # imports numpy, which the other commands do not need

    summary = Summary()
    for records, bad, _ in _decoded(segment, meter, max_record_bytes):
        summary.add(records)
        errors = sum(one.kind == "upstream" for one in bad)
        summary.errors += errors
        summary.bad += len(bad) - errors
    yield Part(summary, [], 0)


def _decoded(segment: Segment, meter: Meter, max_record_bytes: int) -> Iterator[Part]:
    # Whole responses, although few fields are needed: choices of the wrong type make a record bad.
    decode = _DECODE[segment.format.codec]

    def response(message: bytes) -> Logged:
        logged: Logged = decode(message)
        if logged.failed:
            raise _ProviderError
        return logged

    decoder = partial(converting, segment.format.framing.StreamDecoder, response, max_record_bytes=max_record_bytes)
    return _parts(segment, meter, decoder)


def convert(segment: Segment, meter: Meter, max_record_bytes: int, target: str) -> Iterator[Part]:
    """Yield the messages of `segment` as a stream in the format `target`, part by part."""
    source, encode = segment.format, FORMATS[target].framing.encode
    convert = _conversion(source.codec, FORMATS[target].codec)
    decoder = partial(converting, source.framing.StreamDecoder, convert, max_record_bytes=max_record_bytes)
    for part in _parts(segment, meter, decoder):
        yield part._replace(value=encode(part.value))


def _conversion(source: Any, target: Any) -> Callable[[bytes], bytes]:
    if source is not target:
        return json_to_msgpack if source is json else msgpack_to_json

    def checked(message: bytes) -> bytes:
        source.decode(message)
        # Lines arrive with their line ends.
        return message.rstrip(b"\r\n") if source is json else message

    return checked


def _parts(segment: Segment, meter: Meter, make: Callable[..., Any]) -> Iterator[Part]:
    """Decode `segment`, and yield its records chunk by chunk; positions count from its start."""
    errors: list[RecordError] = []
    decoder = make(on_error=errors.append)
    # A byte order mark is skipped only at the start of a file, so later segments are decoded after a blank line.
    lead = b"\n" if segment.start else b""
    decoder.feed(lead)
    lines = size = 0
    cut = "cut"

    def part(call: Callable[[], list[Any]]) -> Part:
        records = _through(call, decoder, errors)
        meter.add(records=len(records) + len(errors))
        bad = [_bad(error, len(lead), cut) for error in errors]
        if errors and _hides_the_missing_end(errors[-1]):
            bad.append(Bad(bad[-1].line + 1, size, "incomplete", f"{cut}: {_WITHOUT_DONE}"))
        errors.clear()
        return Part(records, bad, lines)

    try:
        for chunk in segment.chunks(meter.add):
            lines += chunk.count(b"\n")
            size += len(chunk)
            yield part(partial(decoder.feed, chunk))
    except Cut:
        cut = "cut, because the compressed file ends early"
        cut_off(decoder, cut)
    yield part(decoder.finish)


def _through(call: Callable[[], list[Any]], decoder: Any, errors: list[RecordError]) -> list[Any]:
    """Return all records of `call`, continuing after each `StreamError`, which is added to `errors`."""
    records: list[Any] = []
    while True:
        try:
            return records + call()
        except StreamError as error:
            records += error.records
            error.records = []
            errors.append(error)
            call = partial(decoder.feed, b"")


def _hides_the_missing_end(error: RecordError) -> bool:
    """Whether a stream of events was cut inside a message with an error: then its ``[DONE]`` is missing as well."""
    return error.unit == "event" and isinstance(error, StreamError) and isinstance(error.__cause__, _ProviderError)


def _bad(error: RecordError, lead: int, cut: str) -> Bad:
    kind, reason = error.kind, error.reason
    if isinstance(error.__cause__, _ProviderError):
        kind = "upstream"
    if kind == "upstream":
        reason = "the provider reported an error"
    elif kind == "incomplete" and reason != cut:
        reason = f"{cut}: {reason}"
    elif kind == "too_long":
        reason += _LONG_FRAME if error.unit == "frame" and error.index == 1 else "; --max-record-bytes allows more"
    return Bad(error.index - lead, error.offset - lead, kind, reason)
