"""The 4-parameter logistic curve that the field fits to scores before PLCC and RMSE.

It maps a model's own scale to that of the MOS: y = (b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2,
fitted by least squares, as VQEG and the published comparisons do. The metrics after this fit are
`plcc_fitted` and `rmse_fitted`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.special import expit

Array = npt.NDArray[np.float64]

FEWEST = 5
"""Videos that a fit needs: one more than the curve has parameters."""

_EVALUATIONS = 200
"""Most evaluations of the curve in one search."""

_STARTS = (0.25, 1.0)
"""Widths at which a search starts, in standard deviations of the scores; published code uses the
first."""

_FARTHEST = 16.0
"""How far the middle may lie outside the scores, in widths. At this distance the curve is an
exponential one over the scores; farther out, rounding would leave nothing of it."""

_NARROWEST, _WIDEST = np.log(0.05), np.log(100)
"""Bounds of the logarithm of the width in standard deviations of the scores. A narrower curve is a
step between two videos, whose place and height rounding would decide; the widest is a line to
1e-5."""


@dataclass(frozen=True)
class Logistic:
    """A fitted curve: the values that it approaches, its middle and its width."""

    top: float
    bottom: float
    middle: float
    width: float

    def __call__(self, x: Array) -> Array:
        """The curve at scores of any shape."""
        share: Array = expit((x - self.middle) / self.width)
        fitted: Array = self.bottom + (self.top - self.bottom) * share
        return fitted


def fit_logistic(x: Array, y: Array) -> Logistic:
    """Fit the curve to scores x and their MOS y, both of shape (videos,) and not constant.

    Only the middle and the width are searched for; for each pair of them linear regression gives
    the best top and bottom. The scores are standardised first. So scores that are almost the MOS
    are fitted as well as others, although their curve is nearly a line whose top and bottom lie far
    away. Where a line, an exponential curve or a step fits best, the search ends at its bounds,
    which is a valid fit. The derivatives are exact and the two starts fixed, so the same input
    gives the same bits.

    Published code passes x unscaled to `scipy.optimize.curve_fit`. Its steps are proportional to a
    parameter, so that a middle that starts at 0 never moves (docs/evaluation.md has the effect).
    """
    centre, spread = float(x.mean()), float(x.std())
    unit_x = (x - centre) / spread
    search = _Search(unit_x, (y - y.mean()) / y.std())
    best = min(
        (
            least_squares(
                search.residuals,
                x0=[0, np.log(width)],
                jac=search.jacobian,
                bounds=([-np.inf, _NARROWEST], [np.inf, _WIDEST]),
                max_nfev=_EVALUATIONS,
            )
            for width in _STARTS
        ),
        key=lambda fit: fit.cost,
    )
    middle, width, _ = search.bounded(best.x)
    share = expit((unit_x - middle) / width)
    varied = share - share.mean()
    height = float(varied @ (y - y.mean())) / float(varied @ varied)
    bottom = float(y.mean()) - height * float(share.mean())
    return Logistic(bottom + height, bottom, centre + spread * middle, spread * width)


class _Search:
    """The least-squares problem in the middle and the logarithm of the width alone.

    Top and bottom are eliminated by variable projection: what counts of a curve is its direction,
    the vector of its values without their mean, at length 1.
    """

    def __init__(self, x: Array, y: Array) -> None:
        """Take standardised scores and MOS, shape (videos,)."""
        self.x, self.y = x, y
        self.lowest, self.highest = float(x.min()), float(x.max())

    def bounded(self, parameters: Array) -> tuple[float, float, int]:
        """The middle within its bounds, the width, and which bound holds: -1, 0 for none, or 1."""
        middle, width = float(parameters[0]), float(np.exp(parameters[1]))
        low, high = self.lowest - _FARTHEST * width, self.highest + _FARTHEST * width
        return min(max(middle, low), high), width, int(middle > high) - int(middle < low)

    def residuals(self, parameters: Array) -> Array:
        """What the best curve of this middle and width leaves of the MOS."""
        curve, _ = self._direction(parameters)
        residuals: Array = (curve @ self.y) * curve - self.y
        return residuals

    def jacobian(self, parameters: Array) -> Array:
        """The derivatives of the residuals, in Kaufman's approximation."""
        curve, derivatives = self._direction(parameters)
        projected = derivatives - np.outer(derivatives @ curve, curve)
        jacobian: Array = (curve @ self.y) * projected
        return jacobian.T

    def _direction(self, parameters: Array) -> tuple[Array, Array]:
        """The curve's direction, shape (videos,), and its two derivatives at the same scale."""
        middle, width, bound = self.bounded(parameters)
        distance = (self.x - middle) / width
        share = expit(distance)
        slope = share * expit(-distance)
        by_middle = -slope / width * (bound == 0)
        by_width = -slope * (distance + _FARTHEST * bound)
        rows = np.stack([share, by_middle, by_width])
        rows -= rows.mean(axis=1, keepdims=True)
        rows /= np.linalg.norm(rows[0])
        return rows[0], rows[1:]
