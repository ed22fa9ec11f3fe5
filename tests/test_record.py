"""The record: seven optional fields, and the envelope around undecoded choices."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from msgspec import Raw

from chatcodec import ChatCompletionResponse, Envelope, json, msgpack

FIELDS = ("timestamp", "generation_id", "session_id", "choices", "stream", "cost", "latency")
WIRE = ("timestamp", "generationId", "sessionId", "choices", "stream", "cost", "latency")


@pytest.mark.parametrize("type", [ChatCompletionResponse, Envelope])
class TestBothForms:
    def test_has_the_seven_fields_in_the_order_of_the_wire(self, type: Any) -> None:
        assert type.__struct_fields__[:7] == FIELDS
        assert type.__struct_encode_fields__[:7] == WIRE

    def test_takes_keywords_only(self, type: Any) -> None:
        with pytest.raises(TypeError):
            type(datetime.now(timezone.utc))

    def test_needs_none_of_them(self, type: Any) -> None:
        empty = type()
        assert all(getattr(empty, field) in (None, Raw()) for field in FIELDS)


@pytest.mark.parametrize(
    ("codec", "message", "error", "failed"),
    [
        (json, b"{}", b"", False),
        (json, b'{"error": null }', b"null", False),
        (json, b'{"error": {"message":"overloaded"} }', b'{"message":"overloaded"}', True),
        (json, b'{"error":""}', b'""', True),
        (json, b'{"error":false}', b"false", True),
        (msgpack, b"\x80", b"", False),
        (msgpack, b"\x81\xa5error\xc0", b"\xc0", False),
        (msgpack, b"\x81\xa5error\xa1x", b"\xa1x", True),
        (msgpack, b"\x81\xa5error\xc2", b"\xc2", True),
    ],
)
def test_an_envelope_shows_the_error_that_a_provider_reports(
    codec: Any, message: bytes, error: bytes, failed: bool
) -> None:
    envelope = codec.peek(message)
    assert bytes(envelope.error) == error
    assert envelope.failed is failed


def test_an_envelope_is_nothing_that_the_garbage_collector_visits() -> None:
    assert Envelope.__struct_config__.gc is False
