"""MOS from raw ratings, against a slow second implementation and against what must hold."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from finevq.dataset.study.mos import compute_mos
from finevq.dataset.study.ratings import Ratings
from finevq.dataset.study.rules import RULES, Rule, Screening
from finevq.errors import DatasetError

PAPER = RULES["paper"]


def matrix(rows, scale=(1.0, 5.0), dimensions=("overall",)) -> Ratings:
    """Ratings from rows of a video (or, with several dimensions, of a video in one of them)."""
    table = np.array(rows, dtype=float)
    item, subject = np.nonzero(~np.isnan(table))
    many = len(dimensions)
    return Ratings(
        subject,
        item // many,
        item % many,
        table[item, subject],
        [f"s{i}" for i in range(table.shape[1])],
        [f"{i}.mp4" for i in range(len(table) // many)],
        list(dimensions),
        scale,
    )


def made(seed: int, *, videos=30, subjects=12, missing=0.2) -> np.ndarray:
    """A table of ratings with biased raters, some careless, and holes."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, 5, videos)
    table = truth[:, None] + rng.normal(0, 0.5, subjects) + rng.normal(0, 0.6, (videos, subjects))
    table[:, :2] = rng.uniform(1, 5, (videos, 2))
    table = np.clip(np.rint(table), 1, 5)
    table[rng.random(table.shape) < missing] = np.nan
    return table


def by_hand(table: np.ndarray, screening: Screening) -> tuple[np.ndarray, set[str]]:
    """The MOS with z-scores, rating by rating as the text says it."""
    table = table.copy()
    out = np.zeros(table.shape)
    for video, row in enumerate(table):
        given = row[~np.isnan(row)]
        kurtosis = stats.kurtosis(given, fisher=False) if len(set(given)) > 1 else math.nan
        factor = 2 if 2 <= kurtosis <= 4 else math.sqrt(20)
        limit = factor * given.std(ddof=screening.deviation == "sample")
        for subject, score in enumerate(row):
            if abs(score - given.mean()) > limit > 0:
                out[video, subject] = np.sign(score - given.mean())
    rejected = set()
    for subject in range(table.shape[1]):
        above, below = (out[:, subject] > 0).sum(), (out[:, subject] < 0).sum()
        rated = (~np.isnan(table[:, subject])).sum()
        if above + below > 0.05 * (rated if screening.share_of == "rated" else len(table)):
            balance = screening.balance
            if balance is None or abs(above - below) / (above + below) < balance:
                rejected.add(f"s{subject}")
                table[:, subject] = np.nan
    if screening.remove:
        table[out != 0] = np.nan
    z = (table - np.nanmean(table, axis=0)) / np.nanstd(table, axis=0, ddof=1)
    return np.nanmean(100 * (z + 3) / 6, axis=1), rejected


SCREENINGS = [
    Screening(),
    Screening(deviation="sample"),
    Screening(share_of="all"),
    Screening(balance=0.3),
    Screening(remove=False),
]


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:Degrees of freedom")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("screening", SCREENINGS, ids=str)
def test_screening_and_z_scores_agree_with_a_slow_computation(screening, seed) -> None:
    table = made(seed)
    expected, rejected = by_hand(table, screening)
    found = compute_mos(matrix(table), Rule("zscore", screening))
    assert set(found.rejected) == rejected
    np.testing.assert_allclose(found.mos["overall"], expected, rtol=1e-12)


def test_the_made_studies_reject_and_keep() -> None:
    rejected = [len(compute_mos(matrix(made(seed)), PAPER).rejected) for seed in range(5)]
    assert 0 < sum(rejected) < 5 * 12


def test_plain_is_mean_deviation_and_interval() -> None:
    found = compute_mos(matrix([[1, 2, 4], [5, 5, np.nan]]), RULES["plain"]).mos
    assert found.loc["0.mp4", "overall"] == pytest.approx(7 / 3)
    assert found.loc["0.mp4", "overall_std"] == pytest.approx(np.std([1, 2, 4], ddof=1))
    expected = 1.96 * np.std([1, 2, 4], ddof=1) / math.sqrt(3)
    assert found.loc["0.mp4", "overall_ci95"] == pytest.approx(expected)
    assert list(found["overall_ratings"]) == [3, 2]
    assert found.loc["1.mp4", "overall_ci95"] == 0


