"""The installed package: what importing it costs, and its public names."""

from __future__ import annotations

import subprocess
import sys

import chatcodec
from chatcodec import Framing, frames, json, media_types, msgpack, ndjson, sse, transcode


def run(code: str) -> list[str]:
    """Run `code` in a new interpreter, and return the words that it prints."""
    return subprocess.check_output([sys.executable, "-c", code], text=True).split()


def test_importing_it_imports_msgspec_and_nothing_slow() -> None:
    code = "import sys, msgspec; before = {*sys.modules}; from chatcodec import *; print(*{*sys.modules} - before)"
    # These are built into the interpreter or tiny. Anything else would slow down the start of every gateway.
    assert {name for name in run(code) if not name.startswith("chatcodec")} <= {"struct", "_struct", "gc"}


def test_completion_offers_the_public_names_alone() -> None:
    assert dir(chatcodec) == sorted([*chatcodec.__all__, "__version__"])


def test_every_public_name_exists_and_is_documented() -> None:
    for module in (chatcodec, json, msgpack, ndjson, frames, sse, transcode):
        assert module.__doc__
        for name in module.__all__:
            assert getattr(module, name).__doc__, name


def test_the_stream_modules_are_framings_to_type_checkers() -> None:
    """The annotation is the test: mypy and pyright compare the modules with the protocol."""
    framings: list[Framing] = [ndjson, frames, sse]
    assert [framing.encode([]) for framing in framings] == [b"", b"", b""]


def test_the_media_types_are_those_in_use() -> None:
    found = media_types.JSON, media_types.MSGPACK, media_types.NDJSON, media_types.SSE
    assert found == ("application/json", "application/vnd.msgpack", "application/x-ndjson", "text/event-stream")
