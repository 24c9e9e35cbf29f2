"""Bootstrap intervals of all metrics: all resamples at once against a loop over scipy.

    .venv/bin/python benchmarks/metrics.py

As many videos and dimensions as FineVD has (6,104 x 6), 1,000 resamples, six metrics. Both ways
draw the same videos from the same seed, and their intervals are compared. The loop is run in full
by default; `--loop N` runs its first N resamples, compares these one by one and scales the time.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats

from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.metrics.agreement import METRICS, Agreement, resample
from finevq.evaluate.metrics.bootstrap import RESAMPLES, SEED, interval

VIDEOS = 6104


def rmse(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sqrt(np.mean((x - y) ** 2)))


def loop(agreements: list[Agreement], resamples: int) -> np.ndarray:
    """The metrics one by one, by scipy: (resamples, dimensions, 6)."""
    drawn = np.random.default_rng(SEED).integers(0, VIDEOS, (RESAMPLES, VIDEOS))[:resamples]
    found = np.empty((resamples, len(agreements), len(METRICS)))
    for column, one in enumerate(agreements):
        x, y, fitted = one.x, one.y, one.curve(one.x)
        for row, videos in enumerate(drawn):
            a, b, c = x[videos], y[videos], fitted[videos]
            found[row, column] = (
                stats.spearmanr(a, b).statistic,
                stats.kendalltau(a, b).statistic,
                stats.pearsonr(a, b).statistic,
                stats.pearsonr(c, b).statistic,
                rmse(a, b),
                rmse(c, b),
            )
    return found


def timed(run: Callable[[], np.ndarray]) -> tuple[tuple[float, float], np.ndarray]:
    """Seconds, CPU seconds (which other load does not lengthen) and the result."""
    start = time.perf_counter(), time.process_time()
    found = run()
    return (time.perf_counter() - start[0], time.process_time() - start[1]), found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", type=int, default=RESAMPLES, help="resamples of the loop")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    agreements = []
    for _ in DIMENSIONS:  # labels of two decimals, as in published files: some are tied
        label = rng.uniform(0, 100, VIDEOS).round(2)
        agreements.append(Agreement(label + rng.normal(0, 20, VIDEOS), label))
    # Before and after the loop: the load of the machine changes in between.
    rounds = [timed(lambda: resample(agreements, VIDEOS)) for _ in range(3)]
    seconds, looped = timed(lambda: loop(agreements, given.loop))
    rounds += [timed(lambda: resample(agreements, VIDEOS)) for _ in range(2)]
    found = rounds[0][1]
    ours = [statistics.median(all_) for all_ in zip(*(took for took, _ in rounds), strict=True)]
    theirs = [one * RESAMPLES / given.loop for one in seconds]
    intervals = None
    if given.loop == RESAMPLES:
        pairs = [
            (interval(found[:, d, m]), interval(looped[:, d, m]))
            for d in range(len(DIMENSIONS))
            for m in range(len(METRICS))
        ]
        intervals = float(np.max(np.abs(np.diff(np.array(pairs), axis=1))))
    results = {
        "videos": VIDEOS,
        "dimensions": len(DIMENSIONS),
        "resamples": RESAMPLES,
        "metrics": list(METRICS),
        "at_once": {"seconds": ours[0], "cpu_seconds": ours[1]},
        "at_once_all": [took for took, _ in rounds],
        "scipy_loop": {"seconds": theirs[0], "cpu_seconds": theirs[1]},
        "scipy_loop_resamples_run": given.loop,
        "ratio": {"seconds": theirs[0] / ours[0], "cpu_seconds": theirs[1] / ours[1]},
        "largest_difference_of_a_resample": float(np.abs(found[: given.loop] - looped).max()),
        "largest_difference_of_an_interval": intervals,
    }
    text = json.dumps(results, indent=2)
    out = Path(__file__).parent / "results" / "metrics.json"
    out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
