"""All prompts of a video in one pass against one prompt at a time; a new split against both.

    .venv/bin/python benchmarks/prediction.py [--videos 3] [--measured 1016]

The prefix has the paper's full size: 8 frames of 256 tokens and 8 motion tokens, 2,056 visual
tokens; 14 prompts: six ratings, five yes-or-no and three lettered questions. The language model is
the embedded small Llama, with its real classes. Both ways run in turn, in one process, and their
answers are compared; CPU seconds are counted, which a busy machine stretches less.

Then `evaluate` measures a new split on stored predictions of as many videos as the paper's test
part has: labels, questions, leakage, intervals, report and figures included, but for the pictures
of the largest misses. It is set against predicting these videos at the speed measured before; the
whole command in a process of its own, its start included, is stated apart.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from finevq.cache.identity import Identity
from finevq.cache.records import Features, Source
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.dataset.questions import level, load_questions
from finevq.dataset.settings import DatasetSettings
from finevq.dataset.videos import DIMENSIONS, Dataset, load_dataset
from finevq.evaluate.predict.predictor.predictor import (
    KEY,
    PREDICTED,
    Answer,
    Predictor,
    expected,
    write_predictions,
)
from finevq.evaluate.run import evaluate
from finevq.evaluate.score.scorer.scorer import prompts as rated_and_asked
from finevq.evaluate.settings import EvaluateSettings
from finevq.train.base.language_model import load_base
from finevq.train.fit.training_set import write_training_set
from finevq.train.model.checkpoint import (
    CheckpointInfo,
    build_model,
    digest,
    save_checkpoint,
)
from finevq.train.prompts import Prompt

SHAPES = {"spatial": (8, 256, 4096), "motion": (8, 2304)}
STORED = {"spatial": (1, 1, 8), "motion": (1, 8)}
"""Of the store of the new split, whose features are not read."""

IDENTITY = Identity({"spatial": {"weights": "5" * 64}, "motion": {"weights": "7" * 64}})

LETTERED = (
    "Please select one distortion type from below options{A:[low saturation], B:[None], "
    "C:[gaussian noise], D:[lagging]}Just answer the corresponding letter.",
    "Which distortion dimension has the greatest impact on video quality, choose from the "
    "following options{A:[Noise], B:[Video quality is good], C:[Color], D:[Blur]}"
    "(Just answer the corresponding letter)",
    "Which distortion dimension has the smallest impact on video quality, choose from the "
    "following options{A:[Noise], B:[Video quality is good], C:[Color], D:[Blur]}"
    "(Just answer the corresponding letter)",
)


def prompts() -> list[Prompt]:
    lettered = [
        Prompt("question", f"which {i}", t, "", tuple("ABCD")) for i, t in enumerate(LETTERED)
    ]
    return [*rated_and_asked("finevq"), *lettered]


def made(shapes: dict[str, tuple[int, ...]]) -> tuple[CheckpointInfo, tuple]:
    """A checkpoint's description, and its model and packer."""
    torch.manual_seed(0)
    base = load_base("embedded", "float32")
    info = CheckpointInfo(
        base="embedded",
        base_hash=base.hash,
        lora={"rank": 16, "alpha": 32, "dropout": 0.0},
        features=IDENTITY.content,
        shapes=shapes,
        dtype="float16",
        mos_range=(0.0, 100.0),
        extract={},
        score_weight=1.0,
        run={},
    )
    return info, build_model(info, base)


def both_ways(videos: int) -> dict[str, object]:
    model, asked = Predictor(*made(SHAPES)[1], torch.device("cpu")), prompts()
    rng = np.random.default_rng(0)
    together_s, alone_s, scores, probabilities, same = [], [], 0.0, 0.0, True
    for _ in range(videos + 1):  # the first is a warm-up
        spatial, motion = (rng.normal(size=shape).astype(np.float16) for shape in SHAPES.values())
        start = time.process_time()
        together = model.answer(spatial, motion, asked)
        middle = time.process_time()
        alone = [model.answer(spatial, motion, [prompt])[0] for prompt in asked]
        together_s.append(middle - start)
        alone_s.append(time.process_time() - middle)
        for a, b in zip(together, alone, strict=True):
            same &= a.choice == b.choice
            scores = max(scores, abs(a.score - b.score))
            probabilities = max(probabilities, _difference(a, b))
    together_s, alone_s = together_s[1:], alone_s[1:]
    ratios = [a / b for a, b in zip(alone_s, together_s, strict=True)]
    return {
        "prompts": len(asked),
        "visual_tokens": SHAPES["spatial"][0] * SHAPES["spatial"][1] + SHAPES["motion"][0],
        "together_cpu_s": together_s,
        "one_at_a_time_cpu_s": alone_s,
        "questions_per_second": {
            "together": len(asked) / statistics.median(together_s),
            "one_at_a_time": len(asked) / statistics.median(alone_s),
        },
        "ratio": {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)},
        "same_choices": same,
        "largest_difference": {"score": scores, "probability": probabilities},
    }


