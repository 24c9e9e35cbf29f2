"""Means, Pearson's correlation and root mean squared errors in all bootstrap resamples at once.

Each of them follows from sums over the videos drawn, which are one matrix product of the counts.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from .bootstrap import Array, Counts, Statistic, ratio

Rows = npt.NDArray[np.int64]
"""Some of the videos, by number."""


def pearson_and_rmse(
    samples: Sequence[tuple[Rows, Sequence[Array], Array]], videos: int
) -> Statistic:
    """Pearson's correlation and the root mean squared error of several x with one y.

    Args:
        samples: each has the rows of its videos, one or several readings x of them, and their y.
        videos: how many there are in all.

    Returns:
        A function of counts, to values (resamples, values): a correlation and an error for each
        reading of each sample.
    """
    columns, scales = [], []
    for rows, readings, y in samples:
        centred_y = y - y.mean()  # sums of squares of centred values lose no digits
        terms = [np.ones_like(y), centred_y, centred_y**2]
        for x in readings:
            centred_x = x - x.mean()
            terms += [centred_x, centred_x**2, centred_x * centred_y, (x - y) ** 2]
            scale = float(centred_x @ centred_x) * float((centred_y**2).sum())
            scales.append(1e-20 * (scale / max(len(y), 1) ** 2))
        moments = np.zeros((len(terms), videos))
        moments[:, rows] = terms
        columns.append(moments)
    # One product for all of them; torch's needs a third of the time of NumPy's.
    together = torch.from_numpy(np.concatenate(columns)).T.contiguous()

    def statistic(counts: Counts) -> Array:
        sums = iter((torch.from_numpy(counts).double() @ together).numpy().T)
        values, smallest = [], iter(scales)
        for _, readings, _ in samples:
            n, sum_y, yy = next(sums), next(sums), next(sums)
            for _ in readings:
                sum_x, xx, xy, squared = next(sums), next(sums), next(sums), next(sums)
                spread = (n * xx - sum_x**2) * (n * yy - sum_y**2)
                spread[spread <= next(smallest) * n**4] = 0  # a constant, but for rounding
                correlation = ratio(n * xy - sum_x * sum_y, np.sqrt(spread))
                values += [correlation, np.sqrt(ratio(squared, n))]
        return np.stack(values, axis=1)

    return statistic


def mean(values: Array) -> Statistic:
    """The mean of values, shape (videos,), as a function of counts."""

    def statistic(counts: Counts) -> Array:
        return ratio(counts @ values, counts.sum(axis=1, dtype=np.float64))

    return statistic
