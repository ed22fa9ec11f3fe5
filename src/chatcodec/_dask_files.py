"""From paths and URLs to the byte ranges that become partitions, for `chatcodec.dask`."""

from __future__ import annotations

import re
from itertools import pairwise
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, cast

from dask.utils import parse_bytes
from fsspec.core import url_to_fs  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from fsspec.utils import infer_compression  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Block = tuple[Any, str, str, int | None, int, int | None]


def compression(path: str) -> str | None:
    """Return fsspec's name for the compression of the file at `path`, or None."""
    path = re.sub(r"\.\d+\Z", "", path)  # the number of a rotated log
    # fsspec knows Zstandard only if it has found a library for it, which may be one that accepts a cut file.
    return "zstd" if path.lower().endswith(".zst") else infer_compression(path)


def blocks(
    urlpath: str | Sequence[str], blocksize: str | int | None, storage_options: Mapping[str, Any]
) -> Iterator[Block]:
    """Yield each block's file system, path in it, URL, size (if known), start, and stop (if there is one).

    Raises `ValueError` and `OSError`, as `read_ndjson` does.
    """
    length = None if blocksize is None else parse_bytes(blocksize)
    if length is not None and length < 1:
        message = f"blocksize is {blocksize!r}, not a positive number of bytes"
        raise ValueError(message)
    patterns = [urlpath] if isinstance(urlpath, (str, PathLike)) else urlpath
    if not patterns:
        message = "no path or URL is given"
        raise ValueError(message)
    for pattern in patterns:
        for fs, path, url, size in _files(fspath(pattern), storage_options):
            for start, stop in _ranges(path, size, length):
                yield fs, path, url, None if compression(path) else size, start, stop


def _files(pattern: str, storage_options: Mapping[str, Any]) -> Iterator[tuple[Any, str, str, int | None]]:
    """Yield the file system, the path in it, the URL, and the size of each file that `pattern` matches."""
    fs, path = cast("tuple[Any, str]", url_to_fs(pattern, **storage_options))
    fs.invalidate_cache()  # files may have been added or grown since they were listed
    found: dict[str, Any] = fs.glob(path, detail=True) if "*" in path else {path: fs.info(path)}
    files = {path: info for path, info in sorted(found.items()) if info["type"] != "directory"}
    if not files:
        message = f"no file matches {pattern}"
        raise FileNotFoundError(message)
    for path, info in files.items():
        yield fs, path, _url(fs, path, pattern), info["size"]


def _url(fs: Any, path: str, pattern: str) -> str:
    """Return the path or URL, as `fsspec.open` accepts it, of a file that `pattern` matches."""
    if isinstance(fs, LocalFileSystem):
        return path
    links = pattern.split("::")
    named = next((number for number, link in enumerate(links) if "://" in link), -1)
    links[named] = fs.unstrip_protocol(path)
    return "::".join(links)


def _ranges(path: str, size: int | None, length: int | None) -> Iterable[tuple[int, int | None]]:
    if length is None:
        return [(0, None)]
    if compression(path):
        message = f"{path} is compressed, and can only be read whole; use blocksize=None"
        raise ValueError(message)
    if size is None:
        return [(0, None)]
    count = max(1, size // length)
    return pairwise(size * number // count for number in range(count + 1))
