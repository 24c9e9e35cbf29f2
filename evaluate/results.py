"""The results of an evaluation: where they lie, metrics.json and the report."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..dataset.splits import Part
from ..errors import FineVQError
from .metrics.measure import measure
from .pages.report import write_report
from .part import EvaluatedPart

METRICS_FILE = "metrics.json"


def results_name(split: str, part: Part) -> str:
    """The folder of the results of a named split: SPLIT, or SPLIT-PART for a part but test."""
    return split if part == "test" else f"{split}-{part}"


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics as strict JSON."""
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", "utf-8")


def read_metrics(folder: Path) -> dict[str, Any]:
    """The metrics in a folder of results."""
    metrics: dict[str, Any] = json.loads((folder / METRICS_FILE).read_text("utf-8"))
    return metrics


def check_results(folder: Path, part: EvaluatedPart) -> None:
    """Refuse to overwrite the metrics of another dataset, split or part.

    Raises:
        FineVQError: the folder holds such metrics.
    """
    try:
        stored = read_metrics(folder)
    except (FileNotFoundError, ValueError):  # a run that was killed may leave half a file
        return
    new = part.names
    if any(stored.get(key) != value for key, value in new.items()):
        raise FineVQError(
            f"{folder / METRICS_FILE}: holds dataset {stored.get('dataset')}, split "
            f"{stored.get('split')}, part {stored.get('part')}, which dataset {new['dataset']}, "
            f"split {new['split']}, part {new['part']} would overwrite; name them with --split "
            "and --part, which have a folder of their own, or set another evaluate.out"
        )


def measure_part(
    part: EvaluatedPart, predictions: pd.DataFrame, leakage: Mapping[str, Any]
) -> dict[str, Any]:
    """Compute the content of metrics.json.

    Args:
        part: whose videos were predicted.
        predictions: of this part alone, beside their labels.
        leakage: of `check_leakage`.
    """
    settings = part.dataset.settings
    metrics = measure(
        predictions,
        split=part.split,
        part=part.part,
        labelled=[video.id for video in part.videos if video.labels],
        failed=part.failed,
        mos_range=settings.mos_range,
        categories=_categories(part),
        labels=Counter(dimension for video in part.videos for dimension in video.labels),
    )
    return {"dataset": settings.name, **metrics, "leakage": dict(leakage)}


def write_results(
    folder: Path,
    metrics: Mapping[str, Any],
    part: EvaluatedPart,
    predictions: pd.DataFrame,
    facts: Mapping[str, str],
) -> None:
    """Write metrics.json, report.html and figures/ into a folder, which is made if need be.

    Args:
        folder: of the results.
        metrics: of `measure_part`.
        part: that was measured.
        predictions: from which the metrics were computed.
        facts: what the head of the report says, by name.
    """
    settings = part.dataset.settings
    folder.mkdir(parents=True, exist_ok=True)
    write_metrics(folder / METRICS_FILE, metrics)
    write_report(
        folder / "report.html",
        metrics,
        predictions,
        title=f"FineVQ on {settings.name}, split {part.split}, part {part.part}",
        mos_range=settings.mos_range,
        facts=facts,
        categories=_categories(part),
        files={video.id: video.path for video in part.videos},
    )


def _categories(part: EvaluatedPart) -> dict[str, str]:
    return {video.id: video.category for video in part.videos if video.category}
