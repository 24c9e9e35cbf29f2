"""The demo's data set: real H.264 files with known distortions, rated by simulated subjects.

Every source scene appears in several versions; all versions of a scene are in the same part of the
split. The videos, labels and split depend on nothing but the seed. The price: 200 files, about
60 MB.
"""

import csv
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, no_progress
from ..videos import DIMENSIONS
from .distortions import render
from .frames import write_video
from .photographs import PHOTOGRAPHS
from .plan import TEST_SCENES, VAL_SCENES, DemoVideo, plan_demo
from .questions import write_questions
from .scenes import scene

SUBJECTS = 20
"""Simulated raters (FineVD: 22, paper section 3.2)."""


def generate_demo(
    folder: Path, *, seed: int = 0, processes: int = 2, progress: Progress = no_progress
) -> None:
    """Make the demo's data set in `folder`, unless it is already there.

    Args:
        folder: gets clips/*.mp4, videos.csv, ratings.csv, questions.jsonl and splits/scenes.csv.
        seed: of everything random.
        processes: how many processes draw and encode the videos.
        progress: called with the number of finished videos and their total.

    Raises:
        DatasetError: the sample photographs are not installed.
    """
    if (folder / "videos.csv").is_file():  # written last
        return
    videos = plan_demo(seed)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    # spawn: a forked child would inherit the threads of whatever the caller has running.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        tasks = [pool.submit(_make, folder, video) for video in videos]
        for done, task in enumerate(as_completed(tasks), start=1):
            task.result()
            progress(done, len(tasks))
    rng = np.random.default_rng([seed, 1])
    ratings = rate([video.quality for video in videos], rng)
    _write_ratings(folder / "ratings.csv", videos, ratings)
    write_questions(folder / "questions.jsonl", videos, rng)
    _write_split(folder / "splits" / "scenes.csv", videos)
    _write_videos(folder / "videos.csv", videos, ratings)


def rate(quality: list[Mapping[str, float]], rng: np.random.Generator) -> NDArray[np.int64]:
    """Ratings of simulated subjects, who each have a bias and a scatter of their own.

    Returns:
        Integers 1 (bad) to 5 (excellent), shape (videos, dimensions, subjects).
    """
    truth = np.array([[row[d] for d in DIMENSIONS] for row in quality])[..., None]
    bias = rng.normal(0, 0.3, SUBJECTS)
    scatter = rng.uniform(0.3, 0.7, SUBJECTS)
    noise = rng.standard_normal((*truth.shape[:2], SUBJECTS)) * scatter
    return np.clip(np.rint(1 + 4 * truth + bias + noise), 1, 5).astype(np.int64)


def _make(folder: Path, video: DemoVideo) -> None:
    draw = scene(video.scene, video.world_seed, camera_seed=video.recipe.seed)
    write_video(folder / video.name, render(draw, video.recipe))


def _write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _write_ratings(path: Path, videos: list[DemoVideo], ratings: NDArray[np.int64]) -> None:
    rows: list[list[object]] = [
        [f"subject{s:02}", video.name, dimension, int(ratings[v, d, s])]
        for v, video in enumerate(videos)
        for d, dimension in enumerate(DIMENSIONS)
        for s in range(SUBJECTS)
    ]
    _write_csv(path, ["subject", "video", "dimension", "score"], rows)


def _write_videos(path: Path, videos: list[DemoVideo], ratings: NDArray[np.int64]) -> None:
    mos = (ratings.mean(axis=-1) - 1) / 4 * 100
    rows: list[list[object]] = [
        [video.name, *(round(float(m), 2) for m in mos[v]), _category(video)]
        for v, video in enumerate(videos)
    ]
    _write_csv(path, ["video", *DIMENSIONS, "category"], rows)


def _category(video: DemoVideo) -> str:
    return "photograph" if video.scene in PHOTOGRAPHS else "procedural"


def _write_split(path: Path, videos: list[DemoVideo]) -> None:
    parts = dict.fromkeys(TEST_SCENES, "test") | dict.fromkeys(VAL_SCENES, "val")
    _write_csv(path, ["video", "part"], [[v.name, parts.get(v.scene, "train")] for v in videos])
