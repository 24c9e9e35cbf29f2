"""Raw ratings of a subjective study to mean opinion scores.

A rule says which ratings are outliers, which subjects are rejected and what is averaged; `RULES`
has the paper's (section 3.3, appendix B.2) and those that others use. Screening counts over all
dimensions of a study together; deviations of a video and z-scores of a subject are taken within
one dimension, because its levels are words of their own.

The price: one pass of `numpy.bincount` for each moment, so time and memory follow the number of
ratings, not subjects times videos (crowd studies rate a percent of that table).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import DatasetError

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

OUTLIERS_ALLOWED = 0.05
"""Share of a subject's ratings that may be outliers (paper, appendix B.2; BT.500)."""

NEAR_DEVIATIONS, FAR_DEVIATIONS = 2.0, 20.0**0.5
"""Limits in standard deviations for Gaussian (kurtosis 2 to 4) and other videos."""

NORMAL_95 = 1.96
"""Half a 95 % confidence interval in standard errors, as BT.500 has it."""


@dataclass(frozen=True)
class Screening:
    """How outliers and rejected subjects are found.

    Attributes:
        of: the raw ratings, or what the rule's adjustment makes of them.
        deviation: standard deviation of a video's ratings: of a population (n) or sample (n - 1).
        limits: whether a rating exactly on the limit is inside (strict) or an outlier (inclusive).
        share_of: a subject's outliers are counted against the ratings he gave, or against all
            videos of the study, which never rejects subjects who rated a few of them.
        balance: reject only where |above - below| / (above + below) is less than this: BT.500
            keeps subjects who err to one side. None rejects by the share alone.
        remove: whether outlier ratings of subjects who stay are removed too.
    """

    of: Literal["raw", "adjusted"] = "raw"
    deviation: Literal["population", "sample"] = "population"
    limits: Literal["strict", "inclusive"] = "strict"
    share_of: Literal["rated", "all"] = "rated"
    balance: float | None = None
    remove: bool = True


@dataclass(frozen=True)
class Rule:
    """How ratings become MOS.

    Attributes:
        adjust: z-scores of each subject (sample deviation) as 100 (z + 3) / 6, the range [0, 100]
            (paper, equations 1 and 2); ratings less the subject's bias (ITU-T P.913, 12.6); or
            the ratings as they are.
        screening: None keeps every rating.
    """

    adjust: Literal["none", "zscore", "bias"]
    screening: Screening | None

    def scale(self, ratings: "Ratings") -> tuple[float, float]:
        """Lowest and highest MOS."""
        return (0.0, 100.0) if self.adjust == "zscore" else ratings.scale


_BT500 = Screening(deviation="sample", limits="inclusive", balance=0.3, remove=False)
_SUREAL = Screening(limits="inclusive", share_of="all", balance=0.3, remove=False)
_SUREAL_ADJUSTED = Screening("adjusted", "population", "inclusive", "all", 0.3, remove=False)

RULES: Mapping[str, Rule] = {
    "paper": Rule("zscore", Screening()),
    "plain": Rule("none", None),
    "bt500": Rule("none", _BT500),
    "p913": Rule("bias", None),
    "zscore": Rule("zscore", None),
    "sureal": Rule("none", _SUREAL),
    "sureal-zscore": Rule("zscore", _SUREAL_ADJUSTED),
    "sureal-bias": Rule("bias", _SUREAL_ADJUSTED),
}
"""The rules by name; `sureal*` do what Netflix's SUREAL calls SR_MOS, ZS_SR_MOS and BR_SR_MOS."""

REASONS = (
    "",
    "only rating of the subject in this dimension",
    "constant rater in this dimension",
    "subject rejected",
    "outlier",
)
"""Why a rating is left out; the first is for those that are kept."""

_ONLY, _CONSTANT, _REJECTED, _OUTLIER = range(1, 5)


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
        """What was rated: a video in a dimension."""
        return self.video * len(self.dimensions) + self.dimension

    @cached_property
    def rater(self) -> Index:
        """Who rated: a subject in a dimension."""
        return self.subject * len(self.dimensions) + self.dimension


