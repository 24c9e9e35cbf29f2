"""How well predictions agree with labels: six metrics, their intervals, and why one is undefined.

SRCC, KRCC and PLCC are those of the paper (section 5.2) and of scipy. PLCC and RMSE are given on
the raw scores and, under names of their own, after the 4-parameter logistic fit. The curve is
fitted once, to all videos; a resample draws from the fitted predictions.
"""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from . import bootstrap
from .bootstrap import Counts
from .logistic import FEWEST as FEWEST_FITTED
from .logistic import Logistic, fit_logistic
from .moments import pearson_and_rmse
from .ranks import Drawn, rank_correlations

Array = npt.NDArray[np.float64]

METRICS = ("srcc", "krcc", "plcc", "plcc_fitted", "rmse", "rmse_fitted")
"""In the order of the arrays of resampled values."""

CORRELATIONS = METRICS[:4]
"""Those that do not depend on the MOS scale, of which a mean over dimensions can be taken."""

FEWEST = 3
"""Videos in a correlation; that of two videos is always 1 or -1."""

NO_INTERVAL = "too few distinct values for an interval"


class Agreement:
    """Predictions and labels of the same videos in one dimension.

    Attributes:
        rows: the numbers of the videos that have both.
        complete: whether all videos have both.
        x: the predictions of these videos.
        y: their labels.
        curve: the fitted curve, None where there is none.
        values: the six metrics, None where one is not defined.
        reasons: why some are not defined.
    """

    def __init__(self, predicted: Array, label: Array) -> None:
        """Compute the metrics.

        Args:
            predicted: shape (videos,), NaN where there is no prediction.
            label: shape (videos,), NaN where there is no label.
        """
        self.rows = np.flatnonzero(~np.isnan(predicted) & ~np.isnan(label))
        self.complete = len(self.rows) == len(label)
        self.x, self.y = x, y = predicted[self.rows], label[self.rows]
        self.values: dict[str, float | None] = dict.fromkeys(METRICS)
        self.reasons: list[str] = []
        self.curve: Logistic | None = None
        if len(x):
            self.values["rmse"] = _rmse(x, y)
        if (reason := _why_no_correlation(x, y)) is not None:
            self.reasons.append(reason)
            return
        self.values |= {
            "srcc": float(stats.spearmanr(x, y).statistic),
            "krcc": float(stats.kendalltau(x, y).statistic),
            "plcc": float(stats.pearsonr(x, y).statistic),
        }
        self._fit()

    def _fit(self) -> None:
        if len(self.x) < FEWEST_FITTED:
            self.reasons.append(f"the logistic fit needs at least {FEWEST_FITTED} videos")
            return
        self.curve = fit_logistic(self.x, self.y)
        if _constant(self.fitted):
            self.reasons.append("the logistic fit finds no curve")
            self.curve = None
            return
        self.values["plcc_fitted"] = float(stats.pearsonr(self.fitted, self.y).statistic)
        self.values["rmse_fitted"] = _rmse(self.fitted, self.y)

    @property
    def n(self) -> int:
        """The number of videos measured."""
        return len(self.rows)

    @property
    def defined(self) -> bool:
        """Whether the correlations are defined."""
        return self.values["srcc"] is not None

    @property
    def fitted(self) -> Array:
        """The predictions, mapped by the fitted curve; unchanged where there is none."""
        return self.x if self.curve is None else self.curve(self.x)

    def described(self, resampled: Array) -> dict[str, Any]:
        """The metrics with their intervals.

        Args:
            resampled: of `resample`, shape (resamples, 6).

        Returns:
            Each metric, each metric's interval as `NAME_ci`, "curve" (the fields of `Logistic`),
            "n", and "reason" if any of them is None.
        """
        metrics, reasons = with_intervals(self.values, resampled), list(self.reasons)
        if any(metrics[m] is not None and metrics[f"{m}_ci"] is None for m in METRICS):
            reasons.append(NO_INTERVAL)
        metrics["curve"] = None if self.curve is None else list(astuple(self.curve))
        return metrics | {"n": self.n} | ({"reason": "; ".join(reasons)} if reasons else {})


def with_intervals(values: dict[str, float | None], resampled: Array) -> dict[str, Any]:
    """Metrics with their intervals, {"srcc": ..., "srcc_ci": [low, high] or None, ...}.

    Args:
        values: by name.
        resampled: (resamples, metrics), in the order of the names.
    """
    metrics: dict[str, Any] = {}
    for column, (name, value) in enumerate(values.items()):
        metrics[name] = value
        metrics[f"{name}_ci"] = None if value is None else bootstrap.interval(resampled[:, column])
    return metrics


def resample(agreements: Sequence[Agreement], videos: int) -> Array:
    """The metrics of several agreements in the same resamples of the videos.

    Args:
        agreements: of the same videos; each may lack some of them.
        videos: how many there are.

    Returns:
        Shape (resamples, agreements, 6).
    """
    if not any(one.n for one in agreements):
        return np.full((bootstrap.RESAMPLES, len(agreements), len(METRICS)), np.nan)
    measured = np.unique(np.concatenate([one.rows for one in agreements]))
    # Where a metric is None, its column holds values that nobody reads.
    columns = [column for column, one in enumerate(agreements) if one.n]
    samples = [(one.rows, [one.x, one.fitted], one.y) for one in agreements if one.n]
    linear = pearson_and_rmse(samples, videos)
    ranks = [rank_correlations(one.x, one.y) for one in agreements if one.n]

    def statistic(counts: Counts) -> Array:
        if len(measured) < videos:  # a video that no agreement has is not drawn
            all_counts = np.zeros((len(counts), videos), np.float32)
            all_counts[:, measured] = counts
            counts = all_counts
        every_video = Drawn(counts)  # shared by all agreements that have every video
        values = np.full((len(counts), len(agreements), len(METRICS)), np.nan)
        of_linear = np.split(linear(counts), len(columns), axis=1)
        for column, of_ranks, sums in zip(columns, ranks, of_linear, strict=True):
            one = agreements[column]
            drawn = every_video if one.complete else Drawn(np.take(counts, one.rows, axis=1))
            values[:, column] = np.hstack([of_ranks(drawn), sums[:, [0, 2, 1, 3]]])
        return values

    return bootstrap.resampled(len(measured), statistic)


def _rmse(x: Array, y: Array) -> float:
    return float(np.sqrt(np.mean((x - y) ** 2)))


def _why_no_correlation(predicted: Array, label: Array) -> str | None:
    if (n := len(label)) < FEWEST:
        return f"{n} labelled prediction{'s' * (n != 1)}, at least {FEWEST} are needed"
    for name, values in (("predictions", predicted), ("labels", label)):
        if _constant(values):
            return f"the {name} are constant"
    return None


def _constant(values: Array) -> bool:
    """Whether values differ by no more than rounding: their correlations would be noise."""
    centre = values.mean()
    return bool(np.linalg.norm(values - centre) <= 1e-11 * abs(centre))