def _difference(a: Answer, b: Answer) -> float:
    return float(np.abs(np.subtract(a.probabilities, b.probabilities)).max())


def dataset_of(folder: Path, videos: int) -> Dataset:
    """Labels, categories and eight questions a video."""
    rng = np.random.default_rng(1)
    names = [f"{number:05}.mp4" for number in range(videos)]
    table = pd.DataFrame(
        {"video": names, "category": [f"category {i % 17}" for i in range(videos)]}
    )
    for dimension in DIMENSIONS:
        table[dimension] = rng.uniform(0, 100, videos).round(2)
    (folder / "splits").mkdir(parents=True)
    table.to_csv(folder / "videos.csv", index=False)
    part = pd.DataFrame({"video": names, "part": "test"})
    part.to_csv(folder / "splits" / "new.csv", index=False)
    asked = [prompt for prompt in prompts() if prompt.task == "question"]
    with (folder / "questions.jsonl").open("w") as file:
        for name in names:
            for prompt in asked:
                said = {"from": "human", "value": prompt.text}
                right = {"from": "ai", "value": str(rng.choice(prompt.options))}
                file.write(json.dumps({"video": name, "conversations": [said, right]}) + "\n")
    settings = DatasetSettings(
        name="made", folder=folder, root=Path(), mos_range=(0.0, 100.0), split="new"
    )
    return load_dataset(settings)


def store_of(folder: Path, dataset: Dataset) -> FeatureStore:
    settings = CacheSettings(path=str(folder), stage="", rows_per_shard=64, dtype="float16")
    store = FeatureStore.open_or_create(str(folder), IDENTITY, STORED, settings)
    store.plan(dataset.ids)
    arrays = [np.ones(shape, np.float32) for shape in STORED.values()]
    for shard in store.pending():
        rows = store.shard_rows(shard).values()
        sources = {v: Source(f"{hash(v) % 16**12:064x}", 40, 25.0, 1.6, "pyav") for v in rows}
        store.write_shard(shard, {v: Features(*arrays, source) for v, source in sources.items()})
    return store


def stored(dataset: Dataset) -> pd.DataFrame:
    """Predictions of all its videos."""
    rng = np.random.default_rng(2)
    table = expected(dataset, list(dataset), load_questions(dataset))
    scores = (table["label"] + rng.normal(0, 15, len(table))).astype(float)
    rated = [level(min(max(score / 100, 0), 1)) for score in scores.fillna(0)]
    given = table["label_text"].sample(frac=1, random_state=0).to_numpy()
    texts = np.where(table["task"] == "score", rated, given)
    table = table.assign(prediction=scores, weighted=scores, prediction_text=texts)
    lists = [["Yes", "No"]] * len(table), [[0.5, 0.5]] * len(table)
    table = table.assign(options=lists[0], probabilities=lists[1], generated=None, free_text=0)
    return table[KEY + PREDICTED]


def new_split(videos: int) -> dict[str, float]:
    """CPU seconds of `evaluate`, and of the command that runs it in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = dataset_of(folder / "dataset", videos)
        store = store_of(folder / "features", dataset)
        info, (model, _) = made(STORED)
        checkpoint = folder / "checkpoint"
        save_checkpoint(model, info, checkpoint)
        write_training_set(checkpoint, [], store)
        made_by = {"checkpoint": digest(checkpoint), "features": store.layout.identity.digest}
        for out in ("function", "command"):
            (folder / out).mkdir()
            write_predictions(folder / out / "predictions.parquet", stored(dataset), made_by)
        settings = EvaluateSettings(
            out=folder / "function", part="test", videos_per_batch=1, free_text=0
        )
        start = time.process_time()
        evaluate(dataset, store, checkpoint, settings, device="cpu")
        seconds = time.process_time() - start
        command = [sys.executable, "-m", "finevq", "evaluate", "--checkpoint", str(checkpoint)]
        for override in (
            "dataset.name=made",
            f"dataset.folder={folder / 'dataset'}",
            "dataset.split=new",
            f"cache.path={folder / 'features'}",
            f"evaluate.out={folder / 'command'}",
            "train.device=cpu",
        ):
            command += ["--set", override]
        before = os.times()
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        after = os.times()
        whole = sum(after[2:4]) - sum(before[2:4])
    return {"cpu_s": seconds, "command_cpu_s": whole}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=3)
    parser.add_argument("--measured", type=int, default=1016)
    given = parser.parse_args()
    results = both_ways(given.videos)
    new_split(20)  # a warm-up
    took = new_split(given.measured)
    predicting = statistics.median(results["together_cpu_s"]) * given.measured
    results["new_split"] = {
        "videos": given.measured,
        **took,
        "predicting_cpu_s": predicting,
        "share_of_predicting": took["cpu_s"] / predicting,
        "share_of_predicting_with_the_start": took["command_cpu_s"] / predicting,
    }
    results["threads"] = torch.get_num_threads()
    text = json.dumps(results, indent=2)
    (Path(__file__).parent / "results" / "prediction.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
