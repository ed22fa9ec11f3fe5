"""The record: seven optional fields, and the envelope around undecoded choices."""

from __future__ import annotations

import gc
import weakref
from datetime import datetime, timezone
from typing import Any

import pytest
from msgspec import Raw

from chatcodec import ChatCompletionResponse, Envelope

from .wire import bare, raw

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


@pytest.mark.parametrize("error", [{"message": "overloaded"}, "", False, None])
def test_an_envelope_shows_the_error_that_a_provider_reports(codec: Any, error: Any) -> None:
    envelope = codec.peek(raw(codec, error=error))
    assert bytes(envelope.error) == bare(codec).encode(error)
    assert envelope.failed is (error is not None)


def test_an_envelope_without_an_error_has_not_failed(codec: Any) -> None:
    envelope = codec.peek(raw(codec))
    assert (bytes(envelope.error), envelope.failed) == (b"", False)


@pytest.mark.parametrize("error", [{"message": "overloaded"}, "", 0, None])
def test_an_envelope_whose_error_has_a_type_says_whether_there_is_one(codec: Any, error: Any) -> None:
    class Typed(Envelope):
        error: Any = None

    assert codec.peek(raw(codec, error=error), Typed).failed is (error is not None)
    assert codec.peek(raw(codec), Typed).failed is False


def test_a_subclass_of_the_envelope_may_refer_to_itself_and_be_collected(codec: Any) -> None:
    class Noted(Envelope, gc=True, weakref=True):
        notes: dict[str, Any] | None = None

    envelope = codec.peek(raw(codec), Noted)
    envelope.notes = {"of": envelope}
    kept = weakref.ref(envelope)
    del envelope
    gc.collect()
    assert kept() is None


def test_an_envelope_is_nothing_that_the_garbage_collector_visits() -> None:
    assert Envelope.__struct_config__.gc is False
