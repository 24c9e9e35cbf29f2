"""The control of the demo: the same training with shuffled labels must find nothing.

    .venv/bin/finevq demo
    .venv/bin/python benchmarks/shuffled_labels.py

Permutes the labels of the train and val videos, each dimension on its own, and their questions;
trains on the demo's features; and measures on the true labels of the test part. A mean SRCC, or
balanced accuracies, clearly above chance would mean that the test labels leak into training.

All runs here start from the language model alone, with fresh projectors: the checkpoint that ships,
from which the demo starts, rates videos whatever the labels of the demo are. So the same run with
the true labels is measured beside them.

One permutation for all six dimensions would leave too much to chance: what is easiest to see in a
video is how much is wrong with it, and that would correlate with all six of them, or against all.
"""

import json
import shutil
import tempfile
from pathlib import Path
from statistics import mean
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
    """Copy a dataset's tables, with the labels and questions of train and val permuted."""
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


def control(seed: int, folder: Path, *, shuffled: bool) -> dict[str, Any]:
    """Train on the demo's features and measure on the true labels of its test part."""
    true, _ = load_config(overrides=[f"evaluate.out={folder / 'evaluation'}"])
    source = true.dataset.folder.absolute()
    changed = [f"train.out={folder / 'checkpoint'}", f"train.seed={seed}"]
    if shuffled:
        shuffle(source, folder, true.dataset.split, seed)
        changed += [f"dataset.folder={folder}", f"dataset.root={source / true.dataset.root}"]
    config, _ = load_config(overrides=changed)
    store = FeatureStore.open(config.cache.path)
    train(load_dataset(config.dataset), store, config.train, config.extract.model_dump())
    # The true labels, and the questions of the test part, which were left alone.
    return summary(evaluate(load_dataset(true.dataset), store, config.train.out, true.evaluate))


def summary(metrics: dict[str, Any]) -> dict[str, Any]:
    """SRCC of each dimension, and the means of words and answers."""
    found = {d: metrics["dimensions"][d] for d in DIMENSIONS}
    questions = metrics["questions"]
    yes_no = [one["balanced_accuracy"] for kind, one in questions.items() if "yes-no" in kind]
    return {
        "mean": metrics["mean"]["srcc"],
        **{d: one["srcc"] for d, one in found.items()},
        "words_balanced": mean([one["level_balanced_accuracy"] for one in found.values()]),
        "yes_no_balanced": mean(yes_no),
        "which": {k: one["accuracy"] for k, one in questions.items() if "which" in k},
    }


def main() -> None:
    config, _ = load_config()
    demo = json.loads((config.evaluate.out / "metrics.json").read_text("utf-8"))
    result: dict[str, Any] = {
        "videos": demo["coverage"]["predicted"],
        "demo": summary(demo),
        "shuffled_labels": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        result["true_labels"] = control(0, Path(folder), shuffled=False)
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            found = control(seed, Path(folder), shuffled=True)
        result["shuffled_labels"].append({"seed": seed, **found})
        for key in ("mean", "words_balanced", "yes_no_balanced"):
            result[f"shuffled_{key}"] = mean([run[key] for run in result["shuffled_labels"]])
        text = json.dumps(result, indent=2)
        # After each run: one takes minutes.
        Path(__file__).with_name("results").joinpath("shuffled_labels.json").write_text(text + "\n")
        print(json.dumps(result["shuffled_labels"][-1]), flush=True)


if __name__ == "__main__":
    main()