def test_one_rating_has_no_interval() -> None:
    found = compute_mos(matrix([[3, np.nan], [2, 4]]), RULES["plain"]).mos
    assert math.isnan(found.loc["0.mp4", "overall_ci95"])


@given(st.integers(0, 100), st.lists(st.floats(-0.2, 0.2), min_size=6, max_size=6))
def test_a_subjects_bias_does_not_move_p913(seed: int, shifts: list[float]) -> None:
    table = np.random.default_rng(seed).uniform(2, 4, (8, 6))
    shift = np.array(shifts) - np.mean(shifts)
    plain, shifted = (compute_mos(matrix(t), RULES["p913"]).mos for t in (table, table + shift))
    np.testing.assert_allclose(plain["overall"], shifted["overall"])


@given(st.integers(0, 100), st.lists(st.floats(0.3, 3), min_size=6, max_size=6))
def test_a_subjects_bias_and_spread_do_not_move_z_scores(seed: int, spreads: list[float]) -> None:
    table = np.random.default_rng(seed).uniform(2, 4, (8, 6))
    other = table * np.array(spreads) + np.arange(6)
    same, moved = (compute_mos(matrix(t), RULES["zscore"]).mos for t in (table, other))
    np.testing.assert_allclose(same["overall"], moved["overall"])


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_the_ratings_does_not_matter(rule: str) -> None:
    ratings = matrix(made(1))
    order = np.random.default_rng(0).permutation(len(ratings.score))
    parts = ("subject", "video", "dimension", "score")
    mixed = replace(ratings, **{part: getattr(ratings, part)[order] for part in parts})
    one, other = compute_mos(ratings, RULES[rule]), compute_mos(mixed, RULES[rule])
    assert one.rejected == other.rejected
    np.testing.assert_allclose(one.mos, other.mos)


def test_each_dimension_has_z_scores_of_its_own_but_a_subject_is_rejected_as_a_whole() -> None:
    one, other = made(3), made(4)
    both = np.stack([one, other], axis=1).reshape(-1, one.shape[1])
    found = compute_mos(matrix(both, dimensions=("noise", "blur")), RULES["zscore"]).mos
    alone = compute_mos(matrix(other), RULES["zscore"]).mos
    np.testing.assert_allclose(found["blur"], alone["overall"])
    rejected = compute_mos(matrix(both, dimensions=("noise", "blur")), PAPER)
    assert rejected.rejected
    gone = rejected.removed[rejected.removed["reason"] == "subject rejected"]
    assert set(gone["dimension"]) == {"noise", "blur"}


LONELY = [[4.0] * 9 + [1.0]]
"""Three deviations away, but with a kurtosis of 8.1 the limit is the far one."""

ORDINARY = [3.0, *[2.0] * 4, *[3.0] * 11, *[4.0] * 4]
"""A video on which a 1 of the first subject is an outlier, 2.5 deviations away."""


@dataclass(frozen=True)
class Limit:
    """A video, and whether its last rating is an outlier."""

    id: str
    rows: list[list[float]]
    screening: Screening
    outliers: int


LIMITS = [
    Limit("far limit keeps a lonely rating", LONELY, Screening(), 0),
    Limit("beyond the far limit", [[4.0] * 30 + [1.0]], Screening(), 1),
    # Kurtosis 3 and the outermost ratings exactly 2 deviations away: -2 0 0 0 0 0 0 2 scaled.
    Limit("on the limit, strict", [[1, 3, 3, 3, 3, 3, 3, 5]], Screening(), 0),
    Limit("on the limit, inclusive", [[1, 3, 3, 3, 3, 3, 3, 5]], Screening(limits="inclusive"), 2),
    Limit(
        "the sample's deviation is larger",
        [[1, 3, 3, 3, 3, 3, 3, 5]],
        Screening(limits="inclusive", deviation="sample"),
        0,
    ),
    Limit("all agree", [[3, 3, 3, 3]], Screening(limits="inclusive"), 0),
    Limit("one rating", [[3, np.nan]], Screening(limits="inclusive"), 0),
]


