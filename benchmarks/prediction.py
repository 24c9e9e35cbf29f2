"""All prompts of a video in one pass against one prompt at a time; a new split against both.

    .venv/bin/python benchmarks/prediction.py [--videos 3] [--measured 1016]

The prefix has the paper's full size: 8 frames of 256 tokens and 8 motion tokens, 2,056 visual
tokens; 14 prompts: six ratings, five yes-or-no and three lettered questions. The language model is
the embedded small Llama, with its real classes. Both ways run in turn, in one process, and their
answers are compared; CPU seconds are counted, which a busy machine stretches less.

Then a new split is measured on stored predictions of as many videos as the paper's test part has,
intervals and report included, and set against predicting these videos at the speed measured before.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from finevq.dataset.questions import level
from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.metrics import COLUMNS, measure
from finevq.evaluate.predict import Answer, Predictor
from finevq.evaluate.report import write_report
from finevq.evaluate.score import prompts as rated_and_asked
from finevq.train.base import load_base
from finevq.train.checkpoint import CheckpointInfo, build_model
from finevq.train.prompts import Prompt

SHAPES = {"spatial": (8, 256, 4096), "motion": (8, 2304)}


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


def predictor() -> Predictor:
    torch.manual_seed(0)
    base = load_base("embedded", "float32")
    info = CheckpointInfo(
        base="embedded",
        base_hash=base.hash,
        lora={"rank": 16, "alpha": 32, "dropout": 0.0},
        features={},
        shapes=SHAPES,
        dtype="float16",
        mos_range=(0.0, 100.0),
        extract={},
        score_weight=1.0,
        run={},
    )
    return Predictor(*build_model(info, base), torch.device("cpu"))


def both_ways(videos: int) -> dict[str, object]:
    model, asked = predictor(), prompts()
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


def stored(videos: int) -> pd.DataFrame:
    """Predictions as they lie in predictions.parquet, with labels."""
    rng = np.random.default_rng(1)
    rows = []
    kinds = [prompt.item for prompt in prompts() if prompt.task == "question"]
    for number in range(videos):
        video = f"finevd/{number:05}.mp4"
        for dimension in DIMENSIONS:
            label = float(rng.uniform(0, 100))
            score = label + float(rng.normal(0, 15))
            words = level(score / 100), level(label / 100)
            rows.append((video, "score", dimension, None, score, label, score, *words))
        for kind in kinds:
            answers = rng.choice(["Yes", "No"], 2)
            rows.append((video, "question", kind, kind, None, None, None, *answers))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def new_split(videos: int) -> float:
    table = stored(videos)
    categories = {v: f"category {i % 17}" for i, v in enumerate(table["video"].unique())}
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        metrics = measure(
            table,
            split="new",
            part="test",
            labelled=list(categories),
            failed={},
            mos_range=(0.0, 100.0),
            categories=categories,
        )
        write_report(
            Path(folder) / "report.html",
            metrics,
            table,
            title="new",
            mos_range=(0.0, 100.0),
            facts={},
            categories=categories,
        )
        return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=3)
    parser.add_argument("--measured", type=int, default=1016)
    given = parser.parse_args()
    results = both_ways(given.videos)
    new_split(20)  # a warm-up
    seconds = new_split(given.measured)
    predicting = statistics.median(results["together_cpu_s"]) * given.measured
    results["new_split"] = {
        "videos": given.measured,
        "cpu_s": seconds,
        "predicting_cpu_s": predicting,
        "share_of_predicting": seconds / predicting,
    }
    results["threads"] = torch.get_num_threads()
    text = json.dumps(results, indent=2)
    (Path(__file__).parent / "results" / "prediction.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
