"""Metrics against scipy, their invariances, and what is said where they are not defined."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from finevq.dataset.videos import DIMENSIONS
from finevq.errors import FineVQError
from finevq.evaluate.metrics.agreement import Agreement
from finevq.evaluate.metrics.measure import COLUMNS, measure, paired_scores


def scores(dimension, predicted, label, words=None, right_words=None):
    """Rows of one dimension, for the videos 000.mp4, 001.mp4, ..."""
    n = len(predicted)
    return pd.DataFrame(
        {
            "video": [f"{i:03}.mp4" for i in range(n)],
            "task": "score",
            "item": dimension,
            "question": None,
            "prediction": predicted,
            "label": label,
            "weighted": predicted,
            "prediction_text": words or ["good"] * n,
            "label_text": right_words or ["good"] * n,
        },
        columns=list(COLUMNS),
    )


def answers(kind, given_answers, right):
    """Rows of one kind of question, for the videos 000.mp4, 001.mp4, ..."""
    return pd.DataFrame(
        {
            "video": [f"{i:03}.mp4" for i in range(len(right))],
            "task": "question",
            "item": kind,
            "question": "Is there any?",
            "prediction": None,
            "label": None,
            "weighted": None,
            "prediction_text": given_answers,
            "label_text": right,
        },
        columns=list(COLUMNS),
    )


def measured(predictions, labelled=None, failed=None, categories=None, labels=None):
    return measure(
        predictions,
        split="scenes",
        part="test",
        labelled=sorted(set(predictions["video"])) if labelled is None else labelled,
        failed=failed or {},
        mos_range=(0.0, 100.0),
        categories=categories,
        labels=labels,
    )


def noisy(n, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.uniform(0, 100, n)
    return label + rng.normal(0, 20, n), label


def tied(n, seed=0):
    predicted, label = noisy(n, seed)
    return np.round(predicted, -1), np.round(label, -1)


@pytest.mark.parametrize("data", [noisy(80), tied(80)], ids=["distinct", "tied"])
@pytest.mark.parametrize(
    ("metric", "reference"),
    [("srcc", stats.spearmanr), ("krcc", stats.kendalltau), ("plcc", stats.pearsonr)],
)
def test_correlations_are_those_of_scipy(data, metric, reference):
    found = measured(scores("blur", *data))["dimensions"]["blur"]
    assert found[metric] == pytest.approx(reference(*data).statistic, abs=1e-12)


def test_rmse_is_on_the_mos_scale():
    found = measured(scores("blur", [10.0, 20.0, 30.0], [13.0, 16.0, 30.0]))["dimensions"]["blur"]
    assert found["rmse"] == pytest.approx(np.sqrt((9 + 16 + 0) / 3))


def test_level_accuracy_compares_the_words():
    rows = scores(
        "color", [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0],
        words=["bad", "bad", "fair", None], right_words=["bad", "poor", "fair", "good"],
    )  # fmt: skip
    found = measured(rows)["dimensions"]["color"]
    assert found["level_accuracy"] == 0.5
    assert found["level_majority_baseline"] == 0.25
    assert found["level_balanced_accuracy"] == 0.5


def test_level_accuracy_stands_beside_what_guessing_gives():
    rows = scores(
        "color", [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0],
        words=["bad"] * 4, right_words=["bad", "bad", "bad", "good"],
    )  # fmt: skip
    found = measured(rows)["dimensions"]["color"]
    assert (found["level_accuracy"], found["level_majority_baseline"]) == (0.75, 0.75)
    assert found["level_balanced_accuracy"] == 0.5
    low, high = found["level_balanced_accuracy_ci"]
    assert low <= 0.5 <= high


def test_a_dimension_counts_its_labels_of_videos_that_were_not_predicted():
    found = measured(scores("blur", *noisy(20)), labels={"blur": 23, "noise": 2})["dimensions"]
    assert (found["blur"]["n"], found["blur"]["labelled"]) == (20, 23)
    assert (found["noise"]["n"], found["noise"]["labelled"]) == (0, 2)
    assert found["color"]["labelled"] == 0


def test_dimensions_stand_in_the_order_of_the_paper():
    rows = pd.concat([scores(name, *noisy(5)) for name in reversed(DIMENSIONS)])
    assert tuple(measured(rows)["dimensions"]) == DIMENSIONS


def test_questions_stand_in_the_order_of_the_paper():
    kinds = ["which most", "yes-no noise", "which exists", "yes-no color"]
    found = measured(pd.concat([answers(kind, ["A"], ["A"]) for kind in kinds]))["questions"]
    assert list(found) == ["yes-no color", "yes-no noise", "which exists", "which most"]


def test_the_mean_is_over_defined_dimensions_only():
    up, down = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0]
    rows = pd.concat(
        [scores("color", up, up), scores("blur", up, down), scores("noise", up, [5.0] * 4)]
    )
    mean = measured(rows)["mean"]
    assert mean["dimensions"] == 2
    assert mean["srcc"] == pytest.approx((1 + 0.8) / 2)


def test_the_second_reading_is_measured_apart():
    predicted, label = noisy(30)
    found = measured(scores("blur", predicted, label).assign(weighted=-predicted))
    weighted = found["weighted"]["dimensions"]["blur"]
    assert weighted["srcc"] == pytest.approx(-found["dimensions"]["blur"]["srcc"])


def test_each_category_is_measured_by_itself():
    predicted, label = noisy(40)
    of = {f"{i:03}.mp4": "sport" if i < 15 else "" for i in range(40)}
    found = measured(scores("blur", predicted, label), categories=of)["categories"]
    assert list(found) == ["sport"]
    blur = found["sport"]["dimensions"]["blur"]
    assert blur["n"] == 15
    assert blur["srcc"] == pytest.approx(stats.spearmanr(predicted[:15], label[:15]).statistic)


def test_the_fitted_metrics_stand_beside_the_raw_ones():
    label = np.linspace(5, 95, 60)
    bent = 40 + 3 * np.log(label / (100 - label))  # a logistic curve of it is the label
    found = measured(scores("blur", bent, label))["dimensions"]["blur"]
    assert found["plcc"] < 0.995
    assert found["plcc_fitted"] == pytest.approx(1, abs=1e-9)
    assert found["rmse_fitted"] == pytest.approx(0, abs=1e-3)
    assert found["rmse"] > 10


# What is not defined.


@pytest.mark.parametrize(
    ("predicted", "label", "reason"),
    [
        ([1.0, 2.0], [2.0, 1.0], "2 labelled predictions, at least 3 are needed"),
        ([1.0], [2.0], "1 labelled prediction, at least 3 are needed"),
        ([7.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], "the predictions are constant"),
        ([1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5, "the labels are constant"),
        (
            [50.0, np.nextafter(50, 51), 50.0, 50.0],
            [1.0, 2.0, 3.0, 4.0],
            "the predictions are constant",
        ),
    ],
)
def test_an_undefined_correlation_is_null_with_its_reason(predicted, label, reason):
    found = measured(scores("noise", predicted, label))["dimensions"]["noise"]
    undefined = ("srcc", "srcc_ci", "krcc", "plcc", "plcc_ci", "plcc_fitted", "rmse_fitted")
    assert [found[key] for key in undefined] == [None] * len(undefined)
    assert found["reason"] == reason


def test_a_defined_metric_has_no_reason():
    assert "reason" not in measured(scores("noise", *noisy(20)))["dimensions"]["noise"]


def test_error_and_accuracy_are_defined_where_correlations_are_not():
    found = measured(scores("noise", [1.0], [3.0]))["dimensions"]["noise"]
    assert (found["rmse"], found["level_accuracy"], found["n"]) == (2.0, 1.0, 1)


def test_a_dimension_without_labels_is_null_with_n_zero():
    found = measured(scores("noise", [1.0, 2.0, 3.0], [None] * 3))["dimensions"]["noise"]
    assert found["n"] == 0
    assert all(found[key] is None for key in ("srcc", "rmse", "level_accuracy"))


def test_without_any_label_the_mean_is_null_with_its_reason():
    mean = measured(scores("noise", [1.0, 2.0, 3.0], [None] * 3))["mean"]
    assert mean["srcc"] is None
    assert mean["reason"] == "no dimension has a defined correlation"


def test_labels_without_level_words_say_so():
    rows = scores("noise", *noisy(20)).assign(label_text=None)
    found = measured(rows)["dimensions"]["noise"]
    assert found["level_accuracy"] is None
    assert found["reason"] == "the labels have no level words"


def test_unlabelled_videos_do_not_count():
    predicted, label = noisy(30)
    partial = label.copy()
    partial[::3] = np.nan
    found = measured(scores("blur", predicted, partial))["dimensions"]["blur"]
    kept = ~np.isnan(partial)
    assert found["n"] == 20
    assert found["srcc"] == pytest.approx(stats.spearmanr(predicted[kept], label[kept]).statistic)


def test_a_question_without_right_answers_is_null_with_its_reason():
    found = measured(answers("which most", ["A", "B"], [None, None]))["questions"]["which most"]
    assert (found["accuracy"], found["n"]) == (None, 0)
    assert found["reason"] == "no question has a right answer to compare with"


def test_no_predictions_at_all_still_give_a_report_of_nulls():
    found = measured(scores("noise", [], []), labelled=["a.mp4"])
    assert found["coverage"]["missing"] == ["a.mp4"]
    assert found["mean"]["srcc"] is None


def test_the_metrics_are_strict_json():
    rows = pd.concat(
        [
            scores("color", *noisy(10)),
            scores("noise", [1.0] * 4, [1.0] * 4),
            answers("which most", ["A", "B"], ["A", None]),
            answers("which exists", ["A"], [None]),
        ]
    )
    found = measured(rows)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# Questions.


def test_accuracy_stands_beside_what_guessing_gives():
    rows = answers("yes-no noise", ["Yes", "Yes", "Yes", "No"], ["Yes", "Yes", "No", "Yes"])
    found = measured(rows)["questions"]["yes-no noise"]
    assert (found["accuracy"], found["majority_baseline"], found["n"]) == (0.5, 0.75, 4)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 0) / 2)


def test_no_answer_is_a_wrong_answer():
    rows = answers("yes-no noise", ["Yes", None], ["Yes", "Yes"])
    assert measured(rows)["questions"]["yes-no noise"]["accuracy"] == 0.5


def test_the_interval_of_an_accuracy_resamples_videos_not_questions():
    """Four questions on each video, all right or all wrong, say no more than one does."""
    right = [["Yes"], ["No"]] * 20
    once = answers("yes-no blur", [r[0] for r in right], ["Yes"] * 40)
    four = pd.concat([once.assign(question=f"wording {k}") for k in range(4)])
    found = [measured(rows)["questions"]["yes-no blur"]["accuracy_ci"] for rows in (once, four)]
    assert found[0] == found[1]
    assert found[0][0] < 0.5 < found[0][1]


# Coverage.


def test_every_labelled_video_is_predicted_failed_or_missing():
    coverage = measured(
        scores("blur", *noisy(3)),
        labelled=["000.mp4", "001.mp4", "002.mp4", "lost.mp4", "broken.mp4"],
        failed={"broken.mp4": "no frames"},
    )["coverage"]
    assert coverage == {
        "predicted": 3,
        "labelled": 5,
        "failed": [{"video": "broken.mp4", "reason": "no frames"}],
        "missing": ["lost.mp4"],
    }


def test_predicted_videos_without_labels_are_not_covered():
    coverage = measured(scores("blur", *noisy(3)), labelled=["001.mp4"])["coverage"]
    assert (coverage["predicted"], coverage["labelled"]) == (1, 1)


# What is refused.


def test_a_video_predicted_twice_is_refused():
    rows = scores("blur", *noisy(3))
    with pytest.raises(FineVQError, match=r"001\.mp4: the score 'blur' is predicted twice"):
        measured(pd.concat([rows, rows.iloc[[1]]]))


def test_two_questions_of_one_kind_are_no_duplicates():
    rows = answers("which most", ["A"], ["A"])
    both = pd.concat([rows, rows.assign(question="another wording")])
    assert measured(both)["questions"]["which most"]["n"] == 2


def test_a_video_both_predicted_and_failed_is_refused():
    with pytest.raises(FineVQError, match=r"000\.mp4 is predicted, yet failed with 'no frames'"):
        measured(scores("blur", *noisy(3)), failed={"000.mp4": "no frames"})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_refused(value):
    with pytest.raises(FineVQError, match=r"001\.mp4: the blur score (nan|inf)"):
        measured(scores("blur", [1.0, value, 3.0], [1.0, 2.0, 3.0]))


def test_an_infinite_label_is_refused():
    with pytest.raises(FineVQError, match="label inf"):
        measured(scores("blur", [1.0, 2.0, 3.0], [1.0, np.inf, 3.0]))


def test_an_unknown_dimension_is_refused():
    with pytest.raises(FineVQError, match="unknown dimension 'sharpness'"):
        measured(scores("sharpness", *noisy(3)))


def test_an_unknown_task_is_refused():
    with pytest.raises(FineVQError, match="unknown task 'caption'"):
        measured(scores("blur", *noisy(3)).assign(task="caption"))


def test_an_absent_column_is_refused():
    with pytest.raises(FineVQError, match="no column label_text"):
        measured(scores("blur", *noisy(3)).drop(columns="label_text"))


# Invariances.

columns = st.lists(
    st.tuples(st.integers(0, 20), st.one_of(st.none(), st.integers(0, 20))), min_size=3, max_size=25
)


def table(pairs):
    return scores(
        "temporal",
        [float(predicted) for predicted, _ in pairs],
        [None if label is None else float(label) for _, label in pairs],
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(columns, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(pairs, random):
    rows = pd.concat([table(pairs), answers("which most", ["A", "B"], ["B", "B"])])
    order = list(range(len(rows)))
    random.shuffle(order)
    assert measured(rows.iloc[order]) == measured(rows)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(columns)
def test_srcc_and_its_interval_see_ranks_only(pairs):
    bent = [(predicted**3 + predicted, label) for predicted, label in pairs]
    found, expected = (measured(table(rows))["dimensions"]["temporal"] for rows in (bent, pairs))
    assert found["srcc"] == pytest.approx(expected["srcc"], abs=1e-12)
    assert found["srcc_ci"] == pytest.approx(expected["srcc_ci"], abs=1e-12)


# Intervals.


def test_the_interval_brackets_the_estimate():
    found = measured(scores("overall", *noisy(100)))["dimensions"]["overall"]
    low, high = found["srcc_ci"]
    assert low < found["srcc"] < high
    assert 0.01 < high - low < 0.3


def test_the_interval_narrows_with_more_videos():
    few, many = (
        measured(scores("overall", *noisy(n)))["dimensions"]["overall"]["srcc_ci"]
        for n in (30, 480)
    )
    assert few[1] - few[0] > 2 * (many[1] - many[0])


def test_the_intervals_are_those_of_a_loop_over_scipy_with_the_same_seed():
    predicted, label = tied(40)
    found = measured(scores("overall", predicted, label))["dimensions"]["overall"]
    fitted = Agreement(predicted, label).curve(predicted)
    draws = np.random.default_rng(0).integers(0, 40, (1000, 40))
    for metric, statistic in (
        ("srcc", lambda d: stats.spearmanr(predicted[d], label[d]).statistic),
        ("krcc", lambda d: stats.kendalltau(predicted[d], label[d]).statistic),
        ("plcc", lambda d: stats.pearsonr(predicted[d], label[d]).statistic),
        ("plcc_fitted", lambda d: stats.pearsonr(fitted[d], label[d]).statistic),
        ("rmse", lambda d: np.sqrt(np.mean((predicted[d] - label[d]) ** 2))),
        ("rmse_fitted", lambda d: np.sqrt(np.mean((fitted[d] - label[d]) ** 2))),
    ):
        looped = np.percentile([statistic(draw) for draw in draws], [2.5, 97.5])
        assert found[f"{metric}_ci"] == pytest.approx(looped, abs=1e-9), metric


def test_the_means_interval_resamples_the_same_videos_in_all_dimensions():
    """Six copies of one dimension have that dimension's interval; independent draws would not."""
    predicted, label = noisy(50)
    found = measured(pd.concat([scores(name, predicted, label) for name in DIMENSIONS]))
    assert found["mean"]["srcc_ci"] == pytest.approx(found["dimensions"]["color"]["srcc_ci"])


