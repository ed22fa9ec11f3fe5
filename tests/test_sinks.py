"""Records encoded as they come: what is ready goes into one chunk, and nothing waits for what is not."""

from __future__ import annotations

import asyncio
import traceback
import types
from typing import TYPE_CHECKING, Any

import pytest

from chatcodec import ChatCompletionResponse, EncodeError, frames, ndjson, sse

from .test_stream import COSTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator


class Service:
    """Records out of a queue, as a handler gets them; `None` waits for nothing, an exception is raised."""

    def __init__(self, *items: Any) -> None:
        self.items: asyncio.Queue[Any] = asyncio.Queue()
        self.cleaned_up = False
        for item in items:
            self.items.put_nowait(item)

    async def records(self) -> AsyncIterator[Any]:
        """Yield records until there is an `Ellipsis`."""
        try:
            while (item := await self.items.get()) is not ...:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            await asyncio.sleep(0)
            self.cleaned_up = True


def chunks_of(*items: Any) -> list[bytes]:
    async def main() -> list[bytes]:
        return [chunk async for chunk in sse.aiter_encode(Service(*items).records())]

    return asyncio.run(main())


def test_what_is_ready_goes_into_one_chunk_with_the_end_behind_it() -> None:
    assert chunks_of(*COSTS, ...)[0] == sse.encode(COSTS)
    assert b"".join(chunks_of(*COSTS, b"{}", ...)) == sse.encode([*COSTS, b"{}"]) + sse.DONE


@pytest.mark.parametrize("stream", [ndjson, frames])
def test_lines_and_frames_have_no_end_to_write(stream: Any) -> None:
    async def main() -> list[bytes]:
        return [chunk async for chunk in stream.aiter_encode(Service(*COSTS, ...).records())]

    assert asyncio.run(main()) == [stream.encode(COSTS)]


def test_no_records_are_the_end_alone() -> None:
    assert chunks_of(...) == [sse.DONE]


def test_nothing_waits_for_what_is_not_ready() -> None:
    async def main() -> None:
        service = Service(*COSTS[:2])
        chunks = sse.aiter_encode(service.records())
        assert await chunks.__anext__() == sse.encode(COSTS[:2])
        waiting = asyncio.ensure_future(chunks.__anext__())
        await asyncio.sleep(0)
        assert not waiting.done()
        service.items.put_nowait(COSTS[2])
        service.items.put_nowait(COSTS[3])
        assert await waiting == sse.encode(COSTS[2:4])
        service.items.put_nowait(...)
        assert [chunk async for chunk in chunks] == [sse.DONE]

    asyncio.run(main())


def test_a_chunk_is_not_much_longer_than_a_batch() -> None:
    record = ChatCompletionResponse(session_id="x" * 1000)
    chunks = chunks_of(*[record] * 100, ...)
    assert b"".join(chunks) == sse.encode([record] * 100) + sse.DONE
    assert all(len(chunk) < 18_000 for chunk in chunks)
    assert len(chunks) < 10


def test_what_the_source_raises_comes_behind_what_came_before_and_without_the_end() -> None:
    async def main() -> None:
        chunks = sse.aiter_encode(Service(COSTS[0], ConnectionError()).records())
        assert await chunks.__anext__() == sse.encode(COSTS[:1])
        with pytest.raises(ConnectionError):
            await chunks.__anext__()
        assert [chunk async for chunk in chunks] == []

    asyncio.run(main())


def test_a_record_that_cannot_be_written_is_told_with_its_number() -> None:
    async def main() -> None:
        chunks = sse.aiter_encode(Service(COSTS[0], b"{\n}", ...).records())
        assert await chunks.__anext__() == sse.encode(COSTS[:1])
        with pytest.raises(EncodeError, match=r"^record 2: a line end") as caught:
            await chunks.__anext__()
        assert "".join(traceback.format_exception(caught.value)).count("EncodeError: ") == 1

    asyncio.run(main())


@pytest.mark.parametrize("count", [2, 40], ids=["waiting", "in between"])
def test_a_reader_that_leaves_ends_the_source_too(count: int) -> None:
    async def main() -> None:
        service = Service(*[ChatCompletionResponse(session_id="x" * 1000)] * count)
        records = service.records()
        chunks: Any = sse.aiter_encode(records)
        assert await chunks.__anext__()
        await chunks.aclose()
        await records.aclose()  # type: ignore[attr-defined]
        assert service.cleaned_up

    asyncio.run(main())


def test_a_source_that_waits_is_closed_as_a_generator_before_a_reader_that_leaves_goes_on() -> None:
    closed: list[bool] = []

    async def source() -> AsyncIterator[Any]:
        yield COSTS[0]
        try:
            await asyncio.sleep(20)
        except GeneratorExit:
            closed.append(True)
            raise

    async def main() -> None:
        records = source()
        chunks: Any = sse.aiter_encode(records)
        assert await chunks.__anext__() == sse.encode(COSTS[:1])
        await chunks.aclose()
        assert closed == [True]

    asyncio.run(main())


def test_any_event_loop_will_do_and_hears_what_the_source_waits_for() -> None:
    @types.coroutine
    def ask(question: str) -> Generator[str, Any, Any]:
        return (yield question)

    async def source() -> AsyncIterator[Any]:
        yield await ask("first?")
        yield COSTS[1]
        yield await ask("third?")

    async def main() -> list[bytes]:
        return [chunk async for chunk in ndjson.aiter_encode(source())]

    answers = {"first?": COSTS[0], "third?": COSTS[2]}
    asked: list[str] = []
    task, answer = main(), None
    with pytest.raises(StopIteration) as ended:
        while True:
            asked.append(task.send(answer))
            answer = answers[asked[-1]]
    assert asked == ["first?", "third?"]
    assert ended.value.value == [ndjson.encode(COSTS[:2]), ndjson.encode(COSTS[2:3])]


def test_cancelling_passes_through() -> None:
    async def main() -> None:
        service = Service(COSTS[0])
        chunks = sse.aiter_encode(service.records())
        await chunks.__anext__()
        waiting = asyncio.ensure_future(chunks.__anext__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert service.cleaned_up

    asyncio.run(main())


def test_what_the_source_raises_when_it_is_left_is_not_told() -> None:
    class Failing:
        """Waits, and fails where it is closed."""

        sent = False

        def __aiter__(self) -> Failing:
            return self

        async def __anext__(self) -> ChatCompletionResponse:
            if not self.sent:
                self.sent = True
                return COSTS[0]
            try:
                await asyncio.sleep(20)
            except GeneratorExit:
                raise KeyError from None
            return COSTS[1]

    async def main() -> None:
        chunks: Any = sse.aiter_encode(Failing())
        assert await chunks.__anext__() == sse.encode(COSTS[:1])
        await chunks.aclose()

    asyncio.run(main())
