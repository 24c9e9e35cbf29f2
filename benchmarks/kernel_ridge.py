"""What the demo's features hold: kernel ridge regression on them, beside the trained model.

    .venv/bin/finevq demo
    .venv/bin/python benchmarks/kernel_ridge.py

Each video is the mean and the deviation of its tokens, and of its motion vectors. Kernel ridge with
a Gaussian kernel fits the six MOS of the train part; width and ridge are those that are best on the
part val. Levels are cut from its predictions, a distortion is said to exist where its prediction is
below the quality that shares most training videos rightly, and the worst dimension is that with the
lowest prediction. A language model on the same features should be ahead of all of it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from finevq.cache.store import FeatureStore
from finevq.config import load_config
from finevq.dataset.questions import LEVELS, level, load_questions
from finevq.dataset.splits import load_split
from finevq.dataset.videos import DIMENSIONS, Dataset, load_dataset

WIDTHS, RIDGES = (0.1, 0.3, 1.0, 3.0), (1e-3, 1e-2, 1e-1, 1.0)
"""Of the kernel, in units of the median squared distance; and of the ridge."""

Array = NDArray[np.float64]


def pooled(store: FeatureStore, video: str) -> Array:
    """Means and deviations of a video's features, (2 * 4096 + 2 * 2304,)."""
    spatial, motion = (np.asarray(a, np.float64) for a in store.read(video))
    tokens = spatial.reshape(-1, spatial.shape[-1])
    return np.concatenate([f(a, axis=0) for a in (tokens, motion) for f in (np.mean, np.std)])


def kernel(a: Array, b: Array) -> Array:
    """Squared distances, (len(a), len(b))."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.maximum(squares, 0)


def fit(x: dict[str, Array], y: dict[str, Array]) -> dict[str, Array]:
    """Predictions of all parts, (videos, 6), by the width and ridge that are best on val."""
    mean, scale = x["train"].mean(0), x["train"].std(0)
    varies = scale > 1e-6
    x = {part: (rows[:, varies] - mean[varies]) / scale[varies] for part, rows in x.items()}
    distances = {part: kernel(rows, x["train"]) for part, rows in x.items()}
    median, centre = np.median(distances["train"]), y["train"].mean(0)
    best: tuple[float, dict[str, Array]] = (-2.0, {})
    for width in WIDTHS:
        kernels = {part: np.exp(-width * d / median) for part, d in distances.items()}
        for ridge in RIDGES:
            inner = kernels["train"] + ridge * np.eye(len(y["train"]))
            weights = np.linalg.solve(inner, y["train"] - centre)
            found = {part: centre + k @ weights for part, k in kernels.items()}
            srcc = np.mean([_srcc(found["val"][:, d], y["val"][:, d]) for d in range(6)])
            if srcc > best[0]:
                best = float(srcc), found
    return best[1]


def _srcc(a: Array, b: Array) -> float:
    return float(spearmanr(a, b).statistic)


def balanced(truth: list[str], said: list[str]) -> float:
    """The mean over the answers that occur of the share that is said rightly."""
    shares = [
        np.mean([s == name for s, t in zip(said, truth, strict=True) if t == name])
        for name in sorted(set(truth))
    ]
    return float(np.mean(shares))


def answers(
    dataset: Dataset, videos: dict[str, list[str]], found: dict[str, Array]
) -> dict[str, float]:
    """Balanced accuracies of yes and no, and the share of worst dimensions named."""
    questions = load_questions(dataset)

    def said(part: str, kind: str) -> list[str]:
        return [next(q.answer for q in questions[v] if q.kind == kind) for v in videos[part]]

    result = {}
    for number, dimension in enumerate(DIMENSIONS[:-1]):
        kind = f"yes-no {dimension}"
        known, scores = said("train", kind), found["train"][:, number]
        limits = np.quantile(scores, np.linspace(0.02, 0.98, 97))
        cut = max(limits, key=lambda c: balanced(known, _yes_no(scores, c)))
        result[dimension] = balanced(said("test", kind), _yes_no(found["test"][:, number], cut))
    return result


def _yes_no(scores: Array, limit: float) -> list[str]:
    return ["Yes" if score < limit else "No" for score in scores]


def main() -> None:
    config, _ = load_config()
    dataset = load_dataset(config.dataset)
    store = FeatureStore.open(config.cache.path)
    split = load_split(dataset, dataset.settings.split)
    videos = {part: [video.id for video in rows] for part, rows in split.items()}
    x = {part: np.stack([pooled(store, v) for v in ids]) for part, ids in videos.items()}
    y = {
        part: np.array([[dataset.unit(v.labels[d]) for d in DIMENSIONS] for v in rows])
        for part, rows in split.items()
    }
    found = fit(x, y)
    srcc = {d: _srcc(found["test"][:, n], y["test"][:, n]) for n, d in enumerate(DIMENSIONS)}
    levels = {
        d: balanced([level(v) for v in y["test"][:, n]], [level(v) for v in found["test"][:, n]])
        for n, d in enumerate(DIMENSIONS)
    }
    yes_no = answers(dataset, videos, found)
    worst = found["test"][:, :-1].argmin(1) == y["test"][:, :-1].argmin(1)
    result: dict[str, Any] = {
        "videos": {part: len(ids) for part, ids in videos.items()},
        "srcc": {"mean": float(np.mean(list(srcc.values()))), **srcc},
        "levels_balanced": {"mean": float(np.mean(list(levels.values()))), **levels},
        "yes_no_balanced": {"mean": float(np.mean(list(yes_no.values()))), **yes_no},
        "worst_dimension": float(worst.mean()),
        "level_words": list(LEVELS),
    }
    metrics = config.evaluate.out / "metrics.json"
    if metrics.is_file():
        trained = json.loads(metrics.read_text("utf-8"))
        result["trained_model_srcc"] = trained["mean"]["srcc"]
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("kernel_ridge.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
