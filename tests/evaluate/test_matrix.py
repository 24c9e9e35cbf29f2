"""The cross-dataset matrix: each cell an evaluation, made once, in a table of its own."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from finevq.cli import main as commands
from finevq.dataset.videos import Dataset
from finevq.evaluate import run
from finevq.evaluate.matrix import TrainedDataset, evaluate_matrix, matrix_latex, matrix_text
from finevq.evaluate.run import evaluate
from finevq.evaluate.settings import EvaluateSettings
from finevq.train.base.language_model import load_base
from finevq.train.model.checkpoint import build_model, save_checkpoint


@pytest.fixture
def trained(made_info, make_dataset, make_store, tmp_path: Path) -> dict[str, TrainedDataset]:
    """Two datasets of the same videos, and a model of each."""
    settings = EvaluateSettings(out=tmp_path, part="test", videos_per_batch=4, free_text=0)
    datasets = {}
    for seed, name in enumerate(("a_1", "b")):
        torch.manual_seed(seed)
        model, _ = build_model(made_info, load_base(made_info.base, made_info.precision))
        save_checkpoint(model, made_info, tmp_path / name)
        dataset = make_dataset({"test": 5}, questions=[])
        renamed = dataset.settings.model_copy(update={"name": "made"})
        store = make_store(dataset.ids)
        videos = Dataset(renamed, dataset.videos)
        datasets[name] = TrainedDataset(videos, store, tmp_path / name, settings)
    return datasets


def test_each_cell_is_the_evaluation_of_its_pair(trained, tmp_path: Path) -> None:
    figures = evaluate_matrix(trained, tmp_path / "matrix", device="cpu")
    assert len(figures) == 2 * 2 * 6 * 4
    model, tested = trained["a_1"], trained["b"]
    alone = tested.settings.model_copy(update={"out": tmp_path / "alone"})
    metrics = evaluate(tested.dataset, tested.store, model.checkpoint, alone, device="cpu")
    cell = figures.query("train == 'a_1' and test == 'b' and metric == 'srcc'")
    blur = cell[cell["dimension"] == "blur"].iloc[0]
    assert blur["value"] == metrics["dimensions"]["blur"]["srcc"]
    assert blur["n"] == 5
    assert (tmp_path / "matrix" / "a_1-on-b" / "report.html").is_file()


def test_a_second_run_predicts_nothing(trained, tmp_path: Path, monkeypatch) -> None:
    first = evaluate_matrix(trained, tmp_path / "matrix", device="cpu")
    monkeypatch.setattr(run, "load_checkpoint", None)
    pd.testing.assert_frame_equal(evaluate_matrix(trained, tmp_path / "matrix"), first)


FIGURES = pd.DataFrame(
    [
        (train, test, "overall", metric, value, None, None, 5)
        for train, test, value in (
            ("a_1", "a_1", 0.5),
            ("a_1", "b", -0.25),
            ("b", "a_1", None),
            ("b", "b", 0.75),
        )
        for metric in ("srcc", "plcc")
    ],
    columns=["train", "test", "dimension", "metric", "value", "low", "high", "n"],
).astype({"value": "float64"})


def test_the_table_has_a_row_a_training_set() -> None:
    lines = matrix_text(FIGURES).splitlines()
    assert [line.split() for line in lines] == [
        ["trained", "on", "a_1", "b"],
        ["SRCC", "PLCC"] * 2,
        ["a_1", "0.5000", "0.5000", "-0.2500", "-0.2500"],
        ["b", "-", "-", "0.7500", "0.7500"],
    ]


def test_the_latex_table_escapes_names() -> None:
    table = matrix_latex(FIGURES)
    assert r"Test on & \multicolumn{2}{c}{a\_1} & \multicolumn{2}{c}{b} \\" in table
    assert r"a\_1 & 0.5000 & 0.5000 & -0.2500 & -0.2500 \\" in table
    assert r"b & -- & -- & 0.7500 & 0.7500 \\" in table


def test_two_configurations_of_one_dataset_are_refused(tmp_path: Path, capsys) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[dataset]\nname = "a"\n')
    assert commands.main(["matrix", str(path), str(path)]) == 2
    assert "two datasets are called a; set another dataset.name" in capsys.readouterr().err
