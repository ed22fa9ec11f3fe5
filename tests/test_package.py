"""The installed package: its imports, dependencies, types and public names."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import subprocess
import sys

import pytest

import chatcodec
from chatcodec import ChatCompletionResponse, Framing, frames, json, msgpack, ndjson, sse, transcode


def run(code: str) -> str:
    """Run `code` in a new interpreter and return what it prints."""
    return subprocess.check_output([sys.executable, "-c", code], text=True)


def test_importing_it_imports_msgspec_and_nothing_slow() -> None:
    slow = run(
        "import sys, msgspec; before = set(sys.modules); from chatcodec import *; "
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('chatcodec')))"
    )
    # These are built into the interpreter or tiny. Anything else would slow down the start of every gateway.
    assert set(slow.split()) <= {"struct", "_struct", "gc"}


@pytest.mark.parametrize("name", ["frames", "json", "media_types", "msgpack", "ndjson", "sse", "transcode", "Framing"])
def test_a_module_or_protocol_is_imported_when_it_is_first_used(name: str) -> None:
    module = "_framing" if name == "Framing" else name
    loaded = f"'chatcodec.{module}' in sys.modules"
    used = f"import sys, chatcodec; print({loaded}); chatcodec.{name}; print({loaded}, '{name}' in dir(chatcodec))"
    assert run(used).split() == ["False", "True", "True"]


def test_a_deleted_module_is_imported_again(monkeypatch: pytest.MonkeyPatch) -> None:
    module = chatcodec.transcode
    monkeypatch.delattr(chatcodec, "transcode")
    assert chatcodec.transcode is module


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"\Amodule 'chatcodec' has no attribute 'yaml'\Z"):
        chatcodec.yaml  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_it_depends_on_msgspec_alone() -> None:
    required = importlib.metadata.requires("chatcodec") or []
    assert [name.split(">")[0] for name in required if "extra ==" not in name] == ["msgspec"]


def test_it_is_typed() -> None:
    assert importlib.resources.files(chatcodec).joinpath("py.typed").is_file()


def test_completion_offers_public_names_alone() -> None:
    assert [name for name in dir(chatcodec) if name.startswith("_")] == ["__version__"]


def test_the_stream_modules_are_framings_to_type_checkers() -> None:
    """The annotations are the test: mypy and pyright compare the modules with the protocol."""
    framings: list[Framing] = [ndjson, frames, sse]
    for framing in framings:
        stream = framing.encode([ChatCompletionResponse(cost=0.5)]) + framing.END
        assert [record.cost for record in framing.iter_decode([stream])] == [0.5]


def test_the_media_types_are_those_in_use() -> None:
    assert chatcodec.media_types.JSON == "application/json"
    assert chatcodec.media_types.MSGPACK == "application/vnd.msgpack"
    assert chatcodec.media_types.NDJSON == "application/x-ndjson"
    assert chatcodec.media_types.SSE == "text/event-stream"


def test_every_public_name_exists_and_is_documented() -> None:
    for module in (chatcodec, json, msgpack, ndjson, frames, sse, transcode):
        assert module.__doc__
        for name in module.__all__:
            assert getattr(module, name).__doc__, name
