"""Prediction on several processes: the numbers of one, and an end when one of them fails."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from finevq.cache.store import FeatureStore
from finevq.dataset.videos import Dataset
from finevq.evaluate.predict.stored import KEY
from finevq.evaluate.run import evaluate
from finevq.evaluate.settings import EvaluateSettings
from finevq.train.base.language_model import load_base
from finevq.train.model.checkpoint import build_model, save_checkpoint


@pytest.fixture
def checkpoint(made_info, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model, _ = build_model(made_info, load_base(made_info.base, made_info.precision))
    save_checkpoint(model, made_info, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def dataset(make_dataset) -> Dataset:
    return make_dataset({"test": 5})


@pytest.fixture
def store(dataset, make_store) -> FeatureStore:
    return make_store(dataset.ids)


def two_processes(
    dataset: Dataset, store: FeatureStore, checkpoint: Path, out: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    """What `finevq evaluate` says and ends with when torchrun starts it twice."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "finevq", "evaluate", "--checkpoint", str(checkpoint)]
    for override in (
        "dataset.name=made",
        f"dataset.folder={dataset.settings.folder}",
        "dataset.split=parts",
        f"cache.path={store.url}",
        "train.device=cpu",
        f"evaluate.out={out}",
        "evaluate.videos_per_batch=2",
        "evaluate.free_text=3",
    ):
        command += ["--set", override]
    command += more
    return subprocess.run(command, capture_output=True, text=True, cwd=out.parent, timeout=200)


def test_two_processes_predict_what_one_does(dataset, store, checkpoint, tmp_path: Path) -> None:
    # Four videos of the first pass are dealt out two by two, of the second one process has none.
    settings = EvaluateSettings(out=tmp_path / "one", part="test", videos_per_batch=2, free_text=3)
    metrics = evaluate(dataset, store, checkpoint, settings, device="cpu")
    run = two_processes(dataset, store, checkpoint, tmp_path / "two")
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("split parts, part test: 5 of 5 labelled videos predicted") == 1
    one, two = (pd.read_parquet(tmp_path / n / "predictions.parquet") for n in ("one", "two"))
    exact = [*KEY, "prediction_text", "generated", "free_text"]
    pd.testing.assert_frame_equal(two[exact], one[exact])
    for column in ("prediction", "weighted"):
        np.testing.assert_allclose(two[column], one[column], rtol=0, atol=1e-3)  # of 0 to 100
    for mine, other in zip(two["probabilities"], one["probabilities"], strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-5)
    written = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert written["dimensions"]["blur"]["srcc"] == metrics["dimensions"]["blur"]["srcc"]
    assert (tmp_path / "two" / "report.html").is_file()


def test_rounds_on_two_processes_print_one_table(
    dataset, store, checkpoint, tmp_path: Path
) -> None:
    for name in ("r1", "r2"):
        lines = [f"test{i}.mp4,test" for i in range(3 + int(name == "r2"))]
        path = dataset.settings.folder / "splits" / f"{name}.csv"
        path.write_text("\n".join(["video,part", *lines]) + "\n")
    more = ("--split", "r1", "--split", "r2")
    run = two_processes(dataset, store, checkpoint, tmp_path / "two", *more)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("2 rounds, part test") == 1
    predictions = pd.read_parquet(tmp_path / "two" / "predictions.parquet")
    assert predictions["video"].nunique() == 4


def test_a_process_that_fails_ends_the_run_with_its_error(
    make_dataset, make_store, checkpoint, tmp_path: Path
) -> None:
    dataset = make_dataset({"test": 8})
    store = make_store(dataset.ids)
    # A shard has four videos: the first process reads the first one, the other the damaged one.
    shard = Path(store.url) / "tokens.zarr" / "spatial" / "c" / "1" / "0" / "0" / "0"
    shard.write_bytes(bytes(shard.stat().st_size))
    more = ("--set", "evaluate.videos_per_batch=4")
    run = two_processes(dataset, store, checkpoint, tmp_path / "two", *more)
    assert run.returncode == 1
    assert "finevq: " in run.stderr
    assert "made/test4.mp4" in run.stderr
    assert not list((tmp_path / "two").iterdir())
