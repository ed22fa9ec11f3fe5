"""The package as it is installed: what importing it brings, and what it depends on."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import subprocess
import sys

import chatcodec
import chatcodec.media_types


def run(code: str) -> str:
    """Run `code` in a new interpreter and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_it_brings_its_modules_and_msgspec_and_nothing_slow() -> None:
    slow = run(
        "import sys, msgspec; before = set(sys.modules); import chatcodec; "
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('chatcodec')))"
    )
    # What the C library struct is made of, and what is built in; anything else costs every start of a gateway.
    assert set(slow.split()) <= {"struct", "_struct", "gc"}


def test_it_never_imports_asyncio_on_its_own() -> None:
    assert run("import sys, chatcodec; print('asyncio' in sys.modules)").strip() == "False"


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
