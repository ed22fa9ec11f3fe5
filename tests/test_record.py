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
def test_both_forms_have_the_seven_fields_in_order_all_optional_and_by_keyword(type: Any) -> None:
    assert type.__struct_fields__[:7] == FIELDS
    assert type.__struct_encode_fields__[:7] == WIRE
    assert all(getattr(type(), field) in (None, Raw()) for field in FIELDS)
    with pytest.raises(TypeError):
        type(datetime.now(timezone.utc))


class Typed(Envelope):
    """An envelope whose error is decoded."""

    error: Any = None


@pytest.mark.parametrize("error", [{"message": "overloaded"}, "", False, 0, None])
def test_an_envelope_has_failed_if_it_has_an_error_that_is_not_null(codec: Any, error: Any) -> None:
    message, absent = raw(codec, error=error), raw(codec)
    assert (bytes(codec.peek(message).error), bytes(codec.peek(absent).error)) == (bare(codec).encode(error), b"")
    for type in (Envelope, Typed):
        assert codec.peek(message, type).failed is (error is not None)
        assert codec.peek(absent, type).failed is False


def test_a_subclass_of_the_envelope_may_refer_to_itself_and_be_collected(codec: Any) -> None:
    class Noted(Envelope, gc=True, weakref=True):
        notes: dict[str, Any] | None = None

    envelope = codec.peek(raw(codec), Noted)
    envelope.notes = {"of": envelope}
    kept = weakref.ref(envelope)
    del envelope
    gc.collect()
    assert kept() is None
