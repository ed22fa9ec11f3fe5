"""Count distinct texts, in constant memory."""

from __future__ import annotations

from hashlib import blake2b
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

# Up to 16,384 texts are counted exactly, in 128 kB.
_KEPT = 16 * 1024 + 1
# 95 % of a normal distribution is within 1.96 standard deviations. The estimator's, in the paper, is below this one.
_ERROR = 1.96 / sqrt(_KEPT - 2)
# Sort about this many new hashes at once.
_PENDING = 16 * 1024


class Distinct:
    """The number of distinct texts, exact or estimated. It can be pickled.

    Keeps only the smallest hashes (k minimum values), so that the result depends on the set of texts, and neither on
    their order nor on how they were partitioned. The estimator is the unbiased one of Beyer, Haas, Reinwald, Sismanis
    and Gemulla, "On Synopses for Distinct-Value Estimation Under Multiset Operations", SIGMOD 2007, section 4: if the
    hashes are uniform on [0, 1) and the k-th smallest is u, there are (k - 1) / u of them.
    """

    def __init__(self) -> None:
        self._smallest = np.empty(0, np.uint64)
        self._pending: list[NDArray[np.uint64]] = []
        self._pending_count = 0

    def add(self, texts: Collection[str]) -> None:
        """Add `texts`."""
        # Python's own hash of a text differs between processes. 8 of these 64 bytes are enough.
        digests = b"".join([blake2b(text.encode()).digest() for text in texts])
        self._pending.append(np.frombuffer(digests, "<u8")[::8])
        self._pending_count += len(texts)
        if self._pending_count >= _PENDING:
            self._flush()

    def merge(self, other: Distinct) -> None:
        """Add the texts of `other`."""
        other._flush()
        self._pending.append(other._smallest)
        self._flush()

    def _flush(self) -> None:
        hashes = np.sort(np.concatenate([self._smallest, *self._pending]))
        first = np.ones(len(hashes), np.bool_)
        first[1:] = hashes[1:] != hashes[:-1]
        self._smallest = hashes[first][:_KEPT]
        self._pending, self._pending_count = [], 0

    def estimate(self) -> tuple[int, float]:
        """Return the number of distinct texts and its relative error (95 % confidence), 0 if it is exact."""
        self._flush()
        kept = len(self._smallest)
        if kept < _KEPT:
            return kept, 0.0
        return round((kept - 1) / int(self._smallest[-1]) * 2**64), _ERROR

    def __getstate__(self) -> dict[str, Any]:
        self._flush()
        return vars(self)
