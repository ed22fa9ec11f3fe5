"""What ``convert`` makes of a stream: its messages in the other format, or in the same one as they came."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from chatcodec import DecodeError, EncodeError, RecordError, frames, json, msgpack, ndjson
from chatcodec.transcode import json_to_msgpack, msgpack_to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._files import Format

_HEADER_BYTES = 4


class Converter:
    """As a stream decoder, but the records are messages in the format `target`.

    What can be read and not be written is a bad record too.
    """

    def __init__(self, source: Format, target: Format, *, on_error: Callable[[RecordError], object]) -> None:
        lines = source == "ndjson"
        decoder: Any = ndjson.StreamDecoder if lines else frames.StreamDecoder
        self._unit = "line" if lines else "frame"
        self._decoder = decoder(bytes, on_error=on_error)
        self._cut = _cut_lines if lines else _FrameCutter().cut
        self._convert = _CONVERSIONS[source, target]
        self._on_error = on_error
        self._index = 1
        self._offset = 0
        self._end = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next chunk, and return the messages that it completed."""
        converted = []
        # The decoder is given no more than one record at a time, so that it is known which one it returns.
        for piece, ends in self._cut(chunk):
            converted += self._converted(self._decoder.feed(piece))
            self._end += len(piece)
            if ends:
                self._index += 1
                self._offset = self._end
        return converted

    def finish(self) -> list[bytes]:
        """End the stream, and return the message that was left."""
        return self._converted(self._decoder.finish())

    def _converted(self, messages: list[bytes]) -> list[bytes]:
        try:
            return list(map(self._convert, messages))
        except (DecodeError, EncodeError) as error:
            self._on_error(RecordError("malformed", self._unit, self._index, self._offset, str(error)))
            return []


def _cut_lines(chunk: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield the pieces of `chunk` that belong to one line each, and whether the line ends there."""
    for line in BytesIO(chunk):
        yield line, line.endswith(b"\n")


class _FrameCutter:
    """Cuts chunks at the ends of frames, and of their headers."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0

    def cut(self, chunk: bytes) -> Iterator[tuple[bytes, bool]]:
        """Yield the pieces of `chunk` that belong to one frame each, and whether the frame ends there."""
        start = 0
        while start < len(chunk):
            piece = chunk[start : start + (self._left or _HEADER_BYTES - len(self._header))]
            start += len(piece)
            yield piece, self._ends(piece)

    def _ends(self, piece: bytes) -> bool:
        if self._left:
            self._left -= len(piece)
            return not self._left
        self._header += piece
        if len(self._header) < _HEADER_BYTES:
            return False
        self._left = int.from_bytes(self._header, "big")
        self._header = b""
        return not self._left


def _checked_json(message: bytes) -> bytes:
    json.decode(message)
    return message


def _checked_msgpack(message: bytes) -> bytes:
    msgpack.decode(message)
    return message


_CONVERSIONS: dict[tuple[Format, Format], Callable[[bytes], bytes]] = {
    ("ndjson", "ndjson"): _checked_json,
    ("ndjson", "msgpack"): json_to_msgpack,
    ("msgpack", "ndjson"): msgpack_to_json,
    ("msgpack", "msgpack"): _checked_msgpack,
}
