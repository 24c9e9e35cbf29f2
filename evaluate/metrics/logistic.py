"""The 4-parameter logistic curve that the field fits to scores before PLCC and RMSE.

It takes out a model's own scale: y = (b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2, fitted to the
MOS by least squares, as VQEG and the published comparisons do. Numbers made with it are always
named `plcc_fitted` and `rmse_fitted`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.special import expit

Array = npt.NDArray[np.float64]

FEWEST = 5
"""Videos for a fit: one more than the curve has parameters."""

_EVALUATIONS = 200

_STARTS = (0.25, 1.0)
"""Widths to start at, the first that of published code, in standard deviations of the scores."""

_FARTHEST = 16.0
"""The farthest middle from all scores, in widths: from there the curve is an exponential one, and
rounding leaves nothing of it farther out."""

_NARROWEST, _WIDEST = np.log(0.05), np.log(100)
"""Logarithms of widths, in standard deviations of the scores. Below the first the curve is a step
between two videos, whose place and height rounding decides; at the last it is a line to 1e-5."""


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
    """Fit MOS y to scores x, shape (videos,), neither constant.

    For a middle and a width the best top and bottom follow by linear regression, so that only these
    two are searched for, on standardised scores: scores that are almost the MOS, whose curve is a
    line with its ends far away, are fitted as well as others. Where a line, an exponential curve or
    a step is best, the search ends at its bounds, which is a fit too. Published code hands x itself
    to `scipy.optimize.curve_fit`, whose steps are in proportion to a parameter, so that a middle
    that starts at 0 never moves (docs/evaluation.md has the difference). With exact derivatives and
    two fixed starts the search gives the same bits every time.
    """
    centre, spread = float(x.mean()), float(x.std())
    unit, near = (x - centre) / spread, (y - y.mean()) / y.std()

    lowest, highest = float(unit.min()), float(unit.max())

    def placed(parameters: Array) -> tuple[float, float, int]:
        """The middle, the width, and at which bound the middle is: -1, 0 for none, or 1."""
        middle, width = float(parameters[0]), float(np.exp(parameters[1]))
        low, high = lowest - _FARTHEST * width, highest + _FARTHEST * width
        return min(max(middle, low), high), width, int(middle > high) - int(middle < low)

    def direction(parameters: Array) -> tuple[Array, Array]:
        """The curve without its mean, at length 1, and its derivatives at the same scale."""
        middle, width, at = placed(parameters)
        distance = (unit - middle) / width
        share = expit(distance)
        slope = share * expit(-distance)
        found = np.stack([share, -slope / width * (at == 0), -slope * (distance + _FARTHEST * at)])
        found -= found.mean(axis=1, keepdims=True)
        found /= np.linalg.norm(found[0])
        return found[0], found[1:]

    def residuals(parameters: Array) -> Array:
        curve, _ = direction(parameters)
        left: Array = (curve @ near) * curve - near
        return left

    def jacobian(parameters: Array) -> Array:
        curve, turns = direction(parameters)
        # Variable projection, after Kaufman: what regression on the curve does not take up.
        left: Array = (curve @ near) * (turns - np.outer(turns @ curve, curve))
        return left.T

    found = min(
        (
            least_squares(
                residuals,
                x0=[0, np.log(width)],
                jac=jacobian,
                bounds=([-np.inf, _NARROWEST], [np.inf, _WIDEST]),
                max_nfev=_EVALUATIONS,
            )
            for width in _STARTS
        ),
        key=lambda one: one.cost,
    )
    middle, width, _ = placed(found.x)
    share = expit((unit - middle) / width)
    varied = share - share.mean()
    height = float(varied @ (y - y.mean())) / float(varied @ varied)
    bottom = float(y.mean()) - height * float(share.mean())
    return Logistic(bottom + height, bottom, centre + spread * middle, spread * width)
