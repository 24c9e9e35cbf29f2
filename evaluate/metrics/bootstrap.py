"""Correlations in bootstrap resamples of the videos, all resamples at once.

A resample is held as the number of times that each video is drawn. Everything then follows from the
videos sorted once: a rank from running sums of the counts, a rank correlation without sorting a
resample. The results are those of scipy on the videos drawn
(tests/evaluate/metrics/test_bootstrap.py), in less than a twentieth of the time of a loop over
scipy (benchmarks/metrics.py).
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

Rows = npt.NDArray[np.int64]
"""Some of the videos, by number."""

RESAMPLES = 1000
"""Bootstrap resamples behind an interval."""

CONFIDENCE = 95.0
"""Confidence of an interval, in percent."""

SEED = 0
"""Of the draws: fixed, because an interval is a property of the predictions."""

_BLOCK = 1_200_000  # resampled videos held at once, 5 MB an array; more or fewer take longer
_STEP = 32  # videos in a product that makes running sums; blocks are a multiple of it
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


class Drawn:
    """Resamples as the rank correlations of all dimensions use them."""

    def __init__(self, counts: Counts) -> None:
        """Turn counts, (resamples, videos), so that videos are taken and added up in whole rows."""
        self.rows = torch.from_numpy(np.ascontiguousarray(counts.T))
        self.n: Array = counts.sum(axis=1, dtype=np.float64)
        self.once = _Totals(self.rows, self.n)


def rank_correlations(x: Array, y: Array) -> Callable[[Drawn], Array]:
    """Spearman's correlation and Kendall's tau-b of x and y, shape (videos,): (resamples, 2)."""
    by_x, by_y, joint = _Ranked(x, y), _Ranked(y, x), _Ranked(_joint(x, y), x)
    inversions = _Inversions(by_x.order, by_y.order)
    y_in_order_of_x, x_in_order_of_x = by_y.group[by_x.order], by_x.group[by_x.order]

    def statistic(resamples: Drawn) -> Array:
        drawn, n, once = resamples.rows, resamples.n, resamples.once
        blocks_x, totals_x, rank_x = by_x.ranks(drawn)
        blocks_y, totals_y, rank_y = by_y.ranks(drawn)
        of_x = _Totals(totals_x, n) if by_x.ties else once
        of_y = _Totals(totals_y, n) if by_y.ties else once
        of_both = _Totals(joint.ranks(drawn)[1], n) if joint.ties else once

        rank_of_x = rank_x.index_select(0, x_in_order_of_x) if by_x.ties else rank_x
        rank_of_x *= blocks_x.flatten(0, 1)[: len(drawn)]
        together = _dot(rank_of_x, rank_y.index_select(0, y_in_order_of_x))
        # The sum of squares of centred ranks whose ties are at their middle.
        spread = np.sqrt((n**3 - of_x.cubes) * (n**3 - of_y.cubes)) / 12

        pairs = n * (n - 1) / 2
        discordant = inversions(blocks_x, blocks_y)
        difference = pairs - of_x.pairs - of_y.pairs + of_both.pairs - 2 * discordant
        untied = np.sqrt((pairs - of_x.pairs) * (pairs - of_y.pairs))
        return np.stack([_ratio(together, spread), _ratio(difference, untied)], axis=1)

    return statistic


def linear(samples: Sequence[tuple[Rows, Sequence[Array], Array]], videos: int) -> Statistic:
    """Pearson's correlation and the root mean squared difference of several x with one y.

    Args:
        samples: of some of the videos each, which come first; then readings x, and y, of them.
        videos: how many there are.

    Returns:
        A function of counts, to values (resamples, values): a correlation and an error for each
        reading of each sample.
    """
    columns, scales = [], []
    for rows, readings, y in samples:
        of_y = [np.ones_like(y), y - y.mean(), (y - y.mean()) ** 2]
        found = list(of_y)
        for x in readings:
            near = x - x.mean()  # near the mean the sums of squares lose no digits
            found += [near, near**2, near * of_y[1], (x - y) ** 2]
            scale = float(near @ near) * float(of_y[2].sum()) / max(len(y), 1) ** 2
            scales.append(1e-20 * scale)
        moments = np.zeros((len(found), videos))
        moments[:, rows] = found
        columns.append(moments)
    # One product for all of them; torch's needs a third of the time of NumPy's.
    together = torch.from_numpy(np.concatenate(columns)).T.contiguous()

    def statistic(counts: Counts) -> Array:
        sums = iter((torch.from_numpy(counts).double() @ together).numpy().T)
        found, left = [], iter(scales)
        for _, readings, _ in samples:
            n, sum_y, yy = next(sums), next(sums), next(sums)
            for _ in readings:
                sum_x, xx, xy, squared = next(sums), next(sums), next(sums), next(sums)
                spread = (n * xx - sum_x**2) * (n * yy - sum_y**2)
                spread[spread <= next(left) * n**4] = 0  # what rounding leaves of a constant
                correlation = _ratio(n * xy - sum_x * sum_y, np.sqrt(spread))
                found += [correlation, np.sqrt(_ratio(squared, n))]
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


def _dot(one: torch.Tensor, other: torch.Tensor, of: type = np.float64) -> Array:
    """Sums of products over the rows, (rows, resamples) to (resamples,)."""
    total = np.einsum("vr,vr->r", one.numpy(), other.numpy(), dtype=of)
    return np.asarray(total, dtype=np.float64)


def _joint(x: Array, y: Array) -> Array:
    """Numbers that are equal where both values are."""
    ranks = [np.unique(values, return_inverse=True)[1].reshape(-1) for values in (x, y)]
    joint: Array = (ranks[0] * len(y) + ranks[1]).astype(np.float64)
    return joint


class _Ranked:
    """Values sorted once, with their ties; equal values are in the order of others."""

    def __init__(self, values: Array, then: Array) -> None:
        _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
        self.group = torch.from_numpy(group)
        self.order = torch.from_numpy(np.lexsort((then, values)))
        self.last = torch.from_numpy(np.cumsum(sizes) - 1)
        self.ties = len(sizes) < len(values)
        self.shape = _blocks(len(values))
        # Without ties a rank is what is drawn before a video and half of what is drawn of it.
        steps = self.shape[0] * self.shape[1] // _STEP
        sums = torch.ones(_STEP, _STEP).tril() - (0 if self.ties else torch.eye(_STEP) / 2)
        self.sums = sums.expand(steps, -1, -1)

    def ranks(self, drawn: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rank the videos drawn.

        Args:
            drawn: counts, shape (videos, resamples).

        Returns:
            Counts in the order of the values, in blocks (blocks, size, resamples), zero beyond the
            last; totals and centred ranks of the distinct values, (values, resamples). A rank is
            that of the middle of its ties, minus the mean rank; the smallest value is first.
        """
        videos, resamples = drawn.shape
        ordered = torch.empty(self.shape[0] * self.shape[1], resamples)
        torch.index_select(drawn, 0, self.order, out=ordered[:videos])
        ordered[videos:] = 0
        # Running sums as matrix products over a few videos at a time, from what is before them.
        steps = ordered.view(-1, _STEP, resamples)
        sums = steps.sum(1)
        before = sums.cumsum(0)
        half = before[-1] / 2
        before -= sums
        before -= half
        blocks = ordered.view(*self.shape, resamples)
        upto = torch.bmm(self.sums, steps).add_(before[:, None]).flatten(0, 1)
        if not self.ties:
            return blocks, ordered[:videos], upto[:videos]
        upto = upto.index_select(0, self.last)
        totals = torch.empty_like(upto)
        torch.add(upto[0], half, out=totals[0])
        torch.sub(upto[1:], upto[:-1], out=totals[1:])
        return blocks, totals, upto.sub_(totals, alpha=0.5)


