"""The control of the demo: the same training with shuffled labels must find nothing.

    .venv/bin/finevq demo
    .venv/bin/python benchmarks/shuffled_labels.py

Gives the labels of every train and val video to others, each dimension in an order of its own, and
its questions to another one, trains on the demo's features, and measures on the true labels of the
test part. A mean SRCC clearly above zero would mean that the test labels leak into training.

Labels that stay together in one order share one chance: what is easiest to see in a video, how much
is wrong with it, then goes with all six of them or against all six.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from finevq.cache.store import FeatureStore
from finevq.config import load_config
from finevq.dataset.videos import DIMENSIONS, load_dataset
from finevq.evaluate.run import evaluate
from finevq.train.fit.training import train

SEEDS = (0, 1, 2)


def shuffle(source: Path, target: Path, split: str, seed: int) -> None:
    """Copy a dataset's tables with labels and questions of the train and val parts permuted."""
    shutil.copytree(source / "splits", target / "splits")
    table = pd.read_csv(source / "videos.csv")
    part = pd.read_csv(source / "splits" / f"{split}.csv").set_index("video")["part"]
    rows = np.flatnonzero(table["video"].map(part).isin(["train", "val"]))
    rng = np.random.default_rng(seed)
    for dimension in DIMENSIONS:
        table.loc[rows, dimension] = table.loc[rng.permutation(rows), dimension].to_numpy()
    table.to_csv(target / "videos.csv", index=False)
    videos = table["video"].iloc[rows]
    names = dict(zip(videos, rng.permutation(videos), strict=True))
    lines = []
    for line in (source / "questions.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        entry["video"] = names.get(entry["video"], entry["video"])
        lines.append(json.dumps(entry))
    (target / "questions.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def control(seed: int, folder: Path) -> dict[str, float | None]:
    true, _ = load_config(overrides=[f"evaluate.out={folder / 'evaluation'}"])
    source = true.dataset.folder.absolute()
    shuffle(source, folder, true.dataset.split, seed)
    changed = [
        f"dataset.folder={folder}",
        f"dataset.root={source / true.dataset.root}",
        f"train.out={folder / 'checkpoint'}",
        f"train.seed={seed}",
    ]
    config, _ = load_config(overrides=changed)
    store = FeatureStore.open(config.cache.path)
    train(load_dataset(config.dataset), store, config.train, config.extract.model_dump())
    # The true labels, and the questions of the test part, which were left alone.
    metrics = evaluate(load_dataset(true.dataset), store, config.train.out, true.evaluate)
    found = {dimension: metrics["dimensions"][dimension]["srcc"] for dimension in DIMENSIONS}
    return {"mean": metrics["mean"]["srcc"], **found}


def main() -> None:
    config, _ = load_config()
    demo = json.loads((config.evaluate.out / "metrics.json").read_text("utf-8"))
    result: dict[str, Any] = {
        "videos": demo["coverage"]["predicted"],
        "true_labels": {
            "mean": demo["mean"]["srcc"],
            **{d: demo["dimensions"][d]["srcc"] for d in DIMENSIONS},
        },
        "shuffled_labels": [],
    }
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            result["shuffled_labels"].append({"seed": seed, **control(seed, Path(folder))})
        means = [run["mean"] for run in result["shuffled_labels"]]
        result["shuffled_mean"] = sum(means) / len(means)
        text = json.dumps(result, indent=2)
        # After each run: one takes minutes.
        Path(__file__).with_name("results").joinpath("shuffled_labels.json").write_text(text + "\n")
        print(json.dumps(result["shuffled_labels"][-1]), flush=True)


if __name__ == "__main__":
    main()
