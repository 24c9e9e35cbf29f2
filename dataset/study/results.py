"""The files of a dataset made from a study: its MOS, its labels and what was removed."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ..manifest import write_dataset
from .mos import StudyResult, compute_mos
from .ratings import Ratings
from .rules import Rule


def write_study(
    folder: Path,
    name: str,
    root: Path,
    ratings: Ratings,
    rule: Rule,
    attributes: pd.DataFrame | None = None,
) -> StudyResult:
    """Turn a study into a dataset: its MOS, its attribute labels and what was removed.

    Writes `videos.csv`, `dataset.toml`, `ratings.json` (the rule and what it did), `removed.csv`
    (every rating left out, with its reason) and, if they are given, the labels as `attributes.csv`.

    Args:
        folder: the dataset's folder, which must not hold a dataset yet.
        name: of the dataset.
        root: where the videos lie.
        ratings: of the study.
        rule: one of `RULES`, or your own.
        attributes: what `load_majority_attributes` returned.

    Raises:
        DatasetError: the folder already holds a dataset, or the rule leaves no rating.
    """
    result = compute_mos(ratings, rule)
    table = result.mos.round(6).reset_index()
    mos = table[list(ratings.dimensions)]
    low, high = rule.mos_range(ratings.scale)
    mos_range = (min(low, float(mos.min().min())), max(high, float(mos.max().max())))
    write_dataset(folder, table, name=name, root=root, mos_range=mos_range, split="random1")
    result.removed.to_csv(folder / "removed.csv", index=False, lineterminator="\n")
    if attributes is not None:
        attributes.to_csv(folder / "attributes.csv", index=False, lineterminator="\n")
    report = {
        "rule": asdict(rule),
        "videos": len(ratings.videos),
        "subjects": len(ratings.subjects),
        "dimensions": list(ratings.dimensions),
        "ratings": len(ratings.score),
        "removed": {str(k): int(n) for k, n in result.removed["reason"].value_counts().items()},
        "outlier_share": result.outlier_share,
        "rejected_subjects": dict(result.rejected),
        "mos_range": mos_range,
        "notes": result.notes,
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / "ratings.json").write_text(text + "\n", "utf-8")
    return result
