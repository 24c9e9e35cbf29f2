"""The MOS rules: compared with published results, on simulated raters, and timed.

    .venv/bin/python benchmarks/mos.py FOLDER

The folder holds data sets with Netflix SUREAL's own results (`sureal_*.json`: ratings, and MOS,
deviations and rejected subjects by model) and `LIVE-YT-HFR/` with its raw and its MOS table.
Exits with 1 if a figure misses its limit.
"""

import json
import statistics
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from finevq.dataset.study.mos import NORMAL_95, compute_mos
from finevq.dataset.study.rating_files import load_ratings
from finevq.dataset.study.ratings import Ratings
from finevq.dataset.study.rules import RULES
from finevq.dataset.videos import DIMENSIONS

MODELS = {
    "MOS": "plain",
    "SR_MOS (BT.500 rejection)": "sureal",
    "ZS_MOS": "zscore",
    "ZS_SR_MOS (z-score then BT.500)": "sureal-zscore",
    "BR_MOS (P.913 bias removal)": "p913",
    "BR_SR_MOS": "sureal-bias",
}
"""SUREAL's models and our rules for them."""

ROUNDS = 25
STUDIES = 50
"""Simulated studies, of 300 videos and 20 subjects, of whom 2 are careless."""

FINEVD = (6_104, 22)
"""Videos and subjects of the largest study, in six dimensions: 805,728 ratings."""


def table_of(matrix: np.ndarray, scale: tuple[float, float] = (1.0, 5.0)) -> Ratings:
    """Ratings in `overall` from a table of shape (videos, subjects), NaN for none."""
    video, subject = np.nonzero(~np.isnan(matrix))
    return Ratings(
        subject,
        video,
        np.zeros(len(video), dtype=np.intp),
        matrix[video, subject],
        [f"s{i}" for i in range(matrix.shape[1])],
        [str(i) for i in range(matrix.shape[0])],
        ["overall"],
        scale,
    )


