"""The command `chatcodec`: ``stats``, ``check`` and ``convert`` for files of responses of any length.

- `_formats`: names to formats and compressions.
- `_files`: inputs that are opened once, and a destination that is whole or as it was.
- `_jobs`: segments of inputs to results, in one process or in several.
- `_records`: what the commands make of a stream of records.
- `_report`: what a person sees.
- `_commands`: what the user types, and how the command ends.
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

    Without the packages of the extra ``cli``, it says so in one line and ends with 2.
    """
    _repair_standard_streams()
    try:
        from ._commands import run  # noqa: PLC0415  # it needs the extra

        sys.exit(run())
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.exit(_missing(error.name))
    except KeyboardInterrupt:  # before the command itself takes care of it
        sys.exit(_INTERRUPTED)


def _repair_standard_streams() -> None:
    """Put something in place of closed standard streams, and let any name be printed.

    The next file opened would get the number of a closed one, and what is printed would end up in it.
    """
    # Opened for the wrong direction, so that using them is still the error that it should be.
    for name, mode in (("stdin", os.O_WRONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_RDONLY)):
        stream = getattr(sys, name)
        if stream is None:
            descriptor = os.open(os.devnull, mode)
            os.set_inheritable(descriptor, True)  # noqa: FBT003
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
        elif name == "stdout":
            if not isinstance(stream.buffer, io.BufferedWriter):
                # PYTHONUNBUFFERED: what a short write leaves would be lost.
                sys.stdout = stream = open(stream.fileno(), "w", encoding=stream.encoding, closefd=False)  # noqa: SIM115
            stream.reconfigure(errors="backslashreplace")


def _missing(package: str) -> int:
    with suppress(OSError):  # not to sys.stderr, which would try again when Python ends
        os.write(2, f"chatcodec: the command needs {package}: pip install 'chatcodec[cli]'\n".encode())
    return 2
