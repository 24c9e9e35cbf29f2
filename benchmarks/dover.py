"""DOVER's published predictions: `finevq compare` against the published PLCC, and against scipy.

    .venv/bin/python benchmarks/dover.py FOLDER

The folder holds DOVER's prediction files kv1k.csv, livevqc.csv, ltest.csv and l1080p.csv: the first
column names the video, `mos` is its label, `pred_fused_w_on_fragments` the prediction. scipy's
correlations are computed on the same rows, read without our code. Exits with 1 if a correlation
differs from scipy's by more than 1e-9, or if the raw PLCC, rounded, is not the published one.
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

from scipy import stats

from finevq.evaluate.compare.comparison import compare
from finevq.evaluate.compare.score_files import read_labels, read_model

FILES = {
    "KoNViD-1k": ("kv1k.csv", "0.883"),
    "LIVE-VQC": ("livevqc.csv", "0.854"),
    "LSVQ-test": ("ltest.csv", "0.8885"),
    "LSVQ-1080p": ("l1080p.csv", "0.830"),
}
"""Each dataset's file and published PLCC."""

COLUMN = "pred_fused_w_on_fragments"

REFERENCES = {"srcc": stats.spearmanr, "krcc": stats.kendalltau, "plcc": stats.pearsonr}

TOLERANCE = 1e-9


def measured(file: Path, published: str) -> dict[str, Any]:
    """The correlations of one file by `finevq compare` and by scipy."""
    labels, model = read_labels(f"{file}:mos"), read_model(f"DOVER={file}:{COLUMN}")
    found = compare([model], labels)["DOVER"]["overall"]
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    mos, predicted = ([float(row[column]) for row in rows] for column in ("mos", COLUMN))
    scipy = {name: float(of(predicted, mos).statistic) for name, of in REFERENCES.items()}
    return {
        "videos": len(rows),
        "n": found["n"],
        **{name: found[name] for name in REFERENCES},
        "plcc_rounded": round(found["plcc"], len(published.partition(".")[2])),
        "plcc_fitted": found["plcc_fitted"],
        "plcc_ci": found["ci"]["plcc"],
        "published_plcc": float(published),
        "scipy": scipy,
        "largest_difference_from_scipy": max(abs(found[m] - scipy[m]) for m in scipy),
    }


def right(found: dict[str, Any]) -> bool:
    """Whether all rows were used, with the correlations of scipy and of the publication."""
    return (
        found["n"] == found["videos"]
        and found["largest_difference_from_scipy"] <= TOLERANCE
        and found["plcc_rounded"] == found["published_plcc"]
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="of DOVER's prediction files")
    folder = parser.parse_args().folder
    results = {
        name: measured(folder / file, published) for name, (file, published) in FILES.items()
    }
    text = json.dumps(results, indent=2)
    (Path(__file__).parent / "results" / "dover.json").write_text(text + "\n")
    print(text)
    return 0 if all(map(right, results.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
