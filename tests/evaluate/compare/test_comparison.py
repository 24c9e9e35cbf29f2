"""Comparison: files of anyone's, the intersection, and differences judged on the same draws."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from finevq.cli import main as cli
from finevq.dataset.questions import classify
from finevq.dataset.videos import DIMENSIONS, Dataset
from finevq.errors import DatasetError, FineVQError
from finevq.evaluate.compare.comparison import LEAKAGE, QUESTIONS, compare
from finevq.evaluate.compare.latex import as_latex
from finevq.evaluate.compare.printed import as_text
from finevq.evaluate.compare.published import published
from finevq.evaluate.compare.score_files import dataset_labels, read_model, read_scores
from finevq.evaluate.compare.scores import Scores, matched
from finevq.evaluate.compare.tables import tidy
from finevq.evaluate.metrics.agreement import METRICS
from finevq.evaluate.metrics.answers import ALL
from finevq.evaluate.predict.stored import table_of, write_predictions

VIDEOS = [f"clips/{i:02}.mp4" for i in range(40)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Labels, a good model and a poor one, in one file."""
    rng = np.random.default_rng(0)
    mos = rng.uniform(0, 100, 40)
    table = {
        "name": VIDEOS,
        "mos": mos,
        "good": mos / 50 + rng.normal(0, 0.2, 40),
        "poor": mos + rng.normal(0, 60, 40),
    }
    path = tmp_path / "scores.csv"
    pd.DataFrame(table).to_csv(path, index=False)
    return path


def scores(name: str, values: dict[str, float], dimension: str = "overall") -> Scores:
    index = pd.Index(list(values))
    return Scores(name, pd.DataFrame({dimension: list(values.values())}, index=index, dtype=float))


def series(values: np.ndarray) -> dict[str, float]:
    return dict(zip(VIDEOS, values, strict=False))


def test_a_csv_files_metrics_are_those_of_scipy(file: Path) -> None:
    labels, model = read_scores(f"{file}:mos"), read_model(f"A={file}:poor")
    found = compare([model], labels)["A"]["overall"]
    table = pd.read_csv(file)
    for metric, reference in (
        ("srcc", stats.spearmanr),
        ("krcc", stats.kendalltau),
        ("plcc", stats.pearsonr),
    ):
        expected = reference(table["poor"], table["mos"]).statistic
        assert found[metric] == pytest.approx(expected, abs=1e-12)
        low, high = found["ci"][metric]
        assert low < found[metric] < high
    assert (found["n"], found["labelled"]) == (40, 40)


def test_a_clear_difference_has_a_small_p_value_and_none_a_large_one(file: Path) -> None:
    labels = read_scores(f"{file}:mos")
    good, poor = read_model(f"good={file}:good"), read_model(f"poor={file}:poor")
    noise = np.random.default_rng(1).normal(0, 0.02, 40)
    other = scores("other", series(good.table["overall"].to_numpy() + noise))
    found = compare([good, poor, other], labels)["good"]["overall"]["against"]
    assert found["poor"]["srcc"]["p"] < 0.01
    assert found["poor"]["srcc"]["difference"] > 0
    assert found["other"]["srcc"]["p"] > 0.05


def test_a_comparison_the_other_way_round_is_its_mirror(file: Path) -> None:
    models = [read_model(f"{name}={file}:{name}") for name in ("good", "poor")]
    found = compare(models, read_scores(f"{file}:mos"))
    there = found["good"]["overall"]["against"]["poor"]["plcc"]
    back = found["poor"]["overall"]["against"]["good"]["plcc"]
    assert there["difference"] == -back["difference"]
    assert there["ci"] == pytest.approx([-back["ci"][1], -back["ci"][0]])
    assert there["p"] == back["p"]


def test_identical_models_do_not_differ(file: Path) -> None:
    models = [read_model(f"{name}={file}:good") for name in "ab"]
    found = compare(models, read_scores(f"{file}:mos"))["a"]["overall"]["against"]["b"]["srcc"]
    assert found == {"difference": 0.0, "ci": [0.0, 0.0], "p": 1.0}


def test_only_videos_that_all_predict_are_measured() -> None:
    values = np.linspace(0, 1, 40)
    labels = scores("labels", series(values))
    one, other = scores("one", series(values[:30])), scores("other", series(values))
    holes = other.table.copy()
    holes.iloc[3] = np.nan
    found = compare([one, Scores("other", holes)], labels)
    assert [found[name]["overall"]["n"] for name in found] == [29, 29]
    assert found["one"]["overall"]["labelled"] == 40


