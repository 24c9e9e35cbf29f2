"""Mean opinion scores from raw ratings, by one of the rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import DatasetError
from .ratings import Array, Index, Mask, Moments, Ratings
from .rules import Rule
from .screening import find_outliers, rejected_subjects

NORMAL_95 = 1.96
"""Half the width of a 95 % confidence interval in standard errors, as in BT.500."""

REASONS = (
    "",
    "only rating of the subject in this dimension",
    "constant rater in this dimension",
    "subject rejected",
    "outlier",
)
"""Why a rating is left out; the first is for those that are kept."""

_ONLY, _CONSTANT, _REJECTED, _OUTLIER = range(1, 5)

Reasons = NDArray[np.int8]
"""For each rating its position in `REASONS`; shape (ratings,)."""


@dataclass(frozen=True)
class StudyResult:
    """The MOS of a study and how they came about.

    Attributes:
        mos: one row a video, in the order of the ratings; for each dimension a column of its
            name, and `_ci95` (half the interval), `_std` and `_ratings` (those kept).
        removed: a row for each rating that was left out: subject, video, dimension, score, reason.
        rejected: share of outliers of each rejected subject.
        outlier_share: outliers among all ratings, before rejection.
        notes: what a reader has to know, a sentence each.
    """

    mos: pd.DataFrame
    removed: pd.DataFrame
    rejected: Mapping[str, float]
    outlier_share: float
    notes: list[str] = field(default_factory=list)


def compute_mos(ratings: Ratings, rule: Rule) -> StudyResult:
    """The MOS of each video and dimension.

    Raises:
        DatasetError: the rule rejects every subject, or leaves no rating.
    """
    reasons = np.zeros(len(ratings.score), dtype=np.int8)
    screening = rule.screening
    values = ratings.score
    if not screening or screening.of == "adjusted":
        values = _adjust(ratings, rule, reasons)
    rejected: dict[str, float] = {}
    outlier_share = 0.0
    if screening:
        keep = reasons == 0
        above, below = find_outliers(ratings, values, keep, screening)
        outlier_share = float((above | below).sum() / max(keep.sum(), 1))
        rejected = rejected_subjects(ratings, above, below, keep, screening)
        if screening.remove:
            reasons[above | below] = _OUTLIER
        is_rejected = np.isin(ratings.subjects, list(rejected))
        reasons[is_rejected[ratings.subject]] = _REJECTED
        if screening.of == "raw":
            values = _adjust(ratings, rule, reasons)
    keep = reasons == 0
    if not keep.any():
        raise DatasetError(
            "no rating is left: every subject is rejected or always gave the same score; look at "
            "the ratings, or take the rule plain"
        )
    table = _mos_table(ratings, values, keep)
    return StudyResult(
        table,
        _removed_table(ratings, reasons),
        rejected,
        outlier_share,
        _notes(ratings, rule, reasons, values[keep], table),
    )


def _adjust(ratings: Ratings, rule: Rule, reasons: Reasons) -> Array:
    """The values to average; those of ratings that are left out are meaningless.

    Where z-scores are asked for, raters without a deviation - with one rating, or always the same
    score - are left out, and their reason is written to `reasons`.
    """
    score, rater, keep = ratings.score, ratings.rater, reasons == 0
    if rule.adjust == "zscore":
        by_rater = Moments(rater, score, keep, ratings.raters)
        undefined = np.select([by_rater.count == 1, by_rater.constant], [_ONLY, _CONSTANT], 0)
        if undefined.any():
            np.copyto(reasons, undefined.astype(np.int8)[rater], where=keep)
        with np.errstate(invalid="ignore", divide="ignore"):
            deviation = np.sqrt(by_rater.squares / (by_rater.count - 1))
            return 100 * (by_rater.distance / deviation[rater] + 3) / 6
    if rule.adjust == "bias":
        by_item = Moments(ratings.item, score, keep, ratings.items)
        bias = Moments(rater, by_item.distance, keep, ratings.raters).mean
        return score - bias[rater]
    return score


def _mos_table(ratings: Ratings, values: Array, keep: Mask) -> pd.DataFrame:
    by_item = Moments(ratings.item, values, keep, ratings.items)
    count = by_item.count
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.where(count > 1, np.sqrt(by_item.squares / (count - 1)), np.nan)
        interval = NORMAL_95 * deviation / np.sqrt(count)
    statistics = {
        "": by_item.mean,
        "_ci95": interval,
        "_std": deviation,
        "_ratings": count.astype(np.int64),
    }
    shape = (len(ratings.videos), len(ratings.dimensions))
    return pd.DataFrame(
        {
            f"{name}{suffix}": table[:, position]
            for suffix, table in ((key, flat.reshape(shape)) for key, flat in statistics.items())
            for position, name in enumerate(ratings.dimensions)
        },
        index=pd.Index(ratings.videos, name="video"),
    )


def _removed_table(ratings: Ratings, reasons: Reasons) -> pd.DataFrame:
    removed = np.flatnonzero(reasons)

    def named(names: Sequence[str], codes: Index) -> pd.api.extensions.ExtensionArray:
        return pd.array(list(names), dtype="str").take(codes)

    return pd.DataFrame(
        {
            "subject": named(ratings.subjects, ratings.subject[removed]),
            "video": named(ratings.videos, ratings.video[removed]),
            "dimension": named(ratings.dimensions, ratings.dimension[removed]),
            "score": ratings.score[removed],
            "reason": named(REASONS, reasons[removed].astype(np.intp)),
        }
    )


def _notes(
    ratings: Ratings, rule: Rule, reasons: Reasons, kept: Array, table: pd.DataFrame
) -> list[str]:
    notes = [
        f"{count} ratings left out ({REASONS[code]}): no z-score is defined"
        for code in (_ONLY, _CONSTANT)
        if (count := int((reasons == code).sum()))
    ]
    low, high = rule.mos_range(ratings.scale)
    if outside := int(((kept < low) | (kept > high)).sum()):
        notes.append(f"{outside} adjusted ratings lie outside [{low:g}, {high:g}]; they are kept")
    notes += [
        f"{name}: {missing} videos have no MOS, for no rating is left"
        for name in ratings.dimensions
        if (missing := int(table[name].isna().sum()))
    ]
    return notes