@dataclass(frozen=True)
class Opinions:
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


def rule_named(name: str) -> Rule:
    """The rule of that name.

    Raises:
        DatasetError: there is none.
    """
    if name not in RULES:
        raise DatasetError(f"no rule {name!r}; the rules are {', '.join(RULES)}")
    return RULES[name]


def opinions(ratings: Ratings, rule: Rule) -> Opinions:
    """The MOS of each video and dimension.

    Raises:
        DatasetError: the rule rejects every subject, or leaves no rating.
    """
    reason = np.zeros(len(ratings.score), dtype=np.int8)
    screening = rule.screening
    values = ratings.score
    if not screening or screening.of == "adjusted":
        values = _adjust(ratings, rule, reason)
    rejected: dict[str, float] = {}
    share = 0.0
    if screening:
        keep = reason == 0
        above, below = _outliers(ratings, values, keep, screening)
        share = float((above | below).sum() / max(keep.sum(), 1))
        rejected = _rejected(ratings, above, below, keep, screening)
        if screening.remove:
            reason[above | below] = _OUTLIER
        gone = np.isin(ratings.subjects, list(rejected))
        reason[gone[ratings.subject]] = _REJECTED
        if screening.of == "raw":
            values = _adjust(ratings, rule, reason)
    keep = reason == 0
    if not keep.any():
        raise DatasetError(
            "no rating is left: every subject is rejected or always gave the same score; look at "
            "the ratings, or take the rule plain"
        )
    table = _means(ratings, values, keep)
    return Opinions(
        table,
        _removed_table(ratings, reason),
        rejected,
        share,
        _notes(ratings, rule, reason, values[keep], table),
    )


def _counts(codes: Index, keep: Mask, size: int) -> Array:
    kept = codes if keep.all() else codes[keep]
    return np.bincount(kept, minlength=size).astype(np.float64)


def _sums(codes: Index, values: Array, keep: Mask, size: int) -> Array:
    kept = values if keep.all() else np.where(keep, values, 0.0)
    return np.asarray(np.bincount(codes, weights=kept, minlength=size), dtype=np.float64)


class _Moments:
    """For each code: how many values, their mean and their sum of squared deviations.

    `distance` is that of each value from the mean of its code.
    """

    def __init__(self, codes: Index, values: Array, keep: Mask, size: int) -> None:
        self.count = _counts(codes, keep, size)
        with np.errstate(invalid="ignore"):
            self.mean = _sums(codes, values, keep, size) / self.count
        self.distance: Array = values - self.mean[codes]
        self.squares = _sums(codes, np.square(self.distance), keep, size)


def _zero(squares: Array) -> Mask:
    return squares < 1e-18  # rounding of the mean leaves about 1e-30


def _raters(ratings: Ratings) -> int:
    return len(ratings.subjects) * len(ratings.dimensions)


def _items(ratings: Ratings) -> int:
    return len(ratings.videos) * len(ratings.dimensions)


def _adjust(ratings: Ratings, rule: Rule, reason: NDArray[np.int8]) -> Array:
    """The values that are averaged; those of ratings that are not kept mean nothing.

    For z-scores, raters without a deviation - one rating, or always the same score - are left out.
    """
    score, rater, keep = ratings.score, ratings.rater, reason == 0
    if rule.adjust == "zscore":
        of = _Moments(rater, score, keep, _raters(ratings))
        why = np.select([of.count == 1, _zero(of.squares)], [_ONLY, _CONSTANT], 0).astype(np.int8)
        if why.any():
            np.copyto(reason, why[rater], where=keep)
        with np.errstate(invalid="ignore", divide="ignore"):
            deviation = np.sqrt(of.squares / (of.count - 1))
            return 100 * (of.distance / deviation[rater] + 3) / 6
    if rule.adjust == "bias":
        of_item = _Moments(ratings.item, score, keep, _items(ratings))
        bias = _Moments(rater, of_item.distance, keep, _raters(ratings)).mean
        return score - bias[rater]
    return score


