"""A destination that is whole or not there."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from ._files import Failure, File, compressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def output(file: File) -> Iterator[Callable[[bytes], object]]:
    """Yield what writes to `file`. A regular file gets its name at the end, and nothing is left of half a one.

    Raises `Failure` where writing does, but at a broken pipe, which is `BrokenPipeError`.
    """
    try:
        if file.name == "-":
            yield sys.stdout.buffer.write
        elif _is_special(file.name):
            with open(file.name, "wb") as raw:  # noqa: PTH123
                yield from _written(raw, file)
        else:
            yield from _whole_file(file)
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"{'standard output' if file.name == '-' else file.name}: {error.strerror}"
        raise Failure(message) from error


def _is_special(name: str) -> bool:
    """Whether `name` is a device or a pipe, which is written to as it is."""
    return os.path.exists(name) and not stat.S_ISREG(os.stat(name).st_mode)  # noqa: PTH110, PTH116


def _written(raw: BinaryIO, file: File) -> Iterator[Callable[[bytes], object]]:
    with compressed(raw, file) as text:
        yield text.write


def _whole_file(file: File) -> Iterator[Callable[[bytes], object]]:
    # Beside the destination, because a rename cannot leave the disk; behind links, to keep them.
    target = os.path.realpath(file.name)
    folder, name = os.path.split(target)
    unfinished = os.path.join(folder, f".{name}.{os.getpid()}.part")  # noqa: PTH118
    try:
        with open(unfinished, "xb") as raw:  # noqa: PTH123
            yield from _written(raw, file)
        os.replace(unfinished, target)  # noqa: PTH105
    except BaseException:
        if os.path.exists(unfinished):  # noqa: PTH110
            os.unlink(unfinished)  # noqa: PTH108
        raise