def test_the_means_interval_is_that_of_the_mean_over_dimensions():
    """A dimension that is perfect in every resample halves the other's distance from 1."""
    predicted, label = noisy(50)
    rows = pd.concat([scores("color", predicted, label), scores("blur", label, label)])
    found = measured(rows)
    color = np.array(found["dimensions"]["color"]["srcc_ci"])
    assert found["mean"]["srcc_ci"] == pytest.approx((1 + color) / 2)


def test_unlabelled_videos_do_not_enter_the_resamples():
    predicted, label = noisy(40)
    alone = measured(scores("blur", predicted, label))["dimensions"]["blur"]
    more = scores("blur", [*predicted, *predicted], [*label, *[None] * 40])
    assert measured(more)["dimensions"]["blur"]["srcc_ci"] == alone["srcc_ci"]


def test_the_interval_does_not_depend_on_the_size_of_a_block(monkeypatch):
    rows = scores("overall", *noisy(50))
    expected = measured(rows)
    monkeypatch.setattr("finevq.evaluate.metrics.bootstrap._BLOCK", 64 * 50)
    assert measured(rows) == expected


def test_too_few_distinct_values_give_a_point_without_an_interval():
    found = measured(scores("blur", [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]))["dimensions"]["blur"]
    assert found["srcc"] == pytest.approx(1)
    assert found["srcc_ci"] is None
    assert found["reason"].endswith("too few distinct values for an interval")


# The aligned tables.


def test_paired_scores_align_videos_and_dimensions():
    rows = pd.concat([scores("blur", [1.0, 2.0], [3.0, None]), scores("color", [4.0], [5.0])])
    predicted, label = paired_scores(rows)
    assert list(predicted.index) == list(label.index) == ["000.mp4", "001.mp4"]
    assert predicted[["color", "blur"]].fillna(-1).to_numpy().tolist() == [[4, 1], [-1, 2]]
    assert label[["color", "blur"]].fillna(-1).to_numpy().tolist() == [[5, 3], [-1, -1]]
