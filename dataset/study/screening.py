"""Which ratings are outliers, and which subjects are rejected for having too many of them.

Deviations are taken within one video and one dimension, because each dimension has level words of
its own; a subject's outliers are counted over all dimensions together.
"""

import numpy as np

from .ratings import Array, Mask, Moments, Ratings, group_counts, group_sums
from .rules import Screening

OUTLIERS_ALLOWED = 0.05
"""Share of a subject's ratings that may be outliers (paper, appendix B.2; BT.500)."""

NEAR_DEVIATIONS, FAR_DEVIATIONS = 2.0, 20.0**0.5
"""Limits in standard deviations for Gaussian (kurtosis 2 to 4) and other videos."""


def find_outliers(
    ratings: Ratings, values: Array, keep: Mask, screening: Screening
) -> tuple[Mask, Mask]:
    """The ratings above and those below the limits of their video and dimension.

    A video on which all agree has no outliers, even where a rating on the limit is an outlier.

    Args:
        ratings: of the study.
        values: what is screened, the scores or what they were adjusted to; shape (ratings,).
        keep: the ratings that count.
        screening: the rule's.
    """
    item = ratings.item
    moments = Moments(item, values, keep, ratings.items)
    count, squares, distance = moments.count, moments.squares, moments.distance
    fourth = group_sums(item, np.square(np.square(distance)), keep, ratings.items)
    with np.errstate(invalid="ignore", divide="ignore"):
        kurtosis = (fourth / count) / (squares / count) ** 2
        freedom = count - (screening.deviation == "sample")
        deviation = np.sqrt(squares / freedom)
        gaussian = (kurtosis >= 2) & (kurtosis <= 4)
        limit = np.where(gaussian, NEAR_DEVIATIONS, FAR_DEVIATIONS) * deviation
    limit[moments.constant] = np.inf
    inclusive = screening.limits == "inclusive"
    above = distance >= limit[item] if inclusive else distance > limit[item]
    below = distance <= -limit[item] if inclusive else distance < -limit[item]
    return above & keep, below & keep


def rejected_subjects(
    ratings: Ratings, above: Mask, below: Mask, keep: Mask, screening: Screening
) -> dict[str, float]:
    """The subjects with too many outliers, each with the share of outliers.

    Args:
        ratings: of the study.
        above: the outliers above their limit, what `find_outliers` returned.
        below: those below it.
        keep: the ratings that count.
        screening: the rule's.
    """
    subjects = len(ratings.subjects)
    high = group_counts(ratings.subject, above, subjects)
    low = group_counts(ratings.subject, below, subjects)
    rated = group_counts(ratings.subject, keep, subjects)
    presented = float(np.count_nonzero(np.bincount(ratings.item)))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (high + low) / (rated if screening.share_of == "rated" else presented)
        reject = share > OUTLIERS_ALLOWED
        if screening.balance is not None:
            reject &= np.abs(high - low) / (high + low) < screening.balance
    return {
        name: float(part)
        for name, part, rejected in zip(ratings.subjects, share, reject, strict=True)
        if rejected
    }