def test_videos_that_a_model_misses_are_named() -> None:
    labels = scores("labels", series(np.linspace(0, 1, 40)))
    one = scores("one", series(np.linspace(0, 1, 40)))
    other = scores("other", series(np.linspace(0, 1, 30)))
    one.table.iloc[3] = np.nan
    results = compare([one, other], labels)
    of_one, of_other = results["one"]["overall"], results["other"]["overall"]
    assert (of_one["predicted"], of_one["missing"]) == (39, [VIDEOS[3]])
    assert (of_other["predicted"], of_other["missing"]) == (30, VIDEOS[30:])
    lines = as_text({"made": results}).splitlines()
    assert [line.split()[:2] for line in lines[2:4]] == [["one", "39/40"], ["other", "30/40"]]
    assert lines[-2:] == [
        f"one lacks {VIDEOS[3]} in overall",
        f"other lacks {', '.join(VIDEOS[30:35])} and 5 more in overall",
    ]


def test_a_file_of_overall_scores_is_measured_against_labels_of_all_dimensions() -> None:
    table = pd.DataFrame({d: np.linspace(0, 1, 40) for d in DIMENSIONS}, index=VIDEOS)
    model = scores("m", series(np.linspace(0, 1, 40)))
    assert set(compare([model], Scores("labels", table))["m"]) == {"overall"}


def test_models_and_labels_of_different_dimensions_are_refused() -> None:
    labels = scores("labels", series(np.linspace(0, 1, 10)), "blur")
    with pytest.raises(FineVQError, match="no dimension in common"):
        compare([scores("m", series(np.linspace(0, 1, 10)))], labels)


def test_an_undefined_metric_is_null_with_its_reason() -> None:
    labels = scores("labels", series(np.linspace(0, 1, 10)))
    found = compare([scores("flat", series(np.ones(10)))], labels)["flat"]["overall"]
    assert (found["srcc"], found["ci"]["srcc"]) == (None, None)
    assert found["reason"] == "the predictions are constant"
    json.dumps(found, allow_nan=False)


def test_videos_are_found_by_id_and_by_path(make_dataset) -> None:
    dataset = make_dataset({"test": 3})
    labels = dataset_labels(dataset)
    for names in (dataset.ids, [f"test{i}.mp4" for i in range(3)]):
        model = matched(scores("m", dict(zip(names, (1.0, 2.0, 3.0), strict=True))), labels)
        assert list(model.table.index) == dataset.ids


def test_a_path_alone_that_may_be_two_videos_is_refused() -> None:
    labels = scores("labels", {"a0/1.mp4": 1.0, "a1/1.mp4": 2.0, "a1/2.mp4": 3.0})
    with pytest.raises(DatasetError, match=r"m: '1\.mp4' may be 'a0/1\.mp4' or 'a1/1\.mp4'; name"):
        matched(scores("m", {"1.mp4": 1.0, "2.mp4": 2.0}), labels)
    assert list(matched(scores("m", {"2.mp4": 2.0}), labels).table.index) == ["a1/2.mp4"]


def test_a_name_that_is_a_label_as_it_stands_is_that_video() -> None:
    labels = scores("labels", {"a/1.mp4": 1.0, "1.mp4": 2.0})
    names = ["1.mp4", "a/1.mp4", ""]
    model = scores("m", dict.fromkeys(names, 1.0))
    assert list(matched(model, labels).table.index) == names


def test_a_name_that_may_be_read_in_two_ways_is_refused() -> None:
    labels = scores("labels", {"x/a/1.mp4": 1.0, "1.mp4": 2.0})
    with pytest.raises(DatasetError, match=r"may be '1\.mp4' or 'x/a/1\.mp4'"):
        matched(scores("m", {"a/1.mp4": 1.0}), labels)


def test_the_labels_of_one_part(make_dataset) -> None:
    dataset = make_dataset({"test": 3, "val": 2})
    assert len(dataset_labels(dataset).table) == 3
    assert len(dataset_labels(dataset, "val").table) == 2
    with pytest.raises(DatasetError, match="split parts has no videos in the part train"):
        dataset_labels(dataset, "train")


def test_columns_are_chosen_by_what_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("video,blur,noise,other\na,1,2,3\n")
    assert list(read_scores(str(path)).table) == ["noise", "blur"]
    path.write_text("video,anything\na,1\n")
    assert list(read_scores(str(path)).table) == ["overall"]
    assert read_model(str(path)).name == "m"


