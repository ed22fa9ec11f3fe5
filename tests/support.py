"""What the tests of streams share: the three framings, and how to cut, decode and measure."""

from __future__ import annotations

import gc
import itertools
import signal
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import strategies as st
from msgspec import Raw

import chatcodec
from chatcodec import ChatCompletionResponse, Envelope, RecordError, StreamError, frames, json, msgpack, ndjson, sse

from .wire import hostile, records

T = TypeVar("T")

BOM = b"\xef\xbb\xbf"
SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"  # what ends a line for `str`, and in no stream
TYPES: list[Any] = [ChatCompletionResponse, Envelope, Raw, bytes]
COSTS = [ChatCompletionResponse(cost=float(number)) for number in range(1, 6)]


@dataclass(frozen=True, eq=False)
class Framing:
    """A stream module, and its framing written down apart from the library."""

    stream: Any
    codec: Any
    unit: str
    keep_alive: bytes
    end: bytes
    frame: Callable[[bytes], bytes]
    pieces: tuple[bytes, ...]  # of its grammar, to be put together in any order

    @property
    def invalid(self) -> bytes:
        """A message that is well-formed and of the wrong type."""
        return b'{"cost":"x"}' if self.codec is json else b"\x81\xa4cost\xa1x"

    @property
    def malformed(self) -> bytes:
        return b'{"cost":}' if self.codec is json else b"\x81\xa4cost\xc1"

    @property
    def good(self) -> bytes:
        """The first of `COSTS`, framed."""
        return self.encoded(COSTS[0])

    @property
    def bad(self) -> bytes:
        """A framed message of the wrong type."""
        return self.frame(self.invalid)

    def framed(self, *messages: bytes) -> bytes:
        """Frame messages, good or bad, without an end mark."""
        return b"".join(map(self.frame, messages))

    def encoded(self, *many: ChatCompletionResponse) -> bytes:
        """Frame records, without an end mark."""
        return self.framed(*map(self.codec.encode, many))


LINES = Framing(
    *(ndjson, json, "line", b"\n", b""),
    lambda message: message + b"\n",
    (b"{}", b'{"cost":1}', b"[", b"}{", b"{}\r\n", b"x" * 900, BOM, b"\n", b"\r", b"\r\n", b" \t", b"\x0b", b"\0"),
)
FRAMES = Framing(
    *(frames, msgpack, "frame", b"\0\0\0\0", b""),
    lambda message: len(message).to_bytes(4, "big") + message,
    (b"\0\0\0\1\x80", b"\0\0\0\2\x80\x80", b"\0\0\0\4\xc1", b"\0\0\3\x84", b"\0\0\0", b"\0", b"\x80", b"\xff" * 4),
)
EVENTS = Framing(
    *(sse, json, "event", b":\n\n", b"data: [DONE]\n\n"),
    lambda message: b"data: " + message + b"\n\n",
    (
        *(b"data: {}", b"data:{}", b"data: ", b"data", b"data: {", b"data: }", b'data: {"cost":"x"}', b"data: [DONE] "),
        *(b"event: error", b"event: message", b"id: 1", b"retry", b": comment", b"xdata: {}", b"x", BOM, b"\0"),
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r"),
    ),
)
FRAMINGS = [LINES, FRAMES, EVENTS]
FRAMINGS_OF = {json: [LINES, EVENTS], msgpack: [FRAMES]}
STREAMS = {json: [ndjson, sse], msgpack: [frames]}
texts = pytest.mark.parametrize("framing", [LINES, EVENTS], ids=["ndjson", "sse"])


class Bad(NamedTuple):
    """What a user sees of an error, but for the records before it."""

    kind: str
    unit: str
    index: int  # type: ignore[assignment]  # the contract's name, and a method of tuples
    offset: int
    reason: str
    data: bytes


def bad(error: RecordError) -> Bad:
    assert isinstance(error, StreamError) is (error.kind in ("incomplete", "upstream"))
    assert str(error) == f"{error.unit} {error.index} at offset {error.offset}: {error.reason}"
    return Bad(error.kind, error.unit, error.index, error.offset, error.reason, error.data)


def plain(record: Any) -> Any:
    """Turn a record of any type into something that compares by its bytes."""
    assert not isinstance(record, (bytearray, memoryview))
    if isinstance(record, Envelope):
        values = (getattr(record, name) for name in record.__struct_fields__)
        return [bytes(value) if isinstance(value, Raw) else value for value in values]
    return bytes(record) if isinstance(record, Raw) else record


def released_view() -> memoryview:
    """Return a view that can be read no more."""
    view = memoryview(b"{}")
    view.release()
    return view


def read_stream(decoder: Any, chunks: Iterable[Any], *, drain: bool = True) -> list[Any]:
    """Feed a stream, and drain each error or not; return records and raised errors in their order."""
    seen: list[Any] = []

    def collect(call: Callable[..., list[Any]], *chunk: Any) -> bool:
        try:
            seen.extend(map(plain, call(*chunk)))
        except RecordError as error:
            seen.extend([*map(plain, error.records), bad(error)])
            return False
        return True

    for chunk in chunks:
        drained = collect(decoder.feed, chunk)
        while drain and not drained:
            drained = collect(decoder.feed, b"")
    collect(decoder.finish)
    assert decoder.buffered == 0
    return seen


def outcome(framing: Framing, chunks: Iterable[Any], **options: Any) -> list[Any]:
    """Decode a stream; return records and raised errors in their order."""
    return read_stream(framing.stream.StreamDecoder(**options), chunks)


