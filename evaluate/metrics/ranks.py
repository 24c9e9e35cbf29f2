"""Spearman's correlation and Kendall's tau-b in all bootstrap resamples at once.

Both follow from the videos sorted once: a rank from running sums of how often each video is drawn,
a rank correlation without sorting a resample. The results are those of scipy on the videos drawn
(tests/evaluate/metrics/test_resampled_correlations.py).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from .bootstrap import Array, Counts, ratio

_STEP = 32  # videos in a product that makes running sums; blocks are a multiple of it


class Drawn:
    """Resamples in the layout that the rank correlations of all dimensions share.

    Attributes:
        counts: how often each video is drawn, shape (videos, resamples).
        n: the number of draws in each resample, shape (resamples,).
        untied: the totals of values without ties: each video is a value of its own.
    """

    def __init__(self, counts: Counts) -> None:
        """Transpose counts, (resamples, videos), so that a video is one row in memory."""
        self.counts = torch.from_numpy(np.ascontiguousarray(counts.T))
        self.n: Array = counts.sum(axis=1, dtype=np.float64)
        self.untied = _Totals(self.counts, self.n)


def rank_correlations(x: Array, y: Array) -> Callable[[Drawn], Array]:
    """Spearman's correlation and Kendall's tau-b of x and y, both of shape (videos,).

    Returns:
        A function of resamples, to values of shape (resamples, 2).
    """
    by_x, by_y, joint = _Ranked(x, y), _Ranked(y, x), _Ranked(_joint(x, y), x)
    inversions = _Inversions(by_x.order, by_y.order)
    y_in_order_of_x, x_in_order_of_x = by_y.group[by_x.order], by_x.group[by_x.order]

    def statistic(resamples: Drawn) -> Array:
        counts, n, untied = resamples.counts, resamples.n, resamples.untied
        blocks_x, totals_x, rank_x = by_x.ranks(counts)
        blocks_y, totals_y, rank_y = by_y.ranks(counts)
        ties_x = _Totals(totals_x, n) if by_x.tied else untied
        ties_y = _Totals(totals_y, n) if by_y.tied else untied
        ties_of_both = _Totals(joint.ranks(counts)[1], n) if joint.tied else untied

        # Spearman: the covariance of the ranks over the root of both sums of squares. A sum is
        # (n^3 - sum of t^3) / 12 where each group of t equal values has the middle of its ranks.
        weighted_x = rank_x.index_select(0, x_in_order_of_x) if by_x.tied else rank_x
        weighted_x *= blocks_x.flatten(0, 1)[: len(counts)]
        covariance = _dot(weighted_x, rank_y.index_select(0, y_in_order_of_x))
        squares = np.sqrt((n**3 - ties_x.cubes) * (n**3 - ties_y.cubes)) / 12

        # Kendall: concordant minus discordant pairs over the root of the pairs untied in x and y.
        pairs = n * (n - 1) / 2
        discordant = inversions(blocks_x, blocks_y)
        difference = pairs - ties_x.pairs - ties_y.pairs + ties_of_both.pairs - 2 * discordant
        untied_pairs = np.sqrt((pairs - ties_x.pairs) * (pairs - ties_y.pairs))
        return np.stack([ratio(covariance, squares), ratio(difference, untied_pairs)], axis=1)

    return statistic


def _dot(one: torch.Tensor, other: torch.Tensor, dtype: type = np.float64) -> Array:
    """Sums of products over the rows, (rows, resamples) to (resamples,)."""
    total = np.einsum("vr,vr->r", one.numpy(), other.numpy(), dtype=dtype)
    return np.asarray(total, dtype=np.float64)


def _joint(x: Array, y: Array) -> Array:
    """Numbers of which two are equal where the values of both x and y are."""
    ranks = [np.unique(values, return_inverse=True)[1].reshape(-1) for values in (x, y)]
    joint: Array = (ranks[0] * len(y) + ranks[1]).astype(np.float64)
    return joint


class _Ranked:
    """Values sorted once, with their ties.

    Attributes:
        order: the videos in the order of the values.
        group: for each video, the number of its distinct value.
        last: where each distinct value stands last in that order.
        tied: whether any two values are equal.
    """

    def __init__(self, values: Array, then: Array) -> None:
        """Sort the values; `then` decides the order of equal ones."""
        _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
        self.group = torch.from_numpy(group)
        self.order = torch.from_numpy(np.lexsort((then, values)))
        self.last = torch.from_numpy(np.cumsum(sizes) - 1)
        self.tied = len(sizes) < len(values)
        self.shape = _blocks(len(values))
        # Without ties a video's rank is the draws of the videos before it plus half of its own.
        steps = self.shape[0] * self.shape[1] // _STEP
        sums = torch.ones(_STEP, _STEP).tril() - (0 if self.tied else torch.eye(_STEP) / 2)
        self.sums = sums.expand(steps, -1, -1)

    def ranks(self, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rank the videos drawn.

        Args:
            counts: how often each is, shape (videos, resamples).

        Returns:
            The counts in the order of the values, in blocks (blocks, size, resamples), padded with
            zeros; for each distinct value, smallest first, its draws and its rank, both (values,
            resamples). A rank is the middle one of equal values, minus the mean rank.
        """
        videos, resamples = counts.shape
        ordered = torch.empty(self.shape[0] * self.shape[1], resamples)
        torch.index_select(counts, 0, self.order, out=ordered[:videos])
        ordered[videos:] = 0
        # Running sums: a matrix product within each step of a few videos, plus the steps before.
        steps = ordered.view(-1, _STEP, resamples)
        sums = steps.sum(1)
        before = sums.cumsum(0)
        half = before[-1] / 2
        before -= sums
        before -= half
        blocks = ordered.view(*self.shape, resamples)
        upto = torch.bmm(self.sums, steps).add_(before[:, None]).flatten(0, 1)
        if not self.tied:
            return blocks, ordered[:videos], upto[:videos]
        upto = upto.index_select(0, self.last)
        totals = torch.empty_like(upto)
        torch.add(upto[0], half, out=totals[0])
        torch.sub(upto[1:], upto[:-1], out=totals[1:])
        return blocks, totals, upto.sub_(totals, alpha=0.5)