@pytest.mark.parametrize(
    ("content", "asked", "message"),
    [
        ("video,a,b\nx,1,2\n", "", r"which column\? write .*m\.csv:COLUMN with one of a, b"),
        ("video,a\nx,1\n", ":c", "no column 'c'; the columns are a"),
        ("video,a\nx,1\nx,2\n", "", "'x' is in the file twice"),
        ("video,a\nx,1\ny,good\n", "", "row 3: a is 'good', not a finite number"),
        ("video,a\nx,inf\n", "", "not a finite number"),
    ],
)
def test_a_wrong_file_is_a_one_line_error(
    tmp_path: Path, content: str, asked: str, message: str
) -> None:
    path = tmp_path / "m.csv"
    path.write_text(content)
    with pytest.raises(DatasetError, match=message) as error:
        read_scores(f"{path}{asked}")
    assert "\n" not in str(error.value)


def test_two_models_of_one_name_are_refused(file: Path) -> None:
    model = read_model(f"{file}:good")
    with pytest.raises(FineVQError, match="two models are called scores"):
        compare([model, model], read_scores(f"{file}:mos"))


def test_a_model_of_other_videos_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"none of its 1 videos has a label.*'x\.mp4'"):
        compare([scores("m", {"x.mp4": 1.0})], scores("labels", {"a.mp4": 1.0}))


def test_stored_predictions_are_a_model(tmp_path: Path, file: Path) -> None:
    empty = {"options": [], "probabilities": [], "free_text": 0}
    rows = [
        {"video": f"made/{v}", "task": "score", "item": d, "prediction": float(i), **empty}
        for i, v in enumerate(VIDEOS)
        for d in DIMENSIONS
    ]
    write_predictions(tmp_path / "predictions.parquet", table_of(rows), {})
    model = read_model(f"mine={tmp_path}")
    assert set(model.table) == set(DIMENSIONS)
    assert compare([model], read_scores(f"{file}:mos"))["mine"]["overall"]["n"] == 40


def stored(folder: Path, predictions: dict[str, float]) -> Path:
    """A file of stored predictions of overall scores."""
    rows = [
        {"video": video, "task": "score", "item": "overall", "prediction": value}
        for video, value in predictions.items()
    ]
    table = table_of(row | {"options": [], "probabilities": [], "free_text": 0} for row in rows)
    write_predictions(folder / "predictions.parquet", table, {})
    return folder / "predictions.parquet"


def test_a_prediction_that_is_no_number_is_named(tmp_path: Path) -> None:
    for value in (np.nan, np.inf):
        stored(tmp_path, {"a.mp4": 1.0, "b.mp4": value})
        with pytest.raises(FineVQError, match=r"the score 'overall' of b\.mp4 is (nan|inf), not a"):
            read_model(str(tmp_path))


def test_a_prediction_that_is_there_twice_is_named(tmp_path: Path) -> None:
    file = stored(tmp_path, {"a.mp4": 1.0, "b.mp4": 2.0})
    table = pd.read_parquet(file)
    write_predictions(file, pd.concat([table, table.iloc[1:]]), {})
    with pytest.raises(FineVQError, match=r"the score 'overall' of b\.mp4 is there twice; delete"):
        read_model(str(tmp_path))


