"""What the JSON text streams, lines and events, share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ._decoder import StreamDecoder, T
from ._errors import DATA_BYTES

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TextDecoder(StreamDecoder[T]):
    """A decoder of a JSON text stream, which may start with a byte order mark."""

    _overhead = 1
    _format = msgspec.json

    def _pass_byte_order_mark(self) -> None:
        if self._offset == self._pos == 0 and self._buffer.startswith(_BYTE_ORDER_MARK):
            self._pos = len(_BYTE_ORDER_MARK)

    def _end_record(self) -> None:
        self._take(bytes(self._buffer[self._pos :]), len(self._buffer), cut=True)

    def _is_long(self, end: int) -> bool:
        """Whether the record, which runs from `_pos` to `end` or beyond, is too long; if so, report it."""
        start = self._pos
        if end - start <= self._limit:
            return False
        if self._offset == start == 0 and _BYTE_ORDER_MARK.startswith(self._buffer):
            return False  # the first two bytes of the mark, under a limit of one
        reason = f"longer than the limit of {self._limit} bytes"
        self._report_long(reason, bytes(self._buffer[start : start + DATA_BYTES]))
        return True

    if TYPE_CHECKING:
        # Decode, report or skip the record at `_pos`, which ends at `end`. `failure` is what decoding it has already
        # raised, if anything.
        def _take(self, text: bytes, end: int, failure: BaseException | None = None, *, cut: bool = False) -> None: ...


def on_one_line(messages: list[bytes]) -> list[bytes]:
    """Return JSON messages without line breaks, which can only be white space between tokens."""
    text = b"".join(messages)
    if b"\n" not in text and b"\r" not in text:
        return messages
    return [message.replace(b"\n", b" ").replace(b"\r", b" ") for message in messages]
