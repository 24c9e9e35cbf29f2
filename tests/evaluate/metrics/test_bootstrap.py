"""The draws of the bootstrap, and its intervals."""

import numpy as np
import pytest

from finevq.evaluate.metrics import bootstrap

from .test_resampled_correlations import counts_of


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