def outcome_of_callback(framing: Framing, chunks: Iterable[Any], **options: Any) -> list[Any]:
    """Decode with `on_error`; return the records, then the errors, raised or reported."""
    errors: list[RecordError] = []
    seen = outcome(framing, chunks, on_error=errors.append, **options)
    assert {error.kind for error in errors_of(seen)} <= {"incomplete", "upstream"}
    assert not any(isinstance(error, StreamError) or error.records for error in errors)
    return errors_last(seen + list(map(bad, errors)))


def errors_last(seen: list[Any]) -> list[Any]:
    """Return the records, then the errors by their place."""
    errors = sorted(errors_of(seen), key=lambda error: (error.index, error.kind))
    return [item for item in seen if not isinstance(item, Bad)] + errors


def errors_of(seen: list[Any]) -> list[Bad]:
    return [item for item in seen if isinstance(item, Bad)]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def drained(iterator: Iterator[Any]) -> list[Any]:
    """Iterate past the errors, to the end, which is one for good."""
    assert iter(iterator) is iterator
    seen: list[Any] = []
    while True:
        try:
            for record in iterator:
                seen.append(plain(record))
            assert next(iterator, None) is None
            return seen
        except RecordError as error:
            assert error.records == []
            seen.append(bad(error))


async def each(items: Iterable[T]) -> AsyncIterator[T]:
    """Iterate over `items` asynchronously."""
    for item in items:
        yield item


class Awaited:
    """An async iterator that is iterated over without a loop: it waits for nothing but its turn."""

    def __init__(self, iterator: AsyncIterator[Any]) -> None:
        assert aiter(iterator) is iterator
        self.iterator = iterator

    def __iter__(self) -> Awaited:
        return self

    def __next__(self) -> Any:
        steps = anext(self.iterator).__await__()
        try:
            while True:
                next(steps)
        except StopIteration as done:
            return done.value
        except StopAsyncIteration:
            raise StopIteration from None


@st.composite
def streams_of(draw: st.DrawFn, framing: Framing) -> bytes:
    """Draw a stream of good and bad records and keep-alives, or of anything, cut short or not."""
    whole = b""
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.integers(0, 6))
        if kind == 0:
            whole += framing.keep_alive
        elif kind == 1:
            whole += draw(st.binary(max_size=12))
        elif kind == 2:
            some = b"".join(draw(st.lists(st.sampled_from(framing.pieces), max_size=8)))
            whole += some * draw(st.just(1) | st.integers(2, 60))
        else:
            message = draw(hostile(framing.codec)) if kind == 3 else framing.codec.encode(draw(records))
            whole += framing.frame(message)
    if framing is not FRAMES:
        whole = whole.replace(b"\n", draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])))
        whole = draw(st.sampled_from([b"", b"", BOM])) + whole
    whole = whole[: len(whole) - draw(st.just(0) | st.integers(0, len(whole)))]
    return whole + draw(st.sampled_from([b"", framing.end]))


def traced(run: Callable[[], Any]) -> tuple[int, int]:
    """Return how much memory is kept after `run`, its result included, and the most that there was."""
    tracemalloc.start()
    # The free-threaded build's collector takes memory of its own: some for good, more the larger the heap is.
    gc.disable()
    try:
        gc.collect()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        result = run()
        _, peak = tracemalloc.get_traced_memory()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        del result
        return held - before, peak - before
    finally:
        gc.enable()
        tracemalloc.stop()


def work(run: Callable[[], object]) -> Counter[str]:
    """Count the calls that `run` makes, into Python and into C, by name."""
    calls: Counter[str] = Counter()

    def count(_: Any, event: str, function: Any) -> None:
        if event in ("call", "c_call"):
            calls[function.__name__ if event == "c_call" else event] += 1

    gc.disable()
    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def check_growth(make: Callable[[int], Callable[[], object]], size: int) -> None:
    """Check that 8 times the size takes about 8 times as long, where quadratic cost takes 64 times.

    The best of some rounds counts: the machine may be busy.
    """
    seconds = [float("inf")] * 2
    for _ in range(4):
        for number, scale in enumerate((1, 8)):
            run = make(scale * size)
            gc.disable()
            start = time.process_time()
            run()
            seconds[number] = min(seconds[number], time.process_time() - start)
            gc.enable()
        if seconds[1] < 16 * seconds[0]:
            return
    message = f"{seconds[0]:.4f} s for {size}, {seconds[1]:.4f} s for 8 times as much"
    raise AssertionError(message)


class Alarm(BaseException):
    """What the handler of a signal raises, as `KeyboardInterrupt` is."""


class AlarmError(Exception):
    """The same, of a kind that users catch, as time limits of task queues are."""


alarms = pytest.mark.parametrize("kind", [Alarm, AlarmError])


@contextmanager
def alarm(kind: type[BaseException]) -> Iterator[None]:
    """Raise `kind` after 10 ms of work, as soon as the library runs.

    A garbage collection would drop it, and what measures the coverage would keep its lock for good.
    """
    if not hasattr(signal, "setitimer"):
        pytest.skip("Windows has no timers")

    def ring(_: int, frame: Any) -> None:
        if frame is not None and Path(frame.f_code.co_filename).parent == Path(chatcodec.__file__).parent:
            raise kind
        signal.setitimer(signal.ITIMER_PROF, 0.0001)

    before = signal.signal(signal.SIGPROF, ring)
    gc.disable()
    signal.setitimer(signal.ITIMER_PROF, 0.01)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.enable()
        signal.signal(signal.SIGPROF, before)