class _Totals:
    """How often each distinct value is drawn, and the two sums that ties take away."""

    def __init__(self, totals: torch.Tensor, drawn: Array) -> None:
        # Both sums are exact in single precision below 2^24.
        few = float(totals.numpy().max()) ** 2 * float(drawn.max()) < 2**24
        of = np.float32 if few else np.float64
        self.pairs = (_dot(totals, totals, of) - drawn) / 2
        self.cubes = _dot((totals * totals) if few else totals.double() ** 2, totals, of)


class _Inversions:
    """Pairs that x and y order in opposite ways, counted by matrix products over blocks of videos.

    With ties of one broken by the other, x and y are two orders of the videos. Both are cut into
    blocks of about the square root of the videos. Pairs within a block of either order are counted
    by the matrix that marks them, the others from a table of how often each pair of blocks occurs:
    per resample n^1.5 multiplications at the speed of a matrix product.
    """

    def __init__(self, by_x: torch.Tensor, by_y: torch.Tensor) -> None:
        blocks, size = shape = _blocks(len(by_x))
        in_y = np.arange(blocks * size)  # padding comes last in both orders
        in_y[: len(by_x)] = np.argsort(by_y.numpy())[by_x.numpy()]
        in_x = np.argsort(in_y)
        block_y, block_x = in_y.reshape(shape) // size, in_x.reshape(shape) // size
        # Marks and table are made by one product.
        of_x = np.empty((blocks, size + blocks, size), np.float32)
        of_x[:, :size] = _inverted(in_y.reshape(shape))
        of_x[:, size:] = block_y[:, None, :] == np.arange(blocks)[:, None]
        of_y = _inverted(in_x.reshape(shape)) & (block_x[:, :, None] != block_x[:, None, :])
        self.size = size
        self.of_x, self.of_y = torch.from_numpy(of_x), torch.from_numpy(of_y.astype(np.float32))
        self.before = torch.ones(blocks, blocks).tril(-1)
        self.above = torch.ones(blocks, blocks).triu(1).expand(blocks, -1, -1)

    def __call__(self, blocks_x: torch.Tensor, blocks_y: torch.Tensor) -> Array:
        """The pairs in each resample, of counts in both orders: (resamples,)."""
        found = torch.bmm(self.of_x, blocks_x)
        marked, table = found[:, : self.size], found[:, self.size :]
        within = _within(marked, blocks_x) + _within(torch.bmm(self.of_y, blocks_y), blocks_y)
        table = table.contiguous()  # (blocks of x, blocks of y, resamples)
        before = (self.before @ table.flatten(1)).view_as(table)
        across = _dot(table.flatten(0, 1), torch.bmm(self.above, before).flatten(0, 1))
        return within + across


def _within(marked: torch.Tensor, blocks: torch.Tensor) -> Array:
    """Sums of products of (blocks, size, resamples), each block's exact in single precision."""
    total: Array = np.einsum("bsr,bsr->br", marked.numpy(), blocks.numpy()).sum(0, dtype=np.float64)
    return total


def _blocks(videos: int) -> tuple[int, int]:
    """Into how many blocks of which size videos are cut."""
    size = _STEP * max(1, round(1.25 * videos**0.5 / _STEP))  # measured: flat around it
    return -(-videos // size), size


def _inverted(places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which earlier ones of a block each is before elsewhere: (b, s) to (b, s, s)."""
    earlier = np.tril(np.ones((places.shape[1],) * 2, dtype=np.bool_), k=-1)
    return (places[:, :, None] < places[:, None, :]) & earlier
