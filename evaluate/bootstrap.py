"""Correlations in bootstrap resamples of the videos, all resamples at once.

A resample is held as the number of times that each video is drawn. Everything then follows from the
videos sorted once: a rank from running sums of the counts, a rank correlation without sorting a
resample. The results are those of scipy on the videos drawn (tests/evaluate/test_bootstrap.py), in
about a thirtieth of the time (benchmarks/metrics.py).
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.float32]
"""How often each video is drawn, shape (resamples, videos).

Counts, their running sums and ranks are exact in single precision up to 8 million videos; sums of
products are made in double.
"""

RESAMPLES = 1000
"""Bootstrap resamples behind an interval."""

CONFIDENCE = 95.0
"""Confidence of an interval, in percent."""

SEED = 0
"""Of the draws: fixed, because an interval is a property of the predictions."""

_BLOCK = 200_000  # resampled videos held at once: 0.8 MB an array, which stays in the cache
_ENOUGH = 0.95  # of the resamples must define a metric, else their percentiles say little


Statistic = Callable[[Counts], Array]
"""From counts to values, shape (resamples, ...), NaN where it is not defined."""


def draws(videos: int, seed: int = SEED) -> Iterator[Counts]:
    """Draw videos with replacement, `RESAMPLES` times as many as there are.

    The r-th resample is the r-th row of `default_rng(seed).integers(0, videos, (1000, videos))`.

    Yields:
        The counts of a block of resamples, shape (resamples, videos).
    """
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // max(videos, 1))
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        drawn = rng.integers(0, videos, size=(size, videos))
        yield np.stack([np.bincount(row, minlength=videos) for row in drawn]).astype(np.float32)


def resampled(videos: int, statistic: Statistic, seed: int = SEED) -> Array:
    """A statistic in every resample.

    Args:
        videos: how many there are.
        statistic: of the counts.
        seed: of the draws.

    Returns:
        Shape (`RESAMPLES`, ...).
    """
    return np.concatenate([statistic(counts) for counts in draws(videos, seed)])


def interval(values: Array) -> list[float] | None:
    """Percentile interval of resampled values, None where too few resamples define them."""
    defined = values[~np.isnan(values)]
    if defined.size < _ENOUGH * values.size:
        return None
    tail = (100 - CONFIDENCE) / 2
    return [float(bound) for bound in np.percentile(defined, [tail, 100 - tail])]


def srcc(x: Array, y: Array) -> Statistic:
    """Spearman's correlation of x and y, shape (videos,), as a function of counts."""
    ranked_x, ranked_y = _Ranks(x), _Ranks(y)

    def statistic(counts: Counts) -> Array:
        rank_x, spread_x = ranked_x.centred(counts)
        rank_y, spread_y = ranked_y.centred(counts)
        rank_x *= counts
        return _ratio(
            np.einsum("rv,rv->r", rank_x, rank_y, dtype=np.float64), np.sqrt(spread_x * spread_y)
        )

    return statistic


def krcc(x: Array, y: Array) -> Statistic:
    """Kendall's tau-b of x and y, shape (videos,), as a function of counts."""
    tied_x, tied_y, tied_both = _Ranks(x), _Ranks(y), _Ranks(_joint(x, y))
    inversions = _Inversions(x, y)

    def statistic(counts: Counts) -> Array:
        drawn = counts.sum(axis=1, dtype=np.float64)
        pairs = drawn * (drawn - 1) / 2
        itself = (np.einsum("rv,rv->r", counts, counts, dtype=np.float64) - drawn) / 2
        in_x, in_y, in_both = (
            values.tied_pairs(counts) if values.ties else itself
            for values in (tied_x, tied_y, tied_both)
        )
        difference = pairs - in_x - in_y + in_both - 2 * inversions(counts)
        return _ratio(difference, np.sqrt((pairs - in_x) * (pairs - in_y)))

    return statistic


def plcc(x: Array, y: Array) -> Statistic:
    """Pearson's correlation of x and y, shape (videos,), as a function of counts."""
    x, y = x - x.mean(), y - y.mean()  # near their means the sums of squares lose no digits
    moments = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)

    def statistic(counts: Counts) -> Array:
        n, sum_x, sum_y, xx, yy, xy = (counts @ moments).T
        spread = np.clip(n * xx - sum_x**2, 0, None) * np.clip(n * yy - sum_y**2, 0, None)
        # What rounding leaves of a constant is no spread.
        spread[spread <= 1e-20 * (n**4) * (x @ x) * (y @ y) / len(x) ** 2] = 0
        return _ratio(n * xy - sum_x * sum_y, np.sqrt(spread))

    return statistic


def mean(values: Array) -> Statistic:
    """The mean of values, shape (videos,), as a function of counts."""

    def statistic(counts: Counts) -> Array:
        return _ratio(counts @ values, counts.sum(axis=1, dtype=np.float64))

    return statistic


def rmse(x: Array, y: Array) -> Statistic:
    """The root of the mean squared difference, as a function of counts."""
    squared = mean((x - y) ** 2)
    return lambda counts: np.sqrt(squared(counts))


