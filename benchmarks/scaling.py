"""Two workers against one, and what a plan of a million videos costs the scheduler.

    .venv/bin/python benchmarks/scaling.py [--videos 48] [--rounds 3] [--planned 1000000]

Workers: one thread each, on short videos of 128 x 96 pixels, so that the forward pass takes most of
the time. A single worker decodes and writes on the second core, which two workers do not have free.
How much that matters depends on the forward pass, so there are runs with 2 and with 8 clips.

Plan: as many videos as given, 16 a shard, are planned in a real store, and two workers run a
stand-in task that returns at once. So only the plan, Dask and the job around it are measured. The
peak of the memory is that of the process with the scheduler and the job, minus what it had before.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from extraction import changes, run_extract

from finevq.cache.identity import Identity
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.config import load_config
from finevq.extract.job.cluster import connect
from finevq.extract.job.dispatch import Paths, run_shards
from finevq.extract.job.run import videos_to_extract
from finevq.extract.job.worker import ShardReport

ROWS = 16
WIDTH, HEIGHT, FRAMES = 128, 96, 40
CLIPS = (2, 8)


def make_videos(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        noise = np.random.default_rng(number)
        with av.open(str(folder / f"{number:03}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for _ in range(FRAMES):
                pixels = np.full((HEIGHT, WIDTH, 3), noise.integers(256), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    lines = ["video", *(f"{number:03}.mp4" for number in range(count))]
    (folder / "videos.csv").write_text("\n".join(lines) + "\n")


def extraction(folder: Path, workers: int, clips: int) -> float:
    """Videos a second, from the moment that the cluster is ready."""
    shutil.rmtree(folder / "features", ignore_errors=True)
    tally = run_extract(folder, [*changes(folder, workers), f"extract.motion.clips={clips}"])
    assert tally["videos"]["left"] == tally["videos"]["failed"] == 0
    return float(tally["videos_per_s"])


def nothing(shard: int, paths: Paths, plugin: str) -> ShardReport:
    return ShardReport(shard, len(paths), {}, 0, 0, 0.0, 0.0, 0.0)


def planning(videos: int) -> dict[str, float]:
    settings = load_config(None, ["extract.cluster.workers=2"])[0].extract
    names = [f"planned/videos/{row:07}.mp4" for row in range(videos)]
    paths = {name: f"/data/{name}" for name in names}
    before = peak_mb()
    with tempfile.TemporaryDirectory() as folder, connect(settings) as client:
        began, done = time.perf_counter(), 0
        cache = CacheSettings(path=folder, stage="", rows_per_shard=ROWS, dtype="float16")
        shapes = {"spatial": (8, 256, 4096), "motion": (8, 2304)}
        store = FeatureStore.create(f"{folder}/store", Identity({"made": "of"}), shapes, cache)
        store.plan(names)
        videos_by_shard = videos_to_extract(store, paths, None, retry_failed=False)
        planned = time.perf_counter() - began
        for report in run_shards(client, videos_by_shard, paths, settings, "", nothing):
            done += report.videos
        seconds = time.perf_counter() - began
    return {
        "videos": done,
        "tasks": len(store.shards),
        "seconds": round(seconds, 1),
        "seconds_until_the_first_task": round(planned, 1),
        "milliseconds_a_task": round(1e3 * seconds / len(store.shards), 3),
        "peak_memory_growth_mb": round(peak_mb() - before, 1),
        "peak_memory_mb": round(peak_mb(), 1),
    }


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def scaling(videos: int, rounds: int) -> dict[str, object]:
    rates: dict[int, dict[int, list[float]]] = {clips: {1: [], 2: []} for clips in CLIPS}
    with tempfile.TemporaryDirectory() as folder:
        make_videos(Path(folder, "videos"), videos)
        for _ in range(rounds):
            for clips, by_workers in rates.items():
                for workers, found in by_workers.items():
                    found.append(round(extraction(Path(folder), workers, clips), 3))
                    print(f"{clips} clips, {workers} workers: {found[-1]} videos/s", flush=True)
    return {
        "videos": videos,
        "cores": os.cpu_count(),
        **{f"{clips}_clips_a_video": compared(found) for clips, found in rates.items()},
    }


def compared(rates: dict[int, list[float]]) -> dict[str, object]:
    one, two = (statistics.median(found) for found in rates.values())
    return {
        "videos_per_s": {str(workers): found for workers, found in rates.items()},
        "two_workers_over_one": round(two / one, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--planned", type=int, default=1_000_000)
    given = parser.parse_args()
    result = {"plan": planning(given.planned), "workers": scaling(given.videos, given.rounds)}
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("scaling.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