def _outliers(
    ratings: Ratings, values: Array, keep: Mask, screening: Screening
) -> tuple[Mask, Mask]:
    """Which ratings lie above and which below the limits of their video and dimension.

    A video on which all agree has no outliers, also where the limits count as outside.
    """
    item, size = ratings.item, _items(ratings)
    of = _Moments(item, values, keep, size)
    count, squares, distance = of.count, of.squares, of.distance
    fourth = _sums(item, np.square(np.square(distance)), keep, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        kurtosis = (fourth / count) / (squares / count) ** 2
        freedom = count - (screening.deviation == "sample")
        deviation = np.sqrt(squares / freedom)
        gaussian = (kurtosis >= 2) & (kurtosis <= 4)
        limit = np.where(gaussian, NEAR_DEVIATIONS, FAR_DEVIATIONS) * deviation
    limit[_zero(squares)] = np.inf
    inclusive = screening.limits == "inclusive"
    above = distance >= limit[item] if inclusive else distance > limit[item]
    below = distance <= -limit[item] if inclusive else distance < -limit[item]
    return above & keep, below & keep


def _rejected(
    ratings: Ratings, above: Mask, below: Mask, keep: Mask, screening: Screening
) -> dict[str, float]:
    """The subjects with too many outliers, and their share."""
    size = len(ratings.subjects)
    high, low = _counts(ratings.subject, above, size), _counts(ratings.subject, below, size)
    rated = _counts(ratings.subject, keep, size)
    presented = float(np.count_nonzero(np.bincount(ratings.item)))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (high + low) / (rated if screening.share_of == "rated" else presented)
        reject = share > OUTLIERS_ALLOWED
        if screening.balance is not None:
            reject &= np.abs(high - low) / (high + low) < screening.balance
    return {
        name: float(part)
        for name, part, out in zip(ratings.subjects, share, reject, strict=True)
        if out
    }


def _means(ratings: Ratings, values: Array, keep: Mask) -> pd.DataFrame:
    of = _Moments(ratings.item, values, keep, _items(ratings))
    count = of.count
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.where(count > 1, np.sqrt(of.squares / (count - 1)), np.nan)
        interval = NORMAL_95 * deviation / np.sqrt(count)
    shape = (len(ratings.videos), len(ratings.dimensions))
    statistics = {
        "": of.mean,
        "_ci95": interval,
        "_std": deviation,
        "_ratings": count.astype(np.int64),
    }
    return pd.DataFrame(
        {
            f"{name}{suffix}": values[:, position]
            for suffix, values in ((key, flat.reshape(shape)) for key, flat in statistics.items())
            for position, name in enumerate(ratings.dimensions)
        },
        index=pd.Index(ratings.videos, name="video"),
    )


def _removed_table(ratings: Ratings, reason: NDArray[np.int8]) -> pd.DataFrame:
    out = np.flatnonzero(reason)

    def named(names: Sequence[str], codes: Index) -> pd.api.extensions.ExtensionArray:
        return pd.array(list(names), dtype="str").take(codes)

    return pd.DataFrame(
        {
            "subject": named(ratings.subjects, ratings.subject[out]),
            "video": named(ratings.videos, ratings.video[out]),
            "dimension": named(ratings.dimensions, ratings.dimension[out]),
            "score": ratings.score[out],
            "reason": named(REASONS, reason[out].astype(np.intp)),
        }
    )


def _notes(
    ratings: Ratings, rule: Rule, reason: NDArray[np.int8], kept: Array, table: pd.DataFrame
) -> list[str]:
    notes = [
        f"{count} ratings left out ({REASONS[why]}): no z-score is defined"
        for why in (_ONLY, _CONSTANT)
        if (count := int((reason == why).sum()))
    ]
    low, high = rule.scale(ratings)
    if outside := int(((kept < low) | (kept > high)).sum()):
        notes.append(f"{outside} adjusted ratings lie outside [{low:g}, {high:g}]; they are kept")
    notes += [
        f"{name}: {missing} videos have no MOS, for no rating is left"
        for name in ratings.dimensions
        if (missing := int(table[name].isna().sum()))
    ]
    return notes