def _ratio(above: Array, below: Array) -> Array:
    result = np.full(above.shape, np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result


def _joint(x: Array, y: Array) -> Array:
    """Numbers that are equal where both values are."""
    ranks = [np.unique(values, return_inverse=True)[1].reshape(-1) for values in (x, y)]
    joint: Array = (ranks[0] * len(y) + ranks[1]).astype(np.float64)
    return joint


class _Ranks:
    """Values sorted once, with their ties."""

    def __init__(self, values: Array) -> None:
        _, self.group, sizes = np.unique(values, return_inverse=True, return_counts=True)
        self.order = np.argsort(self.group, kind="stable")
        self.starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.ties = len(sizes) < len(values)

    def totals(self, counts: Counts) -> Counts:
        """How often each distinct value is drawn, smallest first: (resamples, distinct values)."""
        ordered = np.take(counts, self.order, axis=1)
        return np.add.reduceat(ordered, self.starts, axis=1) if self.ties else ordered

    def centred(self, counts: Counts) -> tuple[npt.NDArray[np.float32], Array]:
        """Ranks, ties at their middle, minus the mean rank; and their sum of squares.

        Returns:
            Shapes (resamples, videos) and (resamples,).
        """
        totals = self.totals(counts)
        middle = np.cumsum(totals, axis=1)
        drawn = middle[:, -1:].copy()
        middle -= (totals + drawn) / 2
        tied = np.einsum("rv,rv->r", totals * totals, totals, dtype=np.float64)
        return np.take(middle, self.group, axis=1), (
            drawn[:, 0].astype(np.float64) ** 3 - tied
        ) / 12

    def tied_pairs(self, counts: Counts) -> Array:
        """Pairs of equal values, a video drawn twice being one: (resamples,)."""
        totals = self.totals(counts)
        squares = np.einsum("rv,rv->r", totals, totals, dtype=np.float64)
        pairs: Array = (squares - totals.sum(axis=1, dtype=np.float64)) / 2
        return pairs


class _Inversions:
    """Pairs that x and y order in opposite ways, counted by matrix products over blocks of videos.

    With ties of one broken by the other, x and y are two orders of the videos. Both are cut into
    blocks of about the square root of the videos. Pairs within a block of either order are counted
    by the matrix that marks them, the others from a table of how often each pair of blocks occurs:
    per resample n^1.5 multiplications at the speed of a matrix product.
    """

    def __init__(self, x: Array, y: Array) -> None:
        size = max(32, 2 * round(len(x) ** 0.5))  # measured: flat around it
        self.shape = (-(-len(x) // size), size)
        self.by_x, self.by_y = np.lexsort((y, x)), np.lexsort((x, y))
        in_y = np.arange(self.shape[0] * size)  # padding comes last in both orders
        in_y[: len(x)] = np.argsort(self.by_y)[self.by_x]
        in_x = np.argsort(in_y)
        self.table = np.eye(self.shape[0], dtype=np.float32)[in_y.reshape(self.shape) // size]
        self.within_x = _inverted(in_y.reshape(self.shape)).astype(np.float32)
        block = in_x.reshape(self.shape) // size
        counted = block[:, :, None] == block[:, None, :]
        self.within_y = (_inverted(in_x.reshape(self.shape)) & ~counted).astype(np.float32)

    def __call__(self, counts: Counts) -> Array:
        """The pairs in each resample: (resamples, videos) to (resamples,)."""
        ordered_x, ordered_y = self._blocks(counts, self.by_x), self._blocks(counts, self.by_y)
        together = self._within(ordered_x, self.within_x) + self._within(ordered_y, self.within_y)
        table = (ordered_x @ self.table).astype(np.float64)  # (blocks of x, resamples, blocks of y)
        before = np.cumsum(table, axis=0) - table
        above = before.sum(axis=2, keepdims=True) - np.cumsum(before, axis=2)
        pairs: Array = together + np.einsum("irj,irj->r", table, above)
        return pairs

    def _blocks(self, counts: Counts, order: npt.NDArray[np.int64]) -> Counts:
        """Counts in an order, cut into blocks: (blocks, resamples, size)."""
        blocks, size = self.shape
        padded = np.zeros((len(counts), blocks * size), np.float32)
        padded[:, : len(order)] = np.take(counts, order, axis=1)
        return padded.reshape(len(counts), blocks, size).transpose(1, 0, 2)

    @staticmethod
    def _within(blocks: Counts, marked: Counts) -> Array:
        pairs = np.einsum("brs,brs->br", blocks @ marked, blocks)
        total: Array = pairs.sum(axis=0, dtype=np.float64)
        return total


def _inverted(places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which pairs of a block are in the opposite order elsewhere: (b, s) to (b, s, s)."""
    earlier = np.triu(np.ones((places.shape[1],) * 2, dtype=np.bool_), k=1)
    return (places[:, :, None] > places[:, None, :]) & earlier
