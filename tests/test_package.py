"""The package as it is installed: what importing it brings, and what it depends on."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import subprocess
import sys

import pytest

import chatcodec
import chatcodec.media_types


def run(code: str) -> str:
    """Run `code` in a new interpreter and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_it_brings_its_modules_and_msgspec_and_nothing_slow() -> None:
    slow = run(
        "import sys, msgspec; before = set(sys.modules); from chatcodec import *; "
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('chatcodec')))"
    )
    # What the C library struct is made of, and what is built in; anything else costs every start of a gateway.
    assert set(slow.split()) <= {"struct", "_struct", "gc"}


def test_it_never_imports_asyncio_on_its_own() -> None:
    assert run("import sys; from chatcodec import *; print('asyncio' in sys.modules)").strip() == "False"


@pytest.mark.parametrize("name", ["frames", "json", "msgpack", "ndjson", "sse", "transcode"])
def test_a_module_is_imported_where_it_is_first_asked_for(name: str) -> None:
    loaded = f"'chatcodec.{name}' in sys.modules"
    asked = f"import sys, chatcodec; print({loaded}); print(chatcodec.{name}.__name__, '{name}' in dir(chatcodec))"
    assert run(asked).split() == ["False", f"chatcodec.{name}", "True"]


def test_so_it_is_where_somebody_took_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    module = chatcodec.transcode
    monkeypatch.delattr(chatcodec, "transcode")
    assert chatcodec.transcode is module


def test_a_name_that_it_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"\Amodule 'chatcodec' has no attribute 'yaml'\Z"):
        chatcodec.yaml  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_it_depends_on_msgspec_alone() -> None:
    required = importlib.metadata.requires("chatcodec") or []
    assert [name.split(">")[0] for name in required if "extra ==" not in name] == ["msgspec"]


def test_it_is_typed() -> None:
    assert importlib.resources.files(chatcodec).joinpath("py.typed").is_file()


def test_the_media_types_are_those_in_use() -> None:
    assert chatcodec.media_types.JSON == "application/json"
    assert chatcodec.media_types.MSGPACK == "application/vnd.msgpack"
    assert chatcodec.media_types.NDJSON == "application/x-ndjson"
    assert chatcodec.media_types.SSE == "text/event-stream"


def test_every_public_name_is_there_and_documented() -> None:
    for module in (
        chatcodec,
        chatcodec.json,
        chatcodec.msgpack,
        chatcodec.ndjson,
        chatcodec.frames,
        chatcodec.sse,
        chatcodec.transcode,
    ):
        assert module.__doc__
        for name in module.__all__:
            assert getattr(module, name).__doc__, name
