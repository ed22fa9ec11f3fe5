"""How the values of one field are distributed, in constant memory.

Totals are exact. Quantiles are too while there are few different values. Where there are more, floats that begin
with the same bits share a bin, and these are as many bits as the number of bins allows. So all goes by the values
alone: the distributions of any parts, merged in any order, are that of the whole, bit for bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# So many bins take 256 kB. Spread over four powers of ten, each is a thousandth of its values wide. It is never
# more than a quarter: floats have two signs and 2,047 exponents, and four bins for each are not more than these.
_BINS = 16 * 1024
# One call into numpy for so many values.
_PENDING = 16 * 1024
# The bits of a float behind its sign and its exponent.
_FRACTION_BITS = 52
# Totals are counted in units so small that every float, the least with its 53 bits included, is a whole number of them.
_UNITS = 2**1126


class FieldReport(Struct, rename="camel"):
    """One number of the records: how many have it, and what it amounts to; ``None`` where none has it."""

    count: int
    total: float
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    largest: float | None


class Distribution:
    """The values of one field. What is not finite is left out. It pickles.

    Args:
        bins: how many are kept at the most.
    """

    def __init__(self, bins: int = _BINS) -> None:
        self._most = bins
        self._pending: list[float] = []
        self._total = 0
        self._largest = -math.inf
        # Values that differ in nothing but so many of their last bits share a bin.
        self._dropped = 0
        # The least value in each bin, rising, and how many are in it.
        self._values = np.empty(0, np.float64)
        self._counts = np.empty(0, np.int64)

    def add(self, values: list[float]) -> None:
        """Take in `values`."""
        self._pending += values
        if len(self._pending) >= _PENDING:
            self._flush()

    def _flush(self) -> None:
        values = np.array(self._pending, np.float64)
        self._pending = []
        # This makes 0.0 of -0.0: of two that are equal, which one is the least would depend on their order.
        values = values[np.isfinite(values)] + 0.0
        self._total += _sum(values)
        self._largest = float(values.max(initial=self._largest))
        self._put(values, np.ones(len(values), np.int64))

    def _put(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        """Put `values` into bins, each of them so many times."""
        if not len(values):
            return
        values = np.concatenate((self._values, values))
        order = np.argsort(values)
        values = values[order]
        bits = values.view(np.uint64)
        differing = bits[1:] ^ bits[:-1]
        if len(differing) >= self._most:
            # Fewer differences than there may be bins have more bits than this one. Each of them begins a bin.
            border = int(np.partition(differing, -self._most)[-self._most])
            self._dropped = max(self._dropped, border.bit_length())
        starts = np.concatenate(([0], np.flatnonzero(differing >> self._dropped) + 1))
        self._values = values[starts]
        self._counts = np.add.reduceat(np.concatenate((self._counts, counts))[order], starts)

    def merge(self, other: Distribution) -> None:
        """Take in the values of `other`."""
        other._flush()
        self._total += other._total
        self._largest = max(self._largest, other._largest)
        self._dropped = max(self._dropped, other._dropped)
        self._put(other._values, other._counts)

    @property
    def error(self) -> float:
        """By which part of itself a quantile may be too low at the most; only those below 1e-307 may be more so."""
        self._flush()
        return 2.0 ** (self._dropped - _FRACTION_BITS) if self._dropped else 0.0

    def quantile(self, percent: int) -> float:
        """Return the least value that `percent` of all, or more, are not above. There has to be one."""
        self._flush()
        upto = self._counts.cumsum()
        rank = -(-int(upto[-1]) * percent // 100)
        return float(self._values[upto.searchsorted(rank)])

    def shares(self, edges: Sequence[float]) -> list[float]:
        """Return which part of the values is below the first of `edges`, between each two, and from the last on."""
        self._flush()
        upto = np.concatenate(([0], self._counts.cumsum()))
        ends = upto[self._values.searchsorted(edges)]
        shares: list[float] = (np.diff(ends, prepend=0, append=upto[-1]) / max(upto[-1], 1)).tolist()
        return shares

    def report(self) -> FieldReport:
        """Return the figures so far."""
        self._flush()
        count = int(self._counts.sum())
        if not count:
            return FieldReport(0, 0.0, None, None, None, None, None)
        p50, p90, p99 = map(self.quantile, (50, 90, 99))
        return FieldReport(count, _float(self._total), self._total / (count * _UNITS), p50, p90, p99, self._largest)

    def __getstate__(self) -> dict[str, Any]:
        self._flush()
        return vars(self)


def _sum(values: NDArray[np.float64]) -> int:
    """Return the sum of `values`, exactly, in the units of totals."""
    fractions, exponents = np.frexp(values)
    # The 53 bits of each in halves: 2**26 of them can be added up before a float would have to round.
    low, high = np.modf(fractions * 2.0**27)
    return _shifted(low * 2.0**26, exponents + 1073) + _shifted(high, exponents + 1099)


def _shifted(numbers: NDArray[np.float64], places: NDArray[np.int32]) -> int:
    """Return the sum of whole `numbers`, each times two to the power of its place."""
    sums = np.bincount(places, numbers)
    return sum(int(sums[place]) << place for place in np.flatnonzero(sums).tolist())


def _float(total: int) -> float:
    try:
        return total / _UNITS
    except OverflowError:
        return math.inf if total > 0 else -math.inf
