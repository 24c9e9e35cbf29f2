"""Step 6: what an evaluation found, against what the small model must show.

    python measure.py OUT/evaluation          # of the recipe's own test scenes, or of the demo's

Prints the SRCC of each dimension, balanced accuracies, accuracies beside the majority baseline of
words and answers, and how often a word lies two or more levels from its score.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from finevq.dataset.questions import LEVELS, level
from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.score.scorecard import DISAGREE


def measure(folder: Path, scale: tuple[float, float]) -> dict[str, Any]:
    """All figures of one evaluation; `scale` is the lowest and the highest MOS."""
    table = pd.read_parquet(folder / "predictions.parquet")
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    rated = table[table["task"] == "score"]
    unit = (rated["prediction"] - scale[0]) / (scale[1] - scale[0])
    said = rated["prediction_text"].map(LEVELS.index)
    apart = (said - unit.map(level).map(LEVELS.index)).abs()
    dimensions = {d: metrics["dimensions"][d] for d in DIMENSIONS}
    return {
        "videos": int(rated["video"].nunique()),
        "srcc": {d: found["srcc"] for d, found in dimensions.items()}
        | {"mean": metrics["mean"]["srcc"]},
        "words": {d: _shares(found, "level_") for d, found in dimensions.items()},
        "answers": {kind: _shares(found, "") for kind, found in metrics["questions"].items()},
        "disagree": int((apart >= DISAGREE).sum()),
        "ratings": len(rated),
    }


def _shares(found: dict[str, Any], prefix: str) -> dict[str, float]:
    """Balanced accuracy, accuracy, and that of always giving the most frequent answer."""
    names = {
        "balanced": "balanced_accuracy",
        "accuracy": "accuracy",
        "majority": "majority_baseline",
    }
    return {short: found[f"{prefix}{name}"] for short, name in names.items()}


def _mean(found: dict[str, dict[str, float]], first: str) -> dict[str, float]:
    rows = [row for kind, row in found.items() if kind.startswith(first)]
    return {key: sum(row[key] for row in rows) / len(rows) for key in ("balanced", "accuracy")}


def main() -> None:
    """Print all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="evaluate.out")
    parser.add_argument("--scale", type=float, nargs=2, default=(0.0, 100.0))
    given = parser.parse_args()
    found = measure(given.folder, tuple(given.scale))
    found["means"] = {"words": _mean(found["words"], ""), "yes-no": _mean(found["answers"], "yes")}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