def test_a_damaged_file_of_predictions_is_refused(tmp_path: Path) -> None:
    file = stored(tmp_path, {"a.mp4": 1.0})
    whole = file.read_bytes()
    (tmp_path / "checkpoint.json").write_text("{}")
    (tmp_path / "projectors.safetensors").write_bytes(b"")
    (tmp_path / "score_head.safetensors").write_bytes(b"")
    for content in (b"", whole[: len(whole) // 2], b"x" * 99):
        file.write_bytes(content)
        for text in (file, tmp_path):
            with pytest.raises(
                FineVQError, match=r"predictions\.parquet: damaged; delete"
            ) as error:
                read_model(str(text))
            assert "\n" not in str(error.value)


def test_predictions_of_other_columns_or_versions_are_refused(tmp_path: Path) -> None:
    file = stored(tmp_path, {"a.mp4": 1.0})
    write_predictions(file, pd.read_parquet(file).drop(columns="item"), {})
    with pytest.raises(FineVQError, match="damaged; delete it and evaluate again"):
        read_model(str(file))
    pd.read_parquet(file).to_parquet(file)
    with pytest.raises(FineVQError, match="no predictions that this version reads"):
        read_model(str(file))


@pytest.fixture
def evaluations(tmp_path: Path, make_dataset) -> tuple[Dataset, list[Scores]]:
    """A dataset with questions, and two evaluations: all right, and always the first option."""
    texts = {"Any blur? [Yes] or [No]": "YNN", "Which exists? A:[noise] B:[blur]": "AAB"}
    questions = [
        (f"test{i}.mp4", text, {"Y": "Yes", "N": "No"}.get(right[i % 3], right[i % 3]))
        for i in range(12)
        for text, right in texts.items()
    ]
    dataset = make_dataset({"test": 12}, questions=questions)
    models = []
    for name, tag in (("perfect", ""), ("first", "<|video|> ")):  # the tag of official prompts
        rows = [
            {"video": video, "task": "score", "item": d, "prediction": float(i % 5)}
            for i, video in enumerate(dataset.ids)
            for d in DIMENSIONS
        ]
        for video, text, right in questions:
            kind, options = classify(text)
            answer = right if name == "perfect" else options[0]
            asked = {"task": "question", "item": kind, "question": tag + text}
            rows.append({"video": dataset.video_id(video), **asked, "prediction_text": answer})
        table = table_of(row | {"options": [], "probabilities": [], "free_text": 0} for row in rows)
        (tmp_path / name).mkdir()
        write_predictions(tmp_path / name / "predictions.parquet", table, {})
        models.append(read_model(str(tmp_path / name)))
    return dataset, models


def test_evaluations_are_compared_on_their_questions(evaluations) -> None:
    dataset, models = evaluations
    results = compare(models, dataset_labels(dataset))
    found = {name: results[name][QUESTIONS] for name in results}
    assert list(found["perfect"]) == ["yes-no blur", "which exists", ALL]
    assert [f["accuracy"] for f in found["perfect"].values()] == [1, 1, 1]
    assert [f["accuracy"] for f in found["first"].values()] == [1 / 3, 2 / 3, 0.5]
    assert found["perfect"][ALL]["majority_baseline"] == 2 / 3
    assert found["first"][ALL]["against"]["perfect"]["accuracy"]["p"] < 0.01


def test_only_questions_of_the_labelled_videos_are_measured(evaluations) -> None:
    dataset, models = evaluations
    labels = dataset_labels(dataset)
    half = Scores("half", labels.table.iloc[:6], labels.answers.iloc[:12])
    assert compare(models, half)["first"][QUESTIONS][ALL]["n"] == 12


def test_with_a_file_of_scores_each_is_measured_on_what_it_has(evaluations, tmp_path) -> None:
    dataset, models = evaluations
    other = Scores("csv", models[0].table)
    results = compare([*models, other], dataset_labels(dataset))
    assert set(results["csv"]) == set(DIMENSIONS)
    assert set(results["first"]) == {*DIMENSIONS, QUESTIONS, LEAKAGE}


def test_a_folder_without_predictions_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FineVQError, match="run `finevq evaluate`"):
        read_model(str(tmp_path))


# Tables.


def test_published_figures_are_those_of_the_paper() -> None:
    table = published("FineVD").set_index(["method", "item", "metric"])["value"]
    assert table[("FineVQ", "overall", "srcc")] == 0.8834
    assert table[("NIQE", "color", "plcc")] == 0.2368
    assert table[("FineVQ", "which exists", "accuracy")] == 0.9193
    of_questions = published("FineVD").query("metric == 'accuracy'")
    assert len(of_questions) == 9 * 7
    assert set(of_questions["source"]) == {"FineVQ paper, Table 2"}
    assert not of_questions.duplicated(["method", "item"]).any()
    assert of_questions["value"].between(0, 1).all()
    means = of_questions.groupby("method")["value"].mean()
    assert means.idxmax() == "FineVQ"
    assert means["FineVQ"] == pytest.approx(0.72399, abs=1e-5)
    lsvq = published("lsvq-1080p").set_index(["method", "metric"])["value"]
    assert lsvq[("FineVQ", "plcc")] == 0.857


def test_a_dataset_without_published_figures_is_an_error() -> None:
    with pytest.raises(FineVQError, match="some on FineVD, KoNViD-1k"):
        published("demo")


def test_published_rows_are_marked_and_never_measured(file: Path) -> None:
    results = compare([read_model(f"A={file}:good")], read_scores(f"{file}:mos"))
    table = tidy({"made": results}, published("LIVE-VQC"))
    measured = table[table["source"] == "measured"]
    assert set(measured["model"]) == {"A"}
    others = table[table["source"] != "measured"]
    assert set(others["source"]) == {"FineVQ paper, Table 3"}
    assert others[["low", "high", "n"]].isna().all(axis=None)
    assert set(others["dataset"]) == {"LIVE-VQC"}
    above, below = as_text({"made": results}, published("LIVE-VQC")).split(
        "\npublished, not measured here: FineVQ paper, Table 3\n"
    )
    assert "KSVQE" in below
    assert "KSVQE" not in above
    assert above.splitlines()[-1].split()[0] == "A"


def test_text_and_latex_hold_the_figures(file: Path) -> None:
    models = [read_model(f"{name}={file}:{name}") for name in ("good", "poor")]
    results = compare(models, read_scores(f"{file}:mos"))
    found = results["good"]["overall"]
    text, latex = as_text({"made": results}), as_latex({"made": results}, published("LIVE-VQC"))
    assert "40 of 40 labelled videos" in text
    for metric in METRICS:
        assert f"{found[metric]:.4f}" in text
    assert rf"\textbf{{{found['srcc']:.4f}}}" in latex
    assert r"\multicolumn{4}{l}{published, not measured here: FineVQ paper, Table 3} \\" in latex
    assert all(line.count("&") == 3 for line in latex.splitlines() if line.startswith("KSVQE"))


def test_text_and_latex_hold_the_accuracies(evaluations) -> None:
    dataset, models = evaluations
    results = compare(models, dataset_labels(dataset))
    text = as_text({"made": results}, published("FineVD"))
    block = text.partition("yes-no blur: ")[2].partition("\n\n")[0].splitlines()
    assert block[0].startswith("12 of 12 questions with a right answer, those that all answer")
    assert [line.split()[:2] for line in block[2:5]] == [
        ["perfect", "12/12"],
        ["first", "12/12"],
        ["majority", "0.6667"],
    ]
    assert len(block) == 5
    rows = text.partition("published, not measured here: FineVQ paper, Table 2\n")[2].splitlines()
    assert rows[8].split() == ["FineVQ", "0.6476", "0.9193", "-"]
    scores, answers = as_latex({"made": results}, published("FineVD")).split("\n\n")
    assert "%" not in scores.replace(r"\%", "")
    assert "Table 2" not in scores
    assert "Table 1" not in answers
    lines = answers.splitlines()
    assert r"perfect & \textbf{100.00\%} & \textbf{100.00\%} & \textbf{100.00\%} \\" in lines
    assert r"majority & 66.67\% & 66.67\% & 66.67\% \\" in lines
    assert r"FineVQ & 64.76\% & 91.93\% & -- \\" in lines


def test_the_table_has_a_row_for_each_figure(evaluations) -> None:
    dataset, models = evaluations
    table = tidy({"made": compare(models, dataset_labels(dataset))})
    measured = table[table["source"] == "measured"]
    assert len(measured) == 2 * (len(DIMENSIONS) * len(METRICS) + 3 * 2)
    assert list(table["source"].unique()) == ["measured", "always the most frequent right answer"]
    assert list(table["value"][table["source"] != "measured"]) == [2 / 3] * 3


def test_the_command_prints_json_and_writes_files(
    capsys, monkeypatch, tmp_path: Path, file: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["compare", f"A={file}:good", f"--labels={file}:mos", "--json", "--csv=o.csv"]
    assert cli.main([*arguments, "--latex=o.tex"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["A"].keys() == {"overall"}
    wanted = {"srcc", "krcc", "plcc", "plcc_fitted", "n", "ci"}
    assert wanted <= found["A"]["overall"].keys()
    table = pd.read_csv("o.csv")
    assert len(table) == len(METRICS)
    assert (table[["n", "predicted", "labelled"]] == 40).all(axis=None)
    assert Path("o.tex").read_text().startswith(r"\begin{tabular}")


def test_the_command_makes_the_folders_of_its_files(monkeypatch, capsys, tmp_path, file) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["compare", f"A={file}:good", f"--labels={file}:mos"]
    assert cli.main([*arguments, "--csv=a/b/o.csv", "--latex=c/o.tex", "--html=d/o.html"]) == 0
    assert all(Path(name).is_file() for name in ("a/b/o.csv", "c/o.tex", "d/o.html"))
    capsys.readouterr()
    for wrong in ("a", "a/b/o.csv/o.csv"):
        assert cli.main([*arguments, f"--csv={wrong}"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
