"""The command `chatcodec`: ``stats``, ``check`` and ``convert`` for files of responses of any length.

- `_formats`: formats and compressions, inferred from file names.
- `_files`: inputs that are opened once, and a destination that is replaced as a whole or left alone.
- `_jobs`: work on segments of the inputs, in one process or several.
- `_records`: what each command does with a stream of records.
- `_report`: the output for people.
- `_commands`: the command line and the exit status.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

__all__ = ["main"]

_EXTRA = {"backports", "backports.zstd", "click", "numpy", "rich"}
_INTERRUPTED = 130


def main() -> None:
    """Run the command, and end the process with its status.

    If packages of the extra ``cli`` are missing, say so in one line and end with 2.
    """
    _repair_standard_streams()
    try:
        from ._commands import run  # noqa: PLC0415  # it needs the extra

        sys.exit(run())
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.exit(_missing(error.name))
    except KeyboardInterrupt:  # before the command handles it itself
        sys.exit(_INTERRUPTED)


def _repair_standard_streams() -> None:
    """Replace closed standard streams, and let any file name be printed.

    Otherwise the next file opened would get the descriptor of a closed stream, and output would end up in it.
    """
    # Opened in the wrong direction, so that using them still fails, as it should.
    for name, mode in (("stdin", os.O_WRONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_RDONLY)):
        stream = getattr(sys, name)
        if stream is None:
            descriptor = os.open(os.devnull, mode)
            os.set_inheritable(descriptor, True)  # noqa: FBT003
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
        elif name == "stdout":
            if not isinstance(stream.buffer, io.BufferedWriter):
                # PYTHONUNBUFFERED: the remainder of a short write would be lost.
                sys.stdout = stream = open(stream.fileno(), "w", encoding=stream.encoding, closefd=False)  # noqa: SIM115
            stream.reconfigure(errors="backslashreplace")


def _missing(package: str) -> int:
    with suppress(OSError):  # not through sys.stderr, which would try again when Python exits
        os.write(2, f"chatcodec: the command needs {package}: pip install 'chatcodec[cli]'\n".encode())
    return 2