@pytest.mark.parametrize("case", LIMITS, ids=lambda case: case.id)
def test_the_limits_of_an_outlier(case: Limit) -> None:
    ordinary = np.tile([[3.0, 4.0]], (60, len(case.rows[0]) // 2 + 1))[:, : len(case.rows[0])]
    rows = [*case.rows, *ordinary]  # enough others that nobody is rejected
    found = compute_mos(matrix(rows), Rule("none", case.screening))
    assert (found.removed["reason"] == "outlier").sum() == case.outliers
    assert found.outlier_share == pytest.approx(case.outliers / (~np.isnan(rows)).sum())


def test_bt500_keeps_a_subject_who_errs_to_one_side() -> None:
    table = np.tile(ORDINARY, (40, 1))
    table[:10, 0] = 1  # far too low on ten videos
    share_alone = compute_mos(matrix(table), Rule("none", Screening()))
    assert set(share_alone.rejected) == {"s0"}
    assert share_alone.rejected["s0"] == pytest.approx(10 / 40)
    assert compute_mos(matrix(table), Rule("none", Screening(balance=0.3))).rejected == {}


def test_against_all_videos_a_subject_who_rated_few_is_kept() -> None:
    table = np.tile(ORDINARY, (100, 1))
    table[:4, 0] = 1
    table[20:, 0] = np.nan
    assert set(compute_mos(matrix(table), Rule("none", Screening())).rejected) == {"s0"}
    every = Screening(share_of="all")
    assert compute_mos(matrix(table), Rule("none", every)).rejected == {}


@dataclass(frozen=True)
class LeftOut:
    id: str
    column: list[float]
    reason: str
    count: int


LEFT_OUT = [
    LeftOut("constant", [3, 3, 3, 3], "constant rater in this dimension", 4),
    LeftOut("one rating", [np.nan, 3, np.nan, np.nan], "only rating of the subject", 1),
]


@pytest.mark.parametrize("case", LEFT_OUT, ids=lambda case: case.id)
def test_raters_without_a_deviation_are_left_out_of_z_scores(case: LeftOut) -> None:
    others = np.array([[1, 2, 2], [2, 3, 3], [4, 4, 5], [5, 5, 4]], dtype=float)
    table = np.column_stack([others, case.column])
    found = compute_mos(matrix(table), RULES["zscore"])
    assert len(found.removed) == case.count
    assert found.removed["reason"].str.startswith(case.reason).all()
    assert len(found.notes) == 1
    assert f"{case.count} ratings left out ({case.reason}" in found.notes[0]
    alone = compute_mos(matrix(others), RULES["zscore"])
    np.testing.assert_allclose(found.mos["overall"], alone.mos["overall"])
    assert compute_mos(matrix(table), RULES["plain"]).removed.empty


def test_a_video_without_ratings_left_has_no_mos_and_a_note() -> None:
    table = np.array([[1, 2, 3], [4, 5, 3], [np.nan, np.nan, 3]])
    found = compute_mos(matrix(table), RULES["zscore"])
    assert math.isnan(found.mos.loc["2.mp4", "overall"])
    assert "overall: 1 videos have no MOS, for no rating is left" in found.notes


def test_nobody_left_is_an_error() -> None:
    with pytest.raises(DatasetError, match=r"no rating is left.*take the rule plain"):
        compute_mos(matrix([[3, 3], [3, 3]]), PAPER)


def test_the_careless_are_rejected_and_the_error_is_below_that_of_the_plain_mean() -> None:
    rng = np.random.default_rng(5)
    truth = rng.uniform(1, 5, 300)
    bias, noise = rng.normal(0, 0.4, 20), rng.uniform(0.3, 0.7, 20)
    table = truth[:, None] + bias + rng.normal(0, 1, (300, 20)) * noise
    table[:, :2] = rng.uniform(1, 5, (300, 2))
    ratings = matrix(np.clip(np.rint(table), 1, 5))
    found, plain = compute_mos(ratings, PAPER), compute_mos(ratings, RULES["plain"])
    assert {"s0", "s1"} <= set(found.rejected)
    assert len(found.rejected) <= 6

    def error(mos) -> float:
        """Root mean square, in units of the scale, after the best line."""
        line = np.polyfit(mos, truth, 1)
        return float(np.sqrt(np.mean((np.polyval(line, mos) - truth) ** 2)))

    assert error(found.mos["overall"]) < error(plain.mos["overall"])
