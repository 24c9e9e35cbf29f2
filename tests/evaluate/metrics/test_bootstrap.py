"""Resampled statistics against scipy on the videos drawn, ties and small numbers included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from finevq.evaluate.metrics import bootstrap
from finevq.evaluate.metrics.logistic import fit_logistic


def ranked(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return bootstrap.rank_correlations(x, y)(bootstrap.Drawn(counts))


REFERENCES = {
    "srcc": (lambda x, y, counts: ranked(x, y, counts)[:, 0], stats.spearmanr),
    "krcc": (lambda x, y, counts: ranked(x, y, counts)[:, 1], stats.kendalltau),
    "plcc": (
        lambda x, y, counts: bootstrap.linear([(np.arange(len(y)), [x], y)], len(y))(counts)[:, 0],
        stats.pearsonr,
    ),
}
"""By metric: ours of values and counts, and scipy's of the values drawn."""


def counts_of(draws: np.ndarray) -> np.ndarray:
    videos = draws.shape[1]
    return np.stack([np.bincount(row, minlength=videos) for row in draws]).astype(np.float32)


@pytest.mark.parametrize("metric", REFERENCES)
@pytest.mark.parametrize("videos", [5, 33, 64, 65, 200])  # around the size of a block
@pytest.mark.parametrize("step", [1e-9, 10, 50], ids=["distinct", "tied", "mostly tied"])
def test_a_resampled_correlation_is_that_of_scipy(metric: str, videos: int, step: float) -> None:
    rng = np.random.default_rng(videos)
    y = rng.uniform(0, 100, videos)
    x = y + rng.normal(0, 30, videos)
    x, y = np.round(x / step) * step, np.round(y / step) * step
    draws = rng.integers(0, videos, (20, videos))
    ours, theirs = REFERENCES[metric]
    found = ours(x, y, counts_of(draws))
    for value, draw in zip(found, draws, strict=True):
        if np.ptp(x[draw]) and np.ptp(y[draw]):
            assert value == pytest.approx(theirs(x[draw], y[draw]).statistic, abs=1e-9)
        else:
            assert np.isnan(value)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), min_size=3, max_size=40
    )
)
def test_kendalls_pairs_are_those_counted_one_by_one(rows: list[tuple[int, int, int]]) -> None:
    x, y, counts = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = ranked(x, y, counts[None].astype(np.float32))[0, 1]
    drawn = np.repeat(np.arange(len(rows)), counts.astype(int))
    sign_x, sign_y = (np.sign(v[drawn][:, None] - v[drawn][None]) for v in (x, y))
    spread = np.sqrt((sign_x**2).sum() * (sign_y**2).sum())
    if spread == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx((sign_x * sign_y).sum() / spread, abs=1e-12)


@pytest.mark.parametrize("metric", REFERENCES)
def test_a_resample_of_one_video_defines_no_correlation(metric: str) -> None:
    x = np.array([0.1, 0.2, 0.3])
    (found,) = REFERENCES[metric][0](x, x**2, np.array([[0, 3, 0]], np.float32))
    assert np.isnan(found)


def test_the_draws_are_those_that_are_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_BLOCK", 70)  # several blocks, the last one shorter
    found = np.concatenate(list(bootstrap.draws(9, seed=4)))
    drawn = np.random.default_rng(4).integers(0, 9, (bootstrap.RESAMPLES, 9))
    np.testing.assert_array_equal(found, counts_of(drawn))


def test_an_interval_needs_most_of_the_resamples() -> None:
    values = np.arange(1000.0)
    assert bootstrap.interval(values) == pytest.approx([24.975, 974.025])
    values[:51] = np.nan
    assert bootstrap.interval(values) is None


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
