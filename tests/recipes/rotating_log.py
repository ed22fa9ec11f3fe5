"""Keep responses in a log of lines that rotates, and read it again."""

import logging.handlers
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chatcodec import ChatCompletionResponse, RecordError, json, ndjson


class ResponseLog(logging.handlers.RotatingFileHandler):
    """Writes each response that is logged, as with `log.info(response)`."""

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8")

    def format(self, record: logging.LogRecord) -> str:
        """Return a response as its line."""
        response: Any = record.msg
        return json.encode(response).decode()


def read_log(path: Path) -> Iterator[ChatCompletionResponse | RecordError]:
    """Yield the records of `path` and of what was rotated away, the oldest first, and the errors between them."""
    parts = [part for part in path.parent.iterdir() if re.fullmatch(rf"{re.escape(path.name)}(\.\d+)?", part.name)]
    for part in sorted(parts, key=age, reverse=True):
        with part.open("rb") as file:
            records = ndjson.iter_decode(file)
            while True:
                try:
                    yield from records
                    break
                except RecordError as error:
                    yield error  # and go on after it


def age(path: Path) -> int:
    """Return how often a part of a log was rotated: `a.ndjson` 0 times, `a.ndjson.2` twice."""
    return int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0
