"""Comparison on several datasets: videos find theirs, and datasets are columns (Table 3)."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from finevq.cli import main as cli
from finevq.errors import DatasetError, FineVQError
from finevq.evaluate.compare.comparison import compare, compare_datasets
from finevq.evaluate.compare.latex import as_latex
from finevq.evaluate.compare.printed import as_text
from finevq.evaluate.compare.published import published_beside
from finevq.evaluate.compare.scores import Scores
from finevq.evaluate.compare.tables import datasets_table, tidy
from finevq.evaluate.pages.comparison import write_comparison


def scores(name: str, names: list[str], seed: int) -> Scores:
    values = np.random.default_rng(seed).uniform(0, 1, len(names))
    return Scores(name, pd.DataFrame({"overall": values}, index=pd.Index(names)))


A, B = [f"a{i}.mp4" for i in range(12)], [f"b/{i}.mp4" for i in range(9)]
LABELS = [scores("LIVE-VQC", A, 0), scores("other", B, 1)]
MODELS = [scores("both", [*A, *B], 2), scores("parts", A[:10], 3), scores("parts", B, 4)]
ONE = scores("one", A, 5)


@pytest.fixture(scope="module")
def comparison():
    return compare_datasets([*MODELS, ONE], LABELS)


def test_each_dataset_is_compared_as_if_alone(comparison) -> None:
    assert list(comparison) == ["LIVE-VQC", "other"]
    both, _, rest = MODELS
    assert comparison["other"] == with_ids_of("other", compare([both, rest], LABELS[1]))
    found = comparison["LIVE-VQC"]
    assert list(found) == ["both", "parts", "one"]
    assert [found[name]["overall"]["n"] for name in found] == [10, 10, 10]
    assert found["parts"]["overall"]["missing"] == ["LIVE-VQC/a10.mp4", "LIVE-VQC/a11.mp4"]


def with_ids_of(dataset, results):
    for found in results.values():
        found["overall"]["missing"] = [f"{dataset}/{v}" for v in found["overall"]["missing"]]
    return results


def test_a_name_of_two_datasets_is_refused_and_its_id_is_not() -> None:
    names = [f"{i}.mp4" for i in range(5)]
    labels = [scores("x", names, 0), scores("y", names, 1)]
    with pytest.raises(DatasetError, match=r"m: '0\.mp4' may be 'x/0\.mp4' or 'y/0\.mp4'; name"):
        compare_datasets([scores("m", names, 2)], labels)
    found = compare_datasets([scores("m", [f"y/{n}" for n in names] + ["x/0.mp4"], 2)], labels)
    assert [found[name]["m"]["overall"]["n"] for name in found] == [1, 5]


def test_two_files_of_a_model_with_videos_of_one_dataset_are_refused() -> None:
    with pytest.raises(FineVQError, match="two models are called m"):
        compare_datasets([scores("m", A, 0), scores("m", A[:3], 1)], LABELS)


def test_datasets_must_differ_in_their_names_and_have_predictions() -> None:
    with pytest.raises(FineVQError, match="two datasets are called LIVE-VQC"):
        compare_datasets(MODELS, [LABELS[0], LABELS[0]])
    with pytest.raises(FineVQError, match="no model has predictions of other; leave it out"):
        compare_datasets([ONE], LABELS)


def test_one_dataset_keeps_the_names_of_its_labels() -> None:
    assert compare_datasets([ONE], LABELS[:1]) == {"LIVE-VQC": compare([ONE], LABELS[0])}


def test_datasets_are_columns_with_published_rows_apart(comparison) -> None:
    others = published_beside(["live-vqc"], list(comparison))
    table = datasets_table(comparison, others)
    assert table.groups == [("LIVE-VQC", 2), ("other", 2)]
    assert [title for _, title in table.heads] == ["SRCC", "PLCC"] * 2
    measured, apart = table.sections
    assert list(measured.rows.index) == ["both", "parts", "one"]
    assert measured.rows.loc["one"].isna().tolist() == [False, False, True, True]
    assert apart.heading == "published, not measured here: FineVQ paper, Table 3"
    assert apart.rows.loc["KSVQE"].fillna(0).tolist() == [0.861, 0.883, 0, 0]
    assert datasets_table({"LIVE-VQC": comparison["LIVE-VQC"]}, others) is None


def test_published_rows_belong_to_the_dataset_of_their_name(comparison) -> None:
    with pytest.raises(FineVQError, match="--published FineVD: none of the datasets LIVE-VQC, oth"):
        published_beside(["FineVD"], list(comparison))
    with pytest.raises(FineVQError, match="given twice for one dataset"):
        published_beside(["LIVE-VQC", "FineVD"], ["x"])
    assert published_beside([], list(comparison)) is None


def test_text_and_latex_begin_with_the_table_of_datasets(comparison) -> None:
    others = published_beside(["LIVE-VQC"], list(comparison))
    head, titles, first = as_text(comparison, others).splitlines()[:3]
    assert head.split() == ["Dataset", "LIVE-VQC", "other"]
    assert titles.split() == ["SRCC", "PLCC", "SRCC", "PLCC"]
    of_both = [comparison[d]["both"]["overall"] for d in comparison]
    figures = [f"{found[m]:.4f}" for found in of_both for m in ("srcc", "plcc")]
    assert first.split() == ["both", *figures]
    assert as_text(comparison, others).count("KSVQE") == 1
    latex = as_latex(comparison, others)
    assert latex.startswith("% all datasets\n")
    assert r"Dataset & \multicolumn{2}{c}{LIVE-VQC} & \multicolumn{2}{c}{other} \\" in latex
    assert latex.count(r"\begin{tabular}") == 1  # overall scores alone: all of them stand in it


def test_a_table_too_wide_for_the_terminal_goes_on_below(comparison) -> None:
    narrow = as_text(comparison, width=26).split("\n\n")
    assert [part.split()[:2] for part in narrow[:2]] == [
        ["Dataset", "LIVE-VQC"],
        ["Dataset", "other"],
    ]
    assert all(len(line) <= 26 for part in narrow[:2] for line in part.splitlines())


def test_the_rows_of_the_csv_name_their_dataset(comparison) -> None:
    table = tidy(comparison)
    assert set(table["dataset"]) == set(comparison)
    assert not table.duplicated(["dataset", "model", "item", "metric"]).any()


def test_the_page_has_all_datasets(comparison, tmp_path: Path) -> None:
    others = published_beside(["LIVE-VQC"], list(comparison))
    write_comparison(tmp_path / "page.html", comparison, LABELS, others, facts={})
    page = (tmp_path / "page.html").read_text("utf-8")
    found = re.findall(r'<section id="(.*?)">', page)
    of_each = ("srcc", "metrics", "differences")
    assert found == ["datasets", *(f"{name}-{i}" for i in (1, 2) for name in of_each)]
    ids = re.findall(r'\bid="(.*?)"', page)
    assert len(ids) == len(set(ids))
    assert page.count("KSVQE") == 1


def test_the_command_takes_several_files_of_labels(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for labels in LABELS:
        labels.table.to_csv(f"{labels.name}.csv", index_label="video")
    arguments = ["compare", "m=LIVE-VQC.csv", "m=other.csv", "n=other.csv:overall"]
    arguments += ["--labels", "LIVE-VQC.csv", "--labels", "B=other.csv:overall", "--json"]
    assert cli.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert {dataset: list(models) for dataset, models in found.items()} == {
        "LIVE-VQC": ["m"],
        "B": ["m", "n"],
    }


def test_the_command_takes_several_datasets(make_dataset, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_dataset({"test": 4, "val": 5}).settings.folder
    for name, part in (("first", "test"), ("second", "val")):
        (tmp_path / f"{name}.toml").write_text(
            f'[dataset]\nname = "{name}"\nfolder = "{folder}"\nsplit = "parts"\n'
            f'[evaluate]\npart = "{part}"\n'
        )
    videos = pd.read_csv(folder / "videos.csv")
    datasets = np.where(videos["video"].str.startswith("t"), "first/", "second/")
    videos["video"] = datasets + videos["video"]
    videos.to_csv("m.csv", index=False)
    assert cli.main(["compare", "m.csv", "-c", "first.toml", "-c", "second.toml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found[name]["m"]["blur"]["n"] for name in ("first", "second")] == [4, 5]
