"""What the commands do with a segment, by itself: check it, sum it up, convert it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from chatcodec import ChatCompletionResponse, frames, ndjson

from . import _jobs
from ._convert import Converter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._files import Format, Segment


def check(segment: Segment, meter: _jobs.Meter) -> Iterator[_jobs.Part]:
    """Yield the bad records of `segment`, part by part."""
    for part in _decoded(segment, meter):
        yield part._replace(value=None)


def summarise(segment: Segment, meter: _jobs.Meter) -> Iterator[_jobs.Part]:
    """Yield the one `Summary` of `segment`."""
    from chatcodec._stats.summary import Summary  # noqa: PLC0415  # numpy, which checking and converting do without

    summary = Summary()
    for records, bad, _ in _decoded(segment, meter):
        summary.add(records)
        summary.bad += len(bad)
    yield _jobs.Part(summary, [], 0)


def _decoded(segment: Segment, meter: _jobs.Meter) -> Iterator[_jobs.Part]:
    # Whole responses, though little of them is wanted: choices of the wrong type make a record bad.
    decoder: Any = ndjson.StreamDecoder if segment.file.format == "ndjson" else frames.StreamDecoder
    return _jobs.read(segment, partial(decoder, ChatCompletionResponse), meter)


def convert(segment: Segment, meter: _jobs.Meter, target: Format) -> Iterator[_jobs.Part]:
    """Yield the records of `segment` as a stream in the format `target`, part by part."""
    encode = ndjson.encode if target == "ndjson" else frames.encode
    for part in _jobs.read(segment, partial(Converter, segment.file.format, target), meter):
        yield part._replace(value=encode(part.value))
