"""The logistic fit: curves that it must find, at the border of the family too."""

import numpy as np
import pytest
from scipy import stats

from finevq.evaluate.metrics.logistic import fit_logistic


def test_a_fit_finds_the_curve_that_made_the_labels() -> None:
    x = np.random.default_rng(0).normal(0, 1, 200)  # standardised: a middle near 0 is the hard case
    y = 20 + 60 / (1 + np.exp(-(x + 0.4) / 0.7))
    curve = fit_logistic(x, y)
    found = (curve.top, curve.bottom, curve.middle, curve.width)
    assert found == pytest.approx((80, 20, -0.4, 0.7), rel=1e-5)


def test_a_fit_does_not_depend_on_the_scale_of_the_scores() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, 100)
    y = 50 + 10 * x + rng.normal(0, 5, 100)
    fits = [fit_logistic(scaled, y)(scaled) for scaled in (x, 1000 * x + 77)]
    np.testing.assert_allclose(fits[0], fits[1], atol=1e-5)


@pytest.mark.parametrize("videos", [5, 20, 200])
@pytest.mark.parametrize("noise", [0, 1e-3, 0.1, 1])
def test_scores_that_are_almost_the_labels_have_a_fit_as_good_as_a_line(
    videos: int, noise: float
) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        y = rng.uniform(0, 100, videos)
        x = y + noise * rng.normal(size=videos)
        fitted = stats.pearsonr(fit_logistic(x, y)(x), y).statistic
        assert fitted > stats.pearsonr(x, y).statistic - 1e-6


@pytest.mark.parametrize(
    "y",
    [
        pytest.param(lambda x: np.exp(x), id="exponential"),
        pytest.param(lambda x: -np.exp(-x), id="exponential that levels off"),
        pytest.param(lambda x: -x, id="falling line"),
        pytest.param(lambda x: np.float64(x > 0.3), id="step"),
    ],
)
def test_curves_at_the_border_of_the_logistic_ones_are_fitted_too(y) -> None:
    x = np.linspace(-2, 2, 40)
    curve = fit_logistic(x, y(x))
    assert np.isfinite([curve.top, curve.bottom, curve.middle, curve.width]).all()
    assert stats.pearsonr(curve(x), y(x)).statistic > 0.98