def against_sureal(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(folder.glob("sureal_*.json")):
        data = json.loads(path.read_text("utf-8"))
        if "scores" not in data:
            continue
        ratings = table_of(np.array(data["scores"], dtype=float))
        (results,) = (data[key] for key in data if key.startswith("expected_full"))
        rows = {}
        for model, name in MODELS.items():
            ours, theirs = compute_mos(ratings, RULES[name]), results[model]
            unit = 6 / 100 if RULES[name].adjust == "zscore" else 1.0  # SUREAL leaves z unscaled
            mos = ours.mos["overall"].to_numpy() * unit - (3 if unit != 1 else 0)
            error = ours.mos["overall_ci95"].to_numpy() * unit / NORMAL_95
            flags = theirs.get("observer_rejected") or [False] * len(ratings.subjects)
            rejected = {name for name, flag in zip(ratings.subjects, flags, strict=True) if flag}
            rows[f"{model} = {name}"] = {
                "mos_largest_difference": largest(mos, theirs["quality_scores"]),
                "standard_error_largest_difference": largest(error, theirs["quality_scores_std"]),
                "rejected_subjects": len(rejected),
                "rejected_are_the_same": rejected == set(ours.rejected),
            }
        found[path.stem] = rows
    return found


def largest(ours: np.ndarray, theirs: list[float | None]) -> float:
    return float(np.nanmax(np.abs(ours - np.array(theirs, dtype=float))))


def against_hfr(folder: Path) -> dict[str, object]:
    raw = folder / "LIVE-YT-HFR" / "subject_raw.csv"
    published = pd.read_csv(folder / "LIVE-YT-HFR" / "subject_MOS.csv", index_col=0).loc["MOS"]
    ratings = load_ratings(raw, scale=(0, 100), missing="-1.0", columns={"video": "Unnamed: 0"})
    found: dict[str, object] = {"ratings": len(ratings.score)}
    for name, rule in RULES.items():
        ours = compute_mos(ratings, rule)
        mos = ours.mos["overall"]
        theirs = published.astype(float).reindex(mos.index)
        found[name] = {
            "plcc": float(mos.corr(theirs)),
            "srcc": float(mos.corr(theirs, method="spearman")),
            "largest_difference": float((mos - theirs).abs().max()),
            "rejected_subjects": len(ours.rejected),
            "outlier_share": ours.outlier_share,
        }
    return found


def simulated(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True quality, and ratings on a five-point scale of biased, noisy and careless subjects."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, 5, 300)
    bias, noise = rng.normal(0, 0.4, 20), rng.uniform(0.3, 0.7, 20)
    table = truth[:, None] + bias + rng.normal(0, 1, (300, 20)) * noise
    table[:, :2] = rng.uniform(1, 5, (300, 2))  # careless: whatever the video
    return truth, np.clip(np.rint(table), 1, 5)


def recovery() -> dict[str, object]:
    errors: dict[str, list[float]] = {name: [] for name in RULES}
    careless = dict.fromkeys(RULES, 0)
    careful = dict.fromkeys(RULES, 0)
    for seed in range(STUDIES):
        truth, table = simulated(seed)
        for name, rule in RULES.items():
            ours = compute_mos(table_of(table), rule)
            mos = ours.mos["overall"].to_numpy()
            fitted = np.polyval(np.polyfit(mos, truth, 1), mos)
            errors[name].append(float(np.sqrt(np.mean((fitted - truth) ** 2))))
            careless[name] += len({"s0", "s1"} & set(ours.rejected))
            careful[name] += len(set(ours.rejected) - {"s0", "s1"})
    return {
        name: {
            "rmse_after_the_best_line": statistics.mean(errors[name]),
            "studies_with_a_smaller_error_than_plain": sum(
                a < b for a, b in zip(errors[name], errors["plain"], strict=True)
            ),
            "careless_rejected": f"{careless[name]} of {2 * STUDIES}",
            "careful_rejected": f"{careful[name]} of {18 * STUDIES}",
        }
        for name in RULES
    }


def write_study(path: Path) -> int:
    """Write simulated ratings of the size of FineVD; returns their number."""
    videos, subjects = FINEVD
    rng = np.random.default_rng(0)
    shape = (videos, len(DIMENSIONS), subjects)
    video, dimension, subject = (axis.ravel() for axis in np.indices(shape))
    noisy = rng.uniform(1, 5, shape[:2])[..., None] + rng.normal(0, 0.7, shape)
    table = pd.DataFrame(
        {
            "subject": np.char.add("subject", subject.astype(str)),
            "video": np.char.add(np.char.add("clips/", video.astype(str)), ".mp4"),
            "dimension": np.array(DIMENSIONS)[dimension],
            "score": np.clip(np.rint(noisy), 1, 5).astype(int).ravel(),
        }
    )
    table.to_csv(path, index=False)
    return len(table)


def speed() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv"
        # In a child, so that its arrays do not fill this process's memory.
        with get_context("spawn").Pool(1) as pool:
            count = pool.apply(write_study, (path,))
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            pd.read_csv(path)
            read = time.perf_counter()
            compute_mos(load_ratings(path), RULES["paper"])
            times.append((read - start, time.perf_counter() - read))
    times = times[1:]  # the first round fills the page cache
    ratios = [ours / read for read, ours in times]
    return {
        "ratings": count,
        "seconds_read_csv": statistics.median(read for read, _ in times),
        "seconds_ratings_to_mos": statistics.median(ours for _, ours in times),
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
    }


def main(folder: Path) -> int:
    fast = speed()  # first, in a fresh process, as a user runs it
    result = {
        "sureal": against_sureal(folder),
        "live_yt_hfr": against_hfr(folder),
        "recovery": recovery(),
        "speed": fast,
    }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("mos.json").write_text(text + "\n")
    print(text)
    rows = [row for models in result["sureal"].values() for row in models.values()]  # type: ignore[attr-defined]
    same = all(r["mos_largest_difference"] < 1e-8 and r["rejected_are_the_same"] for r in rows)
    near = result["live_yt_hfr"]["zscore"]["plcc"] >= 0.997  # type: ignore[index]
    better = (
        result["recovery"]["paper"]["rmse_after_the_best_line"]
        < (  # type: ignore[index]
            result["recovery"]["plain"]["rmse_after_the_best_line"]  # type: ignore[index]
        )
    )
    in_time = fast["ratio"]["median"] <= 3  # type: ignore[index]
    return 0 if same and near and better and in_time else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
