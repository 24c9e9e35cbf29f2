"""Bootstrap resamples of the videos, all at once, and what they say: intervals and p-values.

A resample is held as the number of times that each video is drawn. A statistic is a function of
these counts (ranks.py, moments.py), which computes a whole block of resamples together, in less
than a twentieth of the time of a loop over scipy (benchmarks/metrics.py).
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.float32]
"""How often each video is drawn, shape (resamples, videos).

In single precision counts, their running sums and ranks are exact up to 8 million videos; sums of
products are computed in double precision.
"""

RESAMPLES = 1000
"""Bootstrap resamples behind an interval."""

CONFIDENCE = 95.0
"""Confidence of an interval, in percent."""

SEED = 0
"""Seed of the draws: fixed, so that the same predictions have the same intervals."""

_BLOCK = 1_200_000  # draws held at once, 5 MB an array; larger and smaller blocks take longer
_ENOUGH = 0.95  # share of the resamples that must define a metric for it to have an interval

Statistic = Callable[[Counts], Array]
"""A function of counts, to values of shape (resamples, ...), NaN where one is not defined."""


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
        statistic: computed from the counts of each block of resamples.
        seed: of the draws.

    Returns:
        Shape (`RESAMPLES`, ...).
    """
    # The products and sums are small: several threads would wait for each other most of the time.
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
    """A difference of two models on the same videos, with its interval and its p-value.

    Args:
        value: on all videos.
        resampled: shape (resamples,); in each, both models have the same videos.

    Returns:
        {"difference", "ci", "p"}; p is two-sided, from how often a resample gives a difference of
        the other sign, or none. "ci" and "p" are None where too few resamples define it.
    """
    ci, p = interval(resampled), None
    if ci is not None:
        defined = resampled[~np.isnan(resampled)]
        other_sign = min(np.sum(defined <= 0), np.sum(defined >= 0))
        p = float(min(1, 2 * (other_sign + 1) / (len(defined) + 1)))
    return {"difference": float(value), "ci": ci, "p": p}


def ratio(above: Array, below: Array) -> Array:
    """Quotients, NaN where the denominator is not positive."""
    result = np.full(above.shape, np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result
