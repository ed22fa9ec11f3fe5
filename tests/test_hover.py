"""What an editor shows: pyright's language server has a text for every public name, and for what it holds."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lsprotocol.types import (
    ClientCapabilities,
    DidOpenTextDocumentParams,
    HoverParams,
    InitializedParams,
    InitializeParams,
    MarkupContent,
    Position,
    TextDocumentIdentifier,
    TextDocumentItem,
)
from pygls.lsp.client import LanguageClient

import chatcodec
from chatcodec import ChatCompletionResponse, Envelope, RecordError, dask, frames, media_types, ndjson, sse, transcode

# The first start of pyright downloads it.
pytestmark = [pytest.mark.extras, pytest.mark.slow]

MODULES = (chatcodec, chatcodec.json, chatcodec.msgpack, ndjson, frames, sse, transcode, media_types, dask)


async def hover(folder: Path, expressions: list[str]) -> list[str]:
    scripts = Path(sys.executable).parent  # where it finds the Python whose packages it reads
    lines = ["import chatcodec", "import chatcodec.dask", *expressions]
    program = TextDocumentItem((folder / "program.py").as_uri(), "python", 1, "\n".join(lines))
    client = LanguageClient("tests", "1")
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    await client.start_io(str(scripts / "pyright-langserver"), "--stdio", env=environment)
    await client.initialize_async(InitializeParams(ClientCapabilities(), root_uri=folder.as_uri()))
    client.initialized(InitializedParams())
    client.text_document_did_open(DidOpenTextDocumentParams(program))
    shown = []
    for number, line in enumerate(lines[2:], 2):
        place = Position(number, len(line) - 1)
        result = await client.text_document_hover_async(HoverParams(TextDocumentIdentifier(program.uri), place))
        shown.append(result.contents.value if result and isinstance(result.contents, MarkupContent) else "")
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()  # type: ignore[no-untyped-call]
    return shown


def shown_for(folder: Path, expressions: list[str]) -> list[str]:
    """Return what pyright's language server shows at the last name of each expression."""
    return asyncio.run(asyncio.wait_for(hover(folder, expressions), timeout=300))


def public_names(module: Any) -> list[str]:
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    # The errors of msgspec have no texts in its stubs.
    return [name for name in names if getattr(getattr(module, name), "__module__", None) != msgspec.__name__]


DECODERS = [f"chatcodec.{framing}.StreamDecoder" for framing in ("ndjson", "frames", "sse")]
NAMES: dict[str, Iterable[str]] = {
    **{module.__name__: public_names(module) for module in MODULES},
    **{f"chatcodec.{record.__name__}": record.__struct_fields__ for record in (ChatCompletionResponse, Envelope)},
    **{f"chatcodec.dask.{report.__name__}": report.__struct_fields__ for report in (dask.Report, dask.FieldReport)},
    **dict.fromkeys(
        ("chatcodec.RecordError", "chatcodec.StreamError"), vars(RecordError("malformed", "line", 1, 0, ""))
    ),
    **dict.fromkeys(DECODERS, ("feed", "finish", "buffered")),
    "chatcodec.Framing": [name for name in vars(chatcodec.Framing) if not name.startswith("_")],
}


def test_every_public_name_and_what_it_holds_has_a_text(tmp_path: Path) -> None:
    names = [f"{owner}.{name}" for owner, held in NAMES.items() for name in held]
    shown = shown_for(tmp_path, names)
    # A signature comes before the text.
    assert [name for name, text in zip(names, shown, strict=True) if not text.partition("\n\n")[2].strip()] == []


def test_the_meaning_of_a_field_and_the_signature_of_patch_are_shown(tmp_path: Path) -> None:
    fields = ["chatcodec.json.decode(b'{}').cost", "chatcodec.json.peek(b'{}').latency"]
    cost, latency, *patches = shown_for(tmp_path, [*fields, "chatcodec.json.patch", "chatcodec.msgpack.patch"])
    assert cost == "(variable) cost: float | None\n\nWhat the generation cost, in the provider's currency."
    assert latency == "(variable) latency: float | None\n\nHow long it took, in milliseconds."
    for shown in patches:
        assert " ".join(shown.split()).startswith("(constant) def patch( buf: Buffer, *, extra: Mapping[str, Any]")
