"""What the type checkers see: mypy and pyright check the assertions here, and running it checks the calls."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from typing import Any, Optional

import msgspec
from typing_extensions import assert_type

import chatcodec
from chatcodec import ChatCompletionResponse, Envelope, RecordError, frames, json, msgpack, ndjson, sse, transcode

from .support import each


class Priced(ChatCompletionResponse):
    """A subclass with a field of the user's own."""

    currency: str = "EUR"


class Regional(Envelope):
    """An envelope with a field of the user's own."""

    region: str = ""


def test_codecs() -> None:
    assert_type(json.decode(b"{}"), ChatCompletionResponse)
    assert_type(json.decode(bytearray(b"{}"), Priced), Priced)
    assert_type(msgpack.decode(memoryview(b"\x80"), type=Envelope), Envelope)
    assert_type(json.peek(b"{}"), Envelope)
    assert_type(json.peek(b"{}").choices, msgspec.Raw)
    assert_type(json.decode_choices(b"[]"), Optional[list[dict[str, Any]]])
    assert_type(msgpack.encode(Priced()), bytes)
    assert_type(json.patch(b"{}", cost=1.0, stream=None, extra={"region": None}), bytes)
    assert_type(json.peek(b"{}", Regional), Regional)
    assert_type(json.stamp(b"{}", cost=1.0), tuple[Envelope, bytes])
    assert_type(msgpack.stamp(b"\x80", Regional, extra={"region": "eu"}), tuple[Regional, bytes])
    assert_type(ndjson.stamp([b"{}"], Regional, on_error=print, stream=None), tuple[list[Regional], bytes])
    assert_type(transcode.json_to_msgpack(b"{}"), bytes)


def test_streams() -> None:
    assert_type(ndjson.StreamDecoder(), ndjson.StreamDecoder[ChatCompletionResponse])
    assert_type(frames.StreamDecoder(bytes, max_record_bytes=None), frames.StreamDecoder[bytes])
    assert_type(ndjson.StreamDecoder(Envelope).feed(b""), list[Envelope])
    assert_type(frames.StreamDecoder(msgspec.Raw).finish(), list[msgspec.Raw])
    assert_type(ndjson.StreamDecoder(on_error=print).buffered, int)


def test_writers() -> None:
    mixed: list[ChatCompletionResponse | bytes] = [Priced(), b"{}"]
    assert_type(ndjson.encode(mixed), bytes)
    assert_type(ndjson.iter_encode(mixed), Iterator[bytes])
    assert_type(sse.iter_encode([[msgspec.Raw(b"{}")]]), Iterator[bytes])
    assert_type(frames.aiter_encode(each([b""])), AsyncIterator[bytes])
    assert_type(sse.END + frames.KEEP_ALIVE, bytes)


def test_iterators() -> None:
    assert_type(ndjson.iter_decode([b"{}"]), Iterator[ChatCompletionResponse])
    assert_type(frames.iter_decode(io.BytesIO(), Priced, max_record_bytes=5), Iterator[Priced])
    assert_type(ndjson.aiter_decode(each([b""])), AsyncIterator[ChatCompletionResponse])
    assert_type(frames.aiter_decode(each([b""]), bytes), AsyncIterator[bytes])


def test_errors() -> None:
    error = RecordError("malformed", "line", 1, 0, "reason")
    assert_type(error.index, int)
    assert_type(error.data, bytes)
    assert issubclass(chatcodec.RecordError, msgspec.DecodeError)
