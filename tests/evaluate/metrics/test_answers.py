"""Accuracies side by side: only what all answer, the same numbers as of one model alone."""

import json

import numpy as np
import pytest

from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.metrics.answers import ALL, METRICS, answers_by, compare_answers
from finevq.evaluate.metrics.measure import COLUMNS, measure

KINDS = ("yes-no blur", "which most")
LETTERS = {"yes-no blur": ("Yes", "No"), "which most": ("A", "B", "C", "D")}


def right_answers(videos=40, seed=0):
    rng = np.random.default_rng(seed)
    return answers_by(
        (f"{i:02}.mp4", kind, f"{kind}?", str(rng.choice(LETTERS[kind])))
        for i in range(videos)
        for kind in KINDS
    )


def model(right, share, seed=1):
    """The right answer in about a share of the questions, none in the others."""
    known = np.random.default_rng(seed).random(len(right)) < share
    return right.where(known, None)


def test_the_accuracy_and_its_interval_are_those_of_metrics_json() -> None:
    right = right_answers()
    answers = model(right, 0.7)
    found = compare_answers({"a": answers}, right)["a"]
    rows = right.rename("label_text").to_frame().assign(prediction_text=answers).reset_index()
    rows = rows.rename(columns={"kind": "item"}).assign(
        task="question", prediction=np.nan, label=np.nan, weighted=np.nan
    )
    rows = rows[list(COLUMNS)].sample(frac=1, random_state=0)
    metrics = measure(rows, split="s", part="test", labelled=[], failed={}, mos_range=(0.0, 1.0))
    for kind in KINDS:
        expected = metrics["questions"][kind]
        for metric in METRICS:
            interval = pytest.approx(expected[f"{metric}_ci"], abs=1e-12)
            assert found[kind][metric] == pytest.approx(expected[metric], abs=1e-12)
            assert found[kind]["ci"][metric] == interval
        assert found[kind]["majority_baseline"] == expected["majority_baseline"]
        assert found[kind]["n"] == expected["n"]


def test_a_clear_difference_has_a_small_p_value_and_none_a_large_one() -> None:
    right = right_answers()
    models = {name: model(right, share) for name, share in (("good", 0.9), ("poor", 0.2))}
    against = compare_answers(models | {"same": models["good"]}, right)["good"][ALL]["against"]
    assert against["poor"]["accuracy"]["p"] < 0.01
    assert against["poor"]["accuracy"]["difference"] > 0
    assert against["same"]["accuracy"] == {"difference": 0.0, "ci": [0.0, 0.0], "p": 1.0}


def test_only_questions_that_all_answer_are_measured() -> None:
    right = right_answers(10)
    found = compare_answers({"a": right.iloc[:-4], "b": right.iloc[2:]}, right)
    for name in "ab":
        assert [found[name][kind]["n"] for kind in (*KINDS, ALL)] == [7, 7, 14]
        assert [found[name][kind]["labelled"] for kind in (*KINDS, ALL)] == [10, 10, 20]
    assert [found["a"][kind]["answered"] for kind in (*KINDS, ALL)] == [8, 8, 16]
    assert found["a"][ALL]["missing"] == ["08.mp4", "09.mp4"]
    assert found["b"]["which most"]["missing"] == ["00.mp4"]


def test_a_question_without_a_right_answer_is_not_measured() -> None:
    right = right_answers(10)
    assert compare_answers({"a": right}, right.iloc[:-2])["a"][ALL]["n"] == 18


def test_models_without_answers_do_not_take_part() -> None:
    right = right_answers(10)
    found = compare_answers({"a": right, "csv": answers_by([])}, right)
    assert found.keys() == {"a"}
    assert compare_answers({"csv": answers_by([])}, right) == {}
    assert compare_answers({"a": right}, answers_by([])) == {}


def test_a_kind_that_no_model_is_asked_is_not_listed() -> None:
    right = right_answers(10)
    letters = right[right.index.get_level_values("kind") == "which most"]
    assert compare_answers({"a": letters}, right)["a"].keys() == {"which most", ALL}


def test_models_of_different_questions_get_a_null_with_its_reason() -> None:
    right = right_answers(10)
    found = compare_answers({"a": right.iloc[:10], "b": right.iloc[10:]}, right)["a"][ALL]
    assert (found["accuracy"], found["balanced_accuracy"], found["n"]) == (None, None, 0)
    assert found["ci"] == dict.fromkeys(METRICS)
    assert found["reason"] == "no question is answered by all models"
    json.dumps(found, allow_nan=False)


def test_a_kind_that_one_model_is_not_asked_is_measured_on_the_other() -> None:
    right = right_answers(10)
    letters = right[right.index.get_level_values("kind") == "which most"]
    found = compare_answers({"a": right, "b": letters}, right)
    assert found["b"].keys() == {"which most", ALL}
    assert found["a"]["yes-no blur"]["n"] == 10
    assert found["a"]["yes-no blur"]["against"] == {}


def test_the_baseline_of_all_gives_each_kind_its_most_frequent_answer() -> None:
    right = answers_by(
        (f"{i}.mp4", kind, "?", answer)
        for kind, given in (("yes-no blur", "YYN"), ("which most", "AABC"))
        for i, answer in enumerate(given)
    )
    found = compare_answers({"a": right}, right)["a"]
    assert found["yes-no blur"]["majority_baseline"] == 2 / 3
    assert found[ALL]["majority_baseline"] == 4 / 7


def test_one_answer_to_all_has_a_balanced_accuracy_of_chance() -> None:
    right = answers_by(
        (f"{i}.mp4", kind, "?", answer)
        for kind, given in (("yes-no blur", "YYN"), ("which most", "AABC"))
        for i, answer in enumerate(given)
    )
    always = right.where(right.isin(["Y", "A"]), None)
    found = compare_answers({"a": always}, right)["a"]
    assert found["yes-no blur"]["balanced_accuracy"] == pytest.approx(1 / 2)
    assert found["which most"]["balanced_accuracy"] == pytest.approx(1 / 3)
    assert found[ALL]["balanced_accuracy"] == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_no_answer_is_a_wrong_one() -> None:
    right = right_answers(10)
    assert compare_answers({"a": right.map(lambda _: None)}, right)["a"][ALL]["accuracy"] == 0


def test_kinds_are_in_the_order_of_the_papers_table() -> None:
    kinds = ["which most", "which exists", *(f"yes-no {d}" for d in reversed(DIMENSIONS))]
    right = answers_by(("v.mp4", kind, "?", "Yes") for kind in kinds)
    expected = [*(f"yes-no {d}" for d in DIMENSIONS), "which exists", "which most", ALL]
    assert list(compare_answers({"a": right}, right)["a"]) == expected
