"""What an editor shows: pyright's language server has a text for every public name, and for what it holds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import msgspec
import pytest

import chatcodec
from chatcodec import ChatCompletionResponse, Envelope, RecordError, dask, frames, media_types, ndjson, sse, transcode

# The first start of pyright downloads it.
pytestmark = [pytest.mark.extras, pytest.mark.slow]

COMMAND = (Path(sys.executable).with_name("pyright-langserver"), "--stdio")
CAPABILITIES = {"workspace": {"configuration": True}, "textDocument": {"hover": {"contentFormat": ["plaintext"]}}}
TIMEOUT = 300

MODULES = (chatcodec, chatcodec.json, chatcodec.msgpack, ndjson, frames, sse, transcode, media_types, dask)


class Server:
    """A client of the language server, of as much of the protocol as hovering needs."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.input, self.output = process.stdin, process.stdout
        self.folder = folder
        self.requests = 0
        self.ask("initialize", processId=None, rootUri=folder.as_uri(), capabilities=CAPABILITIES)
        self.send(method="initialized", params={})

    def send(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.input.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.input.flush()

    def receive(self) -> dict[str, Any]:
        headers = list(iter(lambda: self.output.readline().strip(), b""))
        assert headers, "the language server has ended"
        (size,) = (int(line.split(b":")[1]) for line in headers if line.startswith(b"Content-Length"))
        message: dict[str, Any] = json.loads(self.output.read(size))
        return message

    def ask(self, method: str, **params: Any) -> Any:
        """Return the result of a request, and answer those of the server meanwhile."""
        self.requests += 1
        self.send(id=self.requests, method=method, params=params)
        while True:
            message = self.receive()
            if message.get("method") == "workspace/configuration":
                settings = {"pythonPath": sys.executable}
                self.send(id=message["id"], result=[settings for _ in message["params"]["items"]])
            elif "method" in message:
                if "id" in message:
                    self.send(id=message["id"], result=None)
            elif message["id"] == self.requests:
                return message["result"]

    def hover(self, expressions: list[str]) -> dict[str, str]:
        """Return what is shown at the last name of each expression."""
        lines = ["import chatcodec", "import chatcodec.dask", *expressions]
        document = {"uri": (self.folder / f"program_{self.requests}.py").as_uri()}
        opened = {**document, "languageId": "python", "version": 1, "text": "\n".join(lines)}
        self.send(method="textDocument/didOpen", params={"textDocument": opened})
        shown = {}
        for number, line in enumerate(lines[2:], 2):
            place = {"line": number, "character": len(line) - 1}
            result = self.ask("textDocument/hover", textDocument=document, position=place)
            shown[line] = result["contents"]["value"] if result else ""
        return shown


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        timer = Timer(TIMEOUT, process.kill)
        timer.start()
        try:
            yield Server(process, tmp_path_factory.mktemp("program"))
        finally:
            timer.cancel()
            process.kill()


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


@pytest.mark.parametrize("owner", NAMES)
def test_every_public_name_and_what_it_holds_has_a_text(server: Server, owner: str) -> None:
    names = [f"{owner}.{name}" for name in NAMES[owner]]
    assert names
    # A signature comes before the text.
    assert [name for name, shown in server.hover(names).items() if not shown.partition("\n\n")[2].strip()] == []


def test_what_a_field_of_the_record_means_is_shown(server: Server) -> None:
    shown = server.hover(["chatcodec.json.decode(b'{}').cost", "chatcodec.json.peek(b'{}').latency"])
    assert [*shown.values()] == [
        "(variable) cost: float | None\n\nWhat the generation cost, in the provider's currency.",
        "(variable) latency: float | None\n\nHow long it took, in milliseconds.",
    ]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_the_signature_of_patch_is_shown(server: Server, codec: str) -> None:
    (shown,) = server.hover([f"chatcodec.{codec}.patch"]).values()
    assert " ".join(shown.split()).startswith("(function) def patch( buf: Buffer, *, extra: Mapping[str, Any] | None")
