"""The distribution of one field's values, in constant memory.

Totals are exact, and so are quantiles while there are few distinct values. With more, floats that share their leading
bits share a bin; the number of leading bits follows from the number of bins. The result depends only on the values: the
distributions of any parts, merged in any order, equal that of the whole, bit for bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# These bins take 256 kB. For values that span four powers of ten, a bin's relative width is 0.1 %. It never exceeds
# 25 %: floats have two signs and 2,047 exponents, which leaves four bins for each.
_BINS = 16 * 1024
# Sort this many new values at once.
_PENDING = 16 * 1024
# A float's bits after its sign and exponent.
_FRACTION_BITS = 52
# Totals are integers in units of 2**-1126, of which every float, the smallest included, is a multiple.
_UNITS = 2**1126


class FieldReport(Struct, rename="camel"):
    """The figures of one field. All but `count` and `total` are ``None`` if no record has it."""

    count: int
    """How many records have the field."""
    total: float
    """The sum of its values."""
    mean: float | None
    """The mean."""
    p50: float | None
    """The median."""
    p90: float | None
    """The 90th percentile."""
    p99: float | None
    """The 99th percentile."""
    largest: float | None
    """The largest value."""


class Distribution:
    """The values of one field. Ignores NaN and infinities. It can be pickled.

    Args:
        bins: the maximum number of bins.
    """

    def __init__(self, bins: int = _BINS) -> None:
        self._max_bins = bins
        self._pending: list[float] = []
        self._total = 0
        self._largest = -math.inf
        # Values that differ only in this many of their last bits share a bin.
        self._dropped = 0
        # The smallest value of each bin, ascending, and the number of values in it.
        self._values = np.empty(0, np.float64)
        self._counts = np.empty(0, np.int64)

    def add(self, values: list[float]) -> None:
        """Add `values`."""
        self._pending += values
        if len(self._pending) >= _PENDING:
            self._flush()

    def _flush(self) -> None:
        values = np.array(self._pending, np.float64)
        self._pending = []
        # Adding 0.0 turns -0.0 into 0.0: they are equal, so the one kept would depend on their order.
        values = values[np.isfinite(values)] + 0.0
        self._total += _sum(values)
        self._largest = float(values.max(initial=self._largest))
        self._put(values, np.ones(len(values), np.int64))

    def _put(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        """Put `values` into bins, each as often as `counts` says."""
        if not len(values):
            return
        values = np.concatenate((self._values, values))
        order = np.argsort(values)
        values = values[order]
        bits = values.view(np.uint64)
        differing = bits[1:] ^ bits[:-1]
        if len(differing) >= self._max_bins:
            # Start bins at the largest differences, as many as the limit allows.
            border = int(np.partition(differing, -self._max_bins)[-self._max_bins])
            self._dropped = max(self._dropped, border.bit_length())
        starts = np.concatenate(([0], np.flatnonzero(differing >> self._dropped) + 1))
        self._values = values[starts]
        self._counts = np.add.reduceat(np.concatenate((self._counts, counts))[order], starts)

    def merge(self, other: Distribution) -> None:
        """Add the values of `other`."""
        other._flush()
        self._total += other._total
        self._largest = max(self._largest, other._largest)
        self._dropped = max(self._dropped, other._dropped)
        self._put(other._values, other._counts)

    @property
    def error(self) -> float:
        """The largest relative error of a quantile, which is never too high. Does not hold for values below 1e-307."""
        self._flush()
        return 2.0 ** (self._dropped - _FRACTION_BITS) if self._dropped else 0.0

    def quantile(self, percent: int) -> float:
        """Return the smallest value that at least `percent` % of the values do not exceed; there must be values."""
        self._flush()
        cumulative = self._counts.cumsum()
        rank = -(-int(cumulative[-1]) * percent // 100)
        return float(self._values[cumulative.searchsorted(rank)])

    def shares(self, edges: Sequence[float]) -> list[float]:
        """Return the share of values below the first of `edges`, between each two, and from the last one on."""
        self._flush()
        cumulative = np.concatenate(([0], self._counts.cumsum()))
        ends = cumulative[self._values.searchsorted(edges)]
        shares: list[float] = (np.diff(ends, prepend=0, append=cumulative[-1]) / max(cumulative[-1], 1)).tolist()
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
    """Return the exact sum of `values`, in units of 2**-1126."""
    fractions, exponents = np.frexp(values)
    # Split the 53 bits into halves: floats can add 2**26 of these without rounding.
    low, high = np.modf(fractions * 2.0**27)
    return _shifted(low * 2.0**26, exponents + 1073) + _shifted(high, exponents + 1099)


def _shifted(numbers: NDArray[np.float64], places: NDArray[np.int32]) -> int:
    """Return the sum of the integers `numbers`, each shifted left by its place."""
    sums = np.bincount(places, numbers)
    return sum(int(sums[place]) << place for place in np.flatnonzero(sums).tolist())


def _float(total: int) -> float:
    try:
        return total / _UNITS
    except OverflowError:
        return math.inf if total > 0 else -math.inf
