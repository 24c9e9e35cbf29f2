"""Resampled correlations against scipy on the videos drawn, ties and small numbers included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from finevq.evaluate.metrics.moments import pearson_and_rmse
from finevq.evaluate.metrics.ranks import Drawn, rank_correlations


def ranked(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return rank_correlations(x, y)(Drawn(counts))


REFERENCES = {
    "srcc": (lambda x, y, counts: ranked(x, y, counts)[:, 0], stats.spearmanr),
    "krcc": (lambda x, y, counts: ranked(x, y, counts)[:, 1], stats.kendalltau),
    "plcc": (
        lambda x, y, counts: pearson_and_rmse([(np.arange(len(y)), [x], y)], len(y))(counts)[:, 0],
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
