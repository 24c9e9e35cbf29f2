"""Correlations in bootstrap resamples of the videos, all resamples at once.

A resample is held as the number of times that each video is drawn. Everything then follows from the
videos sorted once: a rank from running sums of the counts, a rank correlation without sorting a
resample. The results are those of scipy on the videos drawn (tests/evaluate/test_bootstrap.py), in
about a twentieth of the time of a loop over scipy (benchmarks/metrics.py).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

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
        counts = np.empty((size, videos), np.float32)
        for row, times in zip(drawn, counts, strict=True):
            times[:] = np.bincount(row, minlength=videos)
        yield counts


def resampled(videos: int, statistic: Statistic, seed: int = SEED) -> Array:
    """A statistic in every resample.

    Args:
        videos: how many there are.
        statistic: of the counts.
        seed: of the draws.

    Returns:
        Shape (`RESAMPLES`, ...).
    """
    # Thousands of small products and sums: threads wait for each other more than they compute.
    with threadpool_limits(1):
        return np.concatenate([statistic(counts) for counts in draws(videos, seed)])


def interval(values: Array) -> list[float] | None:
    """Percentile interval of resampled values, None where too few resamples define them."""
    defined = values[~np.isnan(values)]
    if defined.size < _ENOUGH * values.size:
        return None
    tail = (100 - CONFIDENCE) / 2
    return [float(bound) for bound in np.percentile(defined, [tail, 100 - tail])]


def difference(value: float, resampled: Array) -> dict[str, Any]:
    """A difference of two models on the same videos, beside what its resamples say of it.

    Args:
        value: on all videos.
        resampled: shape (resamples,), both models drawn the same videos.

    Returns:
        {"difference", "ci", "p"}; p is two-sided: how often a resample gives a difference of the
        other sign, or none. Both are None where too few resamples define the difference.
    """
    ci, p = interval(resampled), None
    if ci is not None:
        defined = resampled[~np.isnan(resampled)]
        fewest = min(np.sum(defined <= 0), np.sum(defined >= 0))
        p = float(min(1, 2 * (fewest + 1) / (len(defined) + 1)))
    return {"difference": float(value), "ci": ci, "p": p}


def rank_correlations(x: Array, y: Array) -> Statistic:
    """Spearman's correlation and Kendall's tau-b of x and y, shape (videos,): (resamples, 2)."""
    by_x, by_y, joint = _Ranked(x, y), _Ranked(y, x), _Ranked(_joint(x, y), x)
    inversions = _Inversions(by_x.order, by_y.order)
    y_in_order_of_x = by_y.group[by_x.order]

    def statistic(counts: Counts) -> Array:
        n = counts.sum(axis=1, dtype=np.float64)
        once = _Totals(counts, n)  # a video is drawn a few times: single precision is exact
        ordered_x, totals_x, rank_x = by_x.ranks(counts)
        ordered_y, totals_y, rank_y = by_y.ranks(counts)
        of_x = _Totals(totals_x.astype(np.float64), n) if by_x.ties else once
        of_y = _Totals(totals_y.astype(np.float64), n) if by_y.ties else once
        of_both = _Totals(joint.ranks(counts)[1].astype(np.float64), n) if joint.ties else once

        together = np.einsum(
            "rv,rv->r",
            ordered_x * (_taken(rank_x, by_x.group[by_x.order]) if by_x.ties else rank_x),
            _taken(rank_y, y_in_order_of_x),
            dtype=np.float64,
        )
        # The sum of squares of centred ranks whose ties are at their middle.
        spread = np.sqrt((n**3 - of_x.cubes) * (n**3 - of_y.cubes)) / 12

        pairs = n * (n - 1) / 2
        discordant = inversions(ordered_x, ordered_y)
        difference = pairs - of_x.pairs - of_y.pairs + of_both.pairs - 2 * discordant
        untied = np.sqrt((pairs - of_x.pairs) * (pairs - of_y.pairs))
        return np.stack([_ratio(together, spread), _ratio(difference, untied)], axis=1)

    return statistic


def linear(readings: Sequence[Array], y: Array) -> Statistic:
    """Pearson's correlation and the root mean squared difference of several x with one y.

    Args:
        readings: each of shape (videos,).
        y: shape (videos,).

    Returns:
        A function of counts, to values (resamples, 2 x readings): a correlation and an error each.
    """
    columns = [np.ones_like(y), y - y.mean(), (y - y.mean()) ** 2]
    scales = []
    for x in readings:
        near = x - x.mean()  # near the mean the sums of squares lose no digits
        columns += [near, near**2, near * columns[1], (x - y) ** 2]
        scales.append(1e-20 * float(near @ near) * float(columns[2].sum()) / len(y) ** 2)
    moments = np.stack(columns, axis=1)

    def statistic(counts: Counts) -> Array:
        n, sum_y, yy, *sums = (counts @ moments).T
        found = []
        for k, scale in enumerate(scales):
            sum_x, xx, xy, squared = sums[4 * k : 4 * k + 4]
            spread = (n * xx - sum_x**2) * (n * yy - sum_y**2)
            spread[spread <= scale * n**4] = 0  # what rounding leaves of a constant
            found += [_ratio(n * xy - sum_x * sum_y, np.sqrt(spread)), np.sqrt(_ratio(squared, n))]
        return np.stack(found, axis=1)

    return statistic


def mean(values: Array) -> Statistic:
    """The mean of values, shape (videos,), as a function of counts."""

    def statistic(counts: Counts) -> Array:
        return _ratio(counts @ values, counts.sum(axis=1, dtype=np.float64))

    return statistic


def _ratio(above: Array, below: Array) -> Array:
    result = np.full(above.shape, np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result


def _taken(values: Counts, columns: npt.NDArray[np.int64]) -> Counts:
    """Columns of an array, as `np.take` gives them; torch copies them in half the time."""
    taken: Counts = torch.from_numpy(values).index_select(1, torch.from_numpy(columns)).numpy()
    return taken


def _joint(x: Array, y: Array) -> Array:
    """Numbers that are equal where both values are."""
    ranks = [np.unique(values, return_inverse=True)[1].reshape(-1) for values in (x, y)]
    joint: Array = (ranks[0] * len(y) + ranks[1]).astype(np.float64)
    return joint


class _Ranked:
    """Values sorted once, with their ties; equal values are in the order of others."""

    def __init__(self, values: Array, then: Array) -> None:
        _, self.group, sizes = np.unique(values, return_inverse=True, return_counts=True)
        self.order = np.lexsort((then, values))
        self.last = np.cumsum(sizes) - 1
        self.ties = len(sizes) < len(values)

    def ranks(self, counts: Counts) -> tuple[Counts, Counts, Counts]:
        """Counts in the order of the values; totals and centred ranks of the distinct values.

        A rank is that of the middle of its ties, minus the mean rank; the smallest value is first.
        """
        ordered = _taken(counts, self.order)
        # torch's running sums take a third of the time of NumPy's; both are exact here.
        upto: Counts = torch.from_numpy(ordered).cumsum(1).numpy()
        totals = ordered
        if self.ties:
            upto = _taken(upto, self.last)
            totals = np.diff(upto, axis=1, prepend=np.float32(0))
        middle = totals + upto[:, -1:]
        middle *= -0.5
        middle += upto
        return ordered, totals, middle


class _Totals:
    """How often each distinct value is drawn, and the two sums that ties take away."""

    def __init__(self, totals: Counts | Array, drawn: Array) -> None:
        squares = totals * totals
        self.pairs: Array = (np.vecdot(squares, np.ones_like(squares[0])) - drawn) / 2
        self.cubes: Array = np.vecdot(squares, totals).astype(np.float64)


class _Inversions:
    """Pairs that x and y order in opposite ways, counted by matrix products over blocks of videos.

    With ties of one broken by the other, x and y are two orders of the videos. Both are cut into
    blocks of about the square root of the videos. Pairs within a block of either order are counted
    by the matrix that marks them, the others from a table of how often each pair of blocks occurs:
    per resample n^1.5 multiplications at the speed of a matrix product.
    """

    def __init__(self, by_x: npt.NDArray[np.int64], by_y: npt.NDArray[np.int64]) -> None:
        size = max(32, round(1.5 * len(by_x) ** 0.5))  # measured: flat around it
        self.shape = (-(-len(by_x) // size), size)
        in_y = np.arange(self.shape[0] * size)  # padding comes last in both orders
        in_y[: len(by_x)] = np.argsort(by_y)[by_x]
        in_x = np.argsort(in_y)
        self.table = np.eye(self.shape[0], dtype=np.float32)[in_y.reshape(self.shape) // size]
        self.above = np.tril(np.ones((self.shape[0],) * 2, np.float32), k=-1)
        self.within_x = _inverted(in_y.reshape(self.shape)).astype(np.float32)
        block = in_x.reshape(self.shape) // size
        counted = block[:, :, None] == block[:, None, :]
        self.within_y = (_inverted(in_x.reshape(self.shape)) & ~counted).astype(np.float32)

    def __call__(self, ordered_x: Counts, ordered_y: Counts) -> Array:
        """The pairs in each resample, of counts in both orders: (resamples,)."""
        blocks_x, blocks_y = self._blocks(ordered_x), self._blocks(ordered_y)
        together = self._within(blocks_x, self.within_x) + self._within(blocks_y, self.within_y)
        table = blocks_x @ self.table  # (blocks of x, resamples, blocks of y)
        before = np.cumsum(table, axis=0) - table
        pairs: Array = together + np.einsum(
            "irj,irj->r", table, before @ self.above, dtype=np.float64
        )
        return pairs

    def _blocks(self, ordered: Counts) -> Counts:
        """Counts cut into blocks: (blocks, resamples, size)."""
        blocks, size = self.shape
        padded = np.empty((len(ordered), blocks * size), np.float32)
        padded[:, : ordered.shape[1]] = ordered
        padded[:, ordered.shape[1] :] = 0
        return padded.reshape(len(ordered), blocks, size).transpose(1, 0, 2)

    @staticmethod
    def _within(blocks: Counts, marked: Counts) -> Array:
        pairs = np.einsum("brs,brs->br", blocks @ marked, blocks)
        total: Array = pairs.sum(axis=0, dtype=np.float64)
        return total


def _inverted(places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which pairs of a block are in the opposite order elsewhere: (b, s) to (b, s, s)."""
    earlier = np.triu(np.ones((places.shape[1],) * 2, dtype=np.bool_), k=1)
    return (places[:, :, None] > places[:, None, :]) & earlier
