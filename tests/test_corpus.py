"""The traffic that tests and benchmarks run on: the same everywhere, and like what it stands for."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from bench import corpus
from chatcodec import ChatCompletionResponse, ndjson

SAMPLE = {name: (corpus.SAMPLE / name).read_bytes() for name in ("responses.ndjson", "deltas.ndjson")}


def test_the_sample_is_what_the_generator_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "SAMPLE", tmp_path / "data")
    corpus.main()
    corpus.main()
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == SAMPLE


def test_there_are_as_many_records_as_asked_for_and_another_seed_gives_others() -> None:
    assert len(list(corpus.responses(3))) == 3
    assert len(list(corpus.deltas(1000))) == 1000
    assert list(corpus.responses(5, seed=7)) != list(corpus.responses(5, seed=8))


@pytest.mark.parametrize(("make", "least", "most"), [(corpus.responses, 2500, 3300), (corpus.deltas, 215, 235)])
def test_records_are_as_long_as_real_ones(make: Any, least: float, most: float) -> None:
    assert least < mean(map(len, corpus.lines(make(3000)))) < most


@pytest.mark.parametrize("name", SAMPLE)
def test_every_line_is_a_record(name: str) -> None:
    records = ndjson.StreamDecoder(ChatCompletionResponse).feed(SAMPLE[name])
    assert len(records) == SAMPLE[name].count(b"\n")
    assert all(record.timestamp and record.generation_id and record.session_id for record in records)


@pytest.mark.parametrize(
    "text",
    ["```python", "|---|", "tool_calls", '"length"', *"🎉。다\u2028", "Größere", r"\u", r"\"", r"\\", r"\n", r"\t"],
)
def test_the_sample_shows_what_real_traffic_holds(text: str) -> None:
    assert any(text.encode() in data for data in SAMPLE.values())


def test_chunks_make_up_the_response_that_they_were_cut_from() -> None:
    responses = {response["generationId"]: response for response in corpus.responses(60)}
    streams = groupby(corpus.deltas(15_000), key=lambda delta: delta["generationId"])
    whole = [(responses[name], list(chunks)) for name, chunks in streams][:-1]
    assert {response["choices"][0]["finish_reason"] for response, _ in whole} >= {"stop", "tool_calls"}
    for response, chunks in whole:
        *_, last = chunks
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        calls = [call["function"]["arguments"] for delta in deltas for call in delta.get("tool_calls", ())]
        message = response["choices"][0]["message"]
        text = message["content"] or message["tool_calls"][0]["function"]["arguments"]
        assert "".join([delta.get("content") or "" for delta in deltas] + calls) == text
        assert [chunk for chunk in chunks if "cost" in chunk or "latency" in chunk] == [last]
        assert (last["cost"], last["latency"]) == (response["cost"], response["latency"])
        assert last["choices"][0]["finish_reason"] == response["choices"][0]["finish_reason"]