class _Totals:
    """Sums over the distinct values, by which ties reduce the sums of pairs and squares.

    Attributes:
        pairs: the pairs of draws with equal values, shape (resamples,).
        cubes: the sum of cubes of the draws of each value, shape (resamples,).
    """

    def __init__(self, totals: torch.Tensor, n: Array) -> None:
        """Sum up the draws of each value, (values, resamples), of n draws in each resample."""
        # Below 2^24 both sums are exact in single precision.
        single = float(totals.numpy().max()) ** 2 * float(n.max()) < 2**24
        dtype = np.float32 if single else np.float64
        self.pairs = (_dot(totals, totals, dtype) - n) / 2
        self.cubes = _dot((totals * totals) if single else totals.double() ** 2, totals, dtype)


class _Inversions:
    """Pairs that x and y order in opposite ways, counted by matrix products over blocks of videos.

    x and y are two orders of the n videos; ties of one are broken by the other. Both orders are cut
    into blocks of about sqrt(n) videos. Pairs within a block of either order are counted by a
    matrix that marks the inverted ones, all other pairs by a table of how many videos lie in each
    pair of blocks. A resample takes about n^1.5 multiplications, as matrix products.
    """

    def __init__(self, by_x: torch.Tensor, by_y: torch.Tensor) -> None:
        blocks, size = shape = _blocks(len(by_x))
        in_y = np.arange(blocks * size)  # padding comes last in both orders
        in_y[: len(by_x)] = np.argsort(by_y.numpy())[by_x.numpy()]
        in_x = np.argsort(in_y)
        block_y, block_x = in_y.reshape(shape) // size, in_x.reshape(shape) // size
        # One product gives both: the first `size` rows mark inverted pairs, the others the table.
        of_x = np.empty((blocks, size + blocks, size), np.float32)
        of_x[:, :size] = _inverted(in_y.reshape(shape))
        of_x[:, size:] = block_y[:, None, :] == np.arange(blocks)[:, None]
        of_y = _inverted(in_x.reshape(shape)) & (block_x[:, :, None] != block_x[:, None, :])
        self.size = size
        self.of_x, self.of_y = torch.from_numpy(of_x), torch.from_numpy(of_y.astype(np.float32))
        self.before = torch.ones(blocks, blocks).tril(-1)
        self.above = torch.ones(blocks, blocks).triu(1).expand(blocks, -1, -1)

    def __call__(self, blocks_x: torch.Tensor, blocks_y: torch.Tensor) -> Array:
        """The pairs in each resample, shape (resamples,), from the counts in both orders."""
        product = torch.bmm(self.of_x, blocks_x)
        marked, table = product[:, : self.size], product[:, self.size :]
        within = _within(marked, blocks_x) + _within(torch.bmm(self.of_y, blocks_y), blocks_y)
        table = table.contiguous()  # (blocks of x, blocks of y, resamples)
        before = (self.before @ table.flatten(1)).view_as(table)
        across = _dot(table.flatten(0, 1), torch.bmm(self.above, before).flatten(0, 1))
        return within + across


def _within(marked: torch.Tensor, blocks: torch.Tensor) -> Array:
    """Sums of products of (blocks, size, resamples); a block's sum is exact in single precision."""
    total: Array = np.einsum("bsr,bsr->br", marked.numpy(), blocks.numpy()).sum(0, dtype=np.float64)
    return total


def _blocks(videos: int) -> tuple[int, int]:
    """How many blocks the videos are cut into, and how many videos a block has."""
    size = _STEP * max(1, round(1.25 * videos**0.5 / _STEP))  # measured: the fastest, or nearly
    return -(-videos // size), size


def _inverted(places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which earlier videos of a block come after a video in the other order.

    Args:
        places: in the other order, shape (blocks, size).

    Returns:
        Shape (blocks, size, size): for each video, a row with its block's videos.
    """
    earlier = np.tril(np.ones((places.shape[1],) * 2, dtype=np.bool_), k=-1)
    return (places[:, :, None] < places[:, None, :]) & earlier
