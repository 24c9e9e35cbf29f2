"""Extraction over a folder of arbitrary files, good and broken.

    .venv/bin/python benchmarks/corpus.py FOLDER [--limit 30] [--workers 2]

Lists every file below the folder as a video and runs `finevq extract` on them, in a process that
may take as long as all files at their time limit. Each file must end with features or with a
recorded reason, and the store must pass verification. Numbers in reasons are replaced by N, so that
equal reasons are counted together; names of files are not shown.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from finevq.cache.care.verify import verify
from finevq.cache.store import FeatureStore

START_S = 120
"""Seconds that a job may take to start and to end, on a busy machine."""

TRIES = 2
"""Decoders that try a video, each up to the time limit."""


def listed(folder: Path, manifest: Path) -> int:
    """Write a manifest of every file below a folder; returns how many there are."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    with manifest.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["video"], *([name] for name in names)])
    return len(names)


def extract(folder: Path, work: Path, limit: float, workers: int, timeout: float) -> float:
    """Run the job; returns the seconds that it took."""
    changes = {
        "dataset.name": "corpus",
        "dataset.folder": work,
        "dataset.root": folder,
        "cache.path": work / "features",
        "extract.decode.timeout_s": limit,
        "extract.cluster.workers": workers,
    }
    sets = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "finevq", "extract", *sets]
    began = time.perf_counter()
    subprocess.run(command, check=True, timeout=timeout, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=float, default=30.0, help="seconds that a decoder may take")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work, folder = Path(temporary), given.folder.absolute()
        files = listed(folder, work / "videos.csv")
        timeout = START_S + files * TRIES * given.limit
        seconds = extract(folder, work, given.limit, given.workers, timeout)
        store = FeatureStore.open(str(work / "features"))
        info, failures = store.info(), store.failures()
        assert info["ok"] + info["failed"] == files, "a file has neither features nor a reason"
        assert all(failures.values()), "a file failed without a reason"
        assert not list(verify(store)), "the store does not verify"
    reasons = Counter(re.sub(r"\d+", "N", reason) for reason in failures.values())
    found = {
        "files": files,
        "features": info["ok"],
        "failed": info["failed"],
        "reasons": dict(reasons.most_common()),
        "limit_s": given.limit,
        "stopped_at_the_limit": sum("took longer than" in r for r in failures.values()),
        "job_limit_s": timeout,
        "seconds": round(seconds, 1),
    }
    print(json.dumps(found, indent=2))
    results = Path(__file__).parent / "results"
    (results / "corpus.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
