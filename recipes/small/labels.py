"""Step 2: label the clips and ask questions of them.

    python labels.py OUT

Simulated raters see the true strength of each distortion with a bias and a scatter of their own;
`finevq dataset ratings` makes MOS of their ratings, `finevq dataset questions` the paper's
questions of MOS and distortion types. More "which" questions are drawn after that: their options
differ, and all questions of a video share its visual prefix, so that they cost little. Writes
OUT/dataset.
"""

import argparse
import csv
import json
import re
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from finevq.cli.main import main as finevq
from finevq.config import load_config
from finevq.dataset.demo.data_set import SUBJECTS, rate
from finevq.dataset.demo.plan import true_quality
from finevq.dataset.study.attributes import load_attribute_labels
from finevq.dataset.study.compose import compose
from finevq.dataset.videos import DIMENSIONS, load_dataset

VISIBLE = 0.3
"""Strength above which a distortion is said to exist."""

MORE = 2
"""Further sets of options of both "which" questions."""


def part_of(group: str) -> str:
    """The part of the split that a scene is in: a tenth tests, and 8 % choose the epoch."""
    place = zlib.crc32(group.encode()) % 100
    return "test" if place < 10 else "val" if place < 18 else "train"


def truths(out: Path) -> list[dict[str, Any]]:
    """What is known of all clips that are made, by number."""
    return [json.loads(path.read_text("utf-8")) for path in sorted((out / "truth").glob("*.json"))]


def _write(path: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def label(out: Path, limit: int) -> None:
    """Write the dataset of the first `limit` clips."""
    known = truths(out)[:limit]
    folder = out / "dataset"
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(1)
    ratings = rate([true_quality(truth["strengths"]) for truth in known], rng)
    _write(
        out / "ratings.csv",
        ["subject", "video", "dimension", "score"],
        (
            [f"subject{s:02}", truth["video"], dimension, int(ratings[v, d, s])]
            for v, truth in enumerate(known)
            for d, dimension in enumerate(DIMENSIONS)
            for s in range(SUBJECTS)
        ),
    )
    command = ["dataset", "ratings", str(out / "ratings.csv"), "--out", str(folder)]
    if finevq([*command, "--root", str(out), "--name", "small", "--rule", "plain"]):
        raise SystemExit(2)
    _stretch(folder)
    _write(
        folder / "attributes.csv",
        ["video", "dimension", "attribute"],
        (
            [truth["video"], dimension, _named(truth["recipe"]["types"][dimension], v)]
            for v, truth in enumerate(known)
            for dimension, strength in truth["strengths"].items()
            if strength > VISIBLE
        ),
    )
    _write(
        folder / "splits" / "scenes.csv",
        ["video", "part"],
        ([truth["video"], part_of(truth["group"])] for truth in known),
    )
    if finevq(["dataset", "questions", "-c", str(folder / "dataset.toml")]):
        raise SystemExit(2)
    _ask_more(folder)


def _stretch(folder: Path) -> None:
    """From the raters' 1 to 5 to the paper's 0 to 100."""
    table = pd.read_csv(folder / "videos.csv")
    for dimension in DIMENSIONS:
        table[dimension] = ((table[dimension] - 1) / 4 * 100).round(2)
    table.to_csv(folder / "videos.csv", index=False)
    file = folder / "dataset.toml"
    text = re.sub(r"mos_range = .*", "mos_range = [0.0, 100.0]", file.read_text("utf-8"))
    file.write_text(re.sub(r'split = ".*"', 'split = "scenes"', text), "utf-8")


def _named(kind: str, number: int) -> str:
    """The name of a type; half of the casts have the name that people use."""
    return "color cast" if kind == "other color distortion" and number % 2 else kind


def _ask_more(folder: Path) -> None:
    """Add more "which" questions, each with other options."""
    dataset = load_dataset(load_config(folder / "dataset.toml")[0].dataset)
    attributes = load_attribute_labels(dataset, folder / "attributes.csv")
    path = folder / "questions.jsonl"
    lines = path.read_text("utf-8").splitlines()
    asked = {_question(json.loads(line)) for line in lines}
    for seed in range(1, MORE + 1):
        for line in compose(dataset, attributes, seed).questions:
            text = line["conversations"][0]["value"]
            if "options" in text and _question(line) not in asked:
                asked.add(_question(line))
                lines.append(json.dumps(line))
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _question(line: dict[str, Any]) -> tuple[str, str]:
    return line["video"], line["conversations"][0]["value"]


def main() -> None:
    """Label the clips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int, default=10**6, help="the first so many clips")
    given = parser.parse_args()
    label(given.out, given.limit)


if __name__ == "__main__":
    main()
