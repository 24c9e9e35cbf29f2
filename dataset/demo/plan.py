"""The plan of the demo's data set: which scenes are distorted how, and the true quality."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..videos import DISTORTION_DIMENSIONS
from .distortions import TYPES, Recipe
from .scenes import SCENES

VERSIONS = 8
"""Versions of each scene."""

TEST_SCENES = ("coffee", "gravel", "china", "portrait", "city", "dunes")
VAL_SCENES = ("cat", "tissue", "plasma")
"""Scenes held out of training; all others are in it."""


@dataclass(frozen=True)
class DemoVideo:
    """A video to make: its scene, how it is distorted, and its true quality in [0, 1]."""

    scene: str
    name: str
    world_seed: int
    recipe: Recipe
    quality: Mapping[str, float]


def plan_demo(seed: int) -> list[DemoVideo]:
    """Draw the recipes: a scene's first version is nearly clean, the others mix distortions."""
    videos = []
    for number, name in enumerate(SCENES):
        rng = np.random.default_rng([seed, 0, number])
        world_seed = int(rng.integers(2**31))
        for version in range(VERSIONS):
            strengths = _strengths(rng, clean=version == 0)
            recipe = Recipe(
                types={d: str(rng.choice(TYPES[d])) for d in DISTORTION_DIMENSIONS},
                strengths=strengths,
                seed=int(rng.integers(2**31)),
            )
            file = f"clips/{name}_{version}.mp4"
            videos.append(DemoVideo(name, file, world_seed, recipe, true_quality(strengths)))
    return videos


def _strengths(rng: np.random.Generator, *, clean: bool) -> dict[str, float]:
    drawn = {}
    for dimension in DISTORTION_DIMENSIONS:
        active = rng.random() < 0.6 and not clean
        drawn[dimension] = round(float(rng.uniform(0.1, 1) if active else rng.uniform(0, 0.06)), 3)
    return drawn


def true_quality(strengths: Mapping[str, float]) -> dict[str, float]:
    """Quality in [0, 1] by dimension; overall is halfway between mean and worst (paper, A.3)."""
    quality = {d: 1 - strengths[d] for d in DISTORTION_DIMENSIONS}
    values = list(quality.values())
    return quality | {"overall": 0.5 * min(values) + 0.5 * sum(values) / len(values)}
