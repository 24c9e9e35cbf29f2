"""The demo's data set: real H.264 files with known distortions, rated by simulated subjects.

Every source scene appears in several versions; a scene is wholly in one part of the split. The
videos, labels and split depend on nothing but the seed. The price: 200 files, about 60 MB.
"""

import csv
import json
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..videos import DIMENSIONS
from .distortions import TYPES, Recipe, render, write_video
from .scenes import PHOTOGRAPHS, SCENES, scene

DISTORTIONS = DIMENSIONS[:-1]
"""The five dimensions that are distorted; `overall` follows from them."""

VERSIONS = 8
"""Versions of each scene."""

SUBJECTS = 20
"""Simulated raters (FineVD: 22, paper section 3.2)."""

TEST_SCENES = (
    "coffee",
    "gravel",
    "china",
    "portrait",
    "city",
    "dunes",
)
VAL_SCENES = ("cat", "tissue", "plasma")
"""Scenes held out of training; all others train."""


@dataclass(frozen=True)
class DemoVideo:
    """A video to make: its scene, what is done to it, and its true quality in [0, 1]."""

    scene: str
    name: str
    world_seed: int
    recipe: Recipe
    quality: Mapping[str, float]


def generate_demo(
    folder: Path,
    *,
    seed: int = 0,
    processes: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Make the demo's data set in `folder`, unless it is there already.

    Args:
        folder: gets clips/*.mp4, videos.csv, ratings.csv, questions.jsonl and splits/scenes.csv.
        seed: of everything that is drawn.
        processes: how many processes draw and encode.
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
    _write_questions(folder / "questions.jsonl", videos, rng)
    _write_split(folder / "splits" / "scenes.csv", videos)
    _write_videos(folder / "videos.csv", videos, ratings)


def plan_demo(seed: int) -> list[DemoVideo]:
    """Draw the recipes: a scene's first version is nearly clean, the others mix distortions."""
    videos = []
    for number, name in enumerate(SCENES):
        rng = np.random.default_rng([seed, 0, number])
        world_seed = int(rng.integers(2**31))
        for version in range(VERSIONS):
            strengths = _strengths(rng, clean=version == 0)
            recipe = Recipe(
                types={d: str(rng.choice(TYPES[d])) for d in DISTORTIONS},
                strengths=strengths,
                seed=int(rng.integers(2**31)),
            )
            file = f"clips/{name}_{version}.mp4"
            videos.append(DemoVideo(name, file, world_seed, recipe, true_quality(strengths)))
    return videos


def _strengths(rng: np.random.Generator, *, clean: bool) -> dict[str, float]:
    drawn = {}
    for dimension in DISTORTIONS:
        active = rng.random() < 0.6 and not clean
        drawn[dimension] = round(float(rng.uniform(0.1, 1) if active else rng.uniform(0, 0.06)), 3)
    return drawn


def true_quality(strengths: Mapping[str, float]) -> dict[str, float]:
    """Quality in [0, 1] by dimension; overall is halfway between mean and worst (paper, A.3)."""
    quality = {d: 1 - strengths[d] for d in DISTORTIONS}
    values = list(quality.values())
    return quality | {"overall": 0.5 * min(values) + 0.5 * sum(values) / len(values)}


def rate(quality: list[Mapping[str, float]], rng: np.random.Generator) -> NDArray[np.int64]:
    """Ratings of simulated subjects on the five-level scale.

    Each subject has a bias and a scatter of their own.

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


def _write_questions(path: Path, videos: list[DemoVideo], rng: np.random.Generator) -> None:
    """Five yes-or-no and two "which" questions a video, in the official wording and layout."""
    with path.open("w", encoding="utf-8") as file:
        for video in videos:
            for text, answer in _questions(video, rng):
                turns = [{"from": "human", "value": text}, {"from": "ai", "value": answer}]
                file.write(json.dumps({"video": video.name, "conversations": turns}) + "\n")


def _questions(video: DemoVideo, rng: np.random.Generator) -> list[tuple[str, str]]:
    strengths, visible = video.recipe.strengths, 0.3
    asked = []
    for d in DISTORTIONS:
        what = f"{d} distortion" if d in ("color", "temporal") else d
        text = (
            f"If there is no {what} in the video, please answer [No]. "
            f"If there is {what} in the video, please answer [Yes]."
        )
        asked.append((text, "Yes" if strengths[d] > visible else "No"))
    worst = max(DISTORTIONS, key=lambda d: strengths[d])
    good = strengths[worst] <= visible
    others = [d for d in DISTORTIONS if strengths[d] <= visible and d != worst]

    right = "None" if good else video.recipe.types[worst]
    wrong = [str(rng.choice(TYPES[d])) for d in others[:3]] + ([] if good else ["None"])
    options, answer = _lettered(right, wrong, rng)
    asked.append(
        (
            f"Please select one distortion type from below options{options}"
            "Just answer the corresponding letter.",
            answer,
        )
    )
    right = "Video quality is good" if good else worst.capitalize()
    wrong = [d.capitalize() for d in DISTORTIONS if d != worst][:3]
    wrong += [] if good else ["Video quality is good"]
    options, answer = _lettered(right, wrong[-3:], rng)
    asked.append(
        (
            "Which distortion dimension has the greatest impact on video quality, choose from the "
            f"following options{options}(Just answer the corresponding letter)",
            answer,
        )
    )
    return asked


def _lettered(right: str, wrong: list[str], rng: np.random.Generator) -> tuple[str, str]:
    """Options in a drawn order with letters, and the letter of the right one."""
    options = [str(option) for option in rng.permutation([right, *wrong])]
    letters = "ABCDEFGH"
    listed = ", ".join(f"{a}:[{o}]" for a, o in zip(letters, options, strict=False))
    return "{" + listed + "}", letters[options.index(right)]
