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

_EVALUATIONS = 5000

_NARROWEST, _WIDEST = np.log(0.05), 14.0
"""Logarithms of widths, in standard deviations of the scores. Below the first the curve is a step
between two videos, whose place and height rounding decides; above the last it is a line."""


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


def fit_logistic(x: Array, y: Array) -> Logistic | None:
    """Fit MOS y to scores x, shape (videos,), neither constant; None if no optimum is found.

    The start is that of the published code: the extremes of y, the mean of x, a quarter of its
    standard deviation. The fit is made on standardised scores, its steps in units of their own:
    published code hands x itself to `scipy.optimize.curve_fit`, whose steps are in proportion to a
    parameter, so that a middle that starts at 0 never moves (docs/evaluation.md has the
    difference). Bounded and with exact derivatives, it gives the same bits every time, which
    MINPACK on numerical ones did not for few videos.
    """
    centre, spread = float(x.mean()), float(x.std())
    unit = (x - centre) / spread

    def residuals(parameters: Array) -> Array:
        top, bottom, middle, log_width = parameters
        distance: Array = bottom + (top - bottom) * expit((unit - middle) / np.exp(log_width)) - y
        return distance

    def jacobian(parameters: Array) -> Array:
        top, bottom, middle, log_width = parameters
        share = expit((unit - middle) / np.exp(log_width))
        slope = (top - bottom) * share * (1 - share) / np.exp(log_width)
        return np.stack([share, 1 - share, -slope, -slope * (unit - middle)], axis=1)

    found = least_squares(
        residuals,
        x0=[y.max(), y.min(), 0, np.log(0.25)],
        jac=jacobian,
        bounds=([-np.inf, -np.inf, -np.inf, _NARROWEST], [np.inf, np.inf, np.inf, _WIDEST]),
        x_scale=[y.std(), y.std(), 1, 1],
        max_nfev=_EVALUATIONS,
    )
    if found.status <= 0 or not np.all(np.isfinite(found.x)):
        return None
    top, bottom, middle, log_width = map(float, found.x)
    return Logistic(top, bottom, centre + spread * middle, spread * float(np.exp(log_width)))
