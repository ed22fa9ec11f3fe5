"""The command `chatcodec`: ``stats``, ``check`` and ``convert`` for files of responses of any length.

- `_commands`: what the user types, and how the command ends.
- `_files`: names to formats, files to chunks, files to segments that can be read apart.
- `_jobs`: segments to results, in one process or in several.
- `_work`: what the commands do with a segment.
- `_convert`: what ``convert`` makes of a stream.
- `_output`: a destination that is whole or not there.
- `_report`: what ``stats`` prints.
- `_progress`: what can be seen of it all on a terminal.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_EXTRA = {"click", "numpy", "rich"}


def main() -> None:
    """Run the command, and end the process with its status.

    Without the packages of the extra ``cli``, it says so in one line and ends with 2.
    """
    try:
        from ._commands import run  # noqa: PLC0415  # it needs the extra

        sys.exit(run())
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.exit(_missing(error.name))


def _missing(package: str) -> int:
    sys.stderr.write(f"chatcodec: the command needs {package}: pip install 'chatcodec[cli]'\n")
    return 2
