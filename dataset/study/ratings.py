"""The ratings of a study as arrays, and their moments by video or by subject.

The price: one pass of `numpy.bincount` for each moment, so time and memory follow the number of
ratings, not subjects times videos (a crowd study has about a percent of those).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Ratings:
    """The ratings of one study, all arrays of shape (ratings,).

    Attributes:
        subject, video, dimension: positions in the lists of names.
        score: on the scale of the study.
        subjects, videos, dimensions: the names.
        scale: the lowest and highest score that could be given.
    """

    subject: Index
    video: Index
    dimension: Index
    score: Array
    subjects: Sequence[str]
    videos: Sequence[str]
    dimensions: Sequence[str]
    scale: tuple[float, float]

    @cached_property
    def item(self) -> Index:
        """The number of what was rated: a video in a dimension."""
        return self.video * len(self.dimensions) + self.dimension

    @property
    def items(self) -> int:
        """How many items there are: videos times dimensions."""
        return len(self.videos) * len(self.dimensions)

    @cached_property
    def rater(self) -> Index:
        """The number of who rated: a subject in a dimension."""
        return self.subject * len(self.dimensions) + self.dimension

    @property
    def raters(self) -> int:
        """How many raters there are: subjects times dimensions."""
        return len(self.subjects) * len(self.dimensions)


class Moments:
    """The moments of values in groups, from the values that are kept.

    Attributes:
        count, mean, squares: number, mean and sum of squared deviations; shape (groups,).
        distance: of every value from the mean of its group; shape (values,).
    """

    def __init__(self, group: Index, values: Array, keep: Mask, groups: int) -> None:
        """Compute the moments.

        Args:
            group: the group of each value, less than `groups`.
            values: of shape (values,).
            keep: the values that count.
            groups: how many groups there are.
        """
        self.count = group_counts(group, keep, groups)
        with np.errstate(invalid="ignore"):
            self.mean = group_sums(group, values, keep, groups) / self.count
        self.distance: Array = values - self.mean[group]
        self.squares = group_sums(group, np.square(self.distance), keep, groups)

    @property
    def constant(self) -> Mask:
        """The groups whose values are all equal."""
        return self.squares < 1e-18  # rounding of the mean leaves about 1e-30


def group_counts(group: Index, keep: Mask, groups: int) -> Array:
    """How many values of each group are kept; shape (groups,)."""
    kept = group if keep.all() else group[keep]
    return np.bincount(kept, minlength=groups).astype(np.float64)


def group_sums(group: Index, values: Array, keep: Mask, groups: int) -> Array:
    """The sum of the values of each group that are kept; shape (groups,)."""
    kept = values if keep.all() else np.where(keep, values, 0.0)
    return np.asarray(np.bincount(group, weights=kept, minlength=groups), dtype=np.float64)
