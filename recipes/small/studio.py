"""Clips as the demo makes them, of scenes that it does not have.

The demo's scenes are graded to a middle exposure and a moderate color and sharpness, so that what
is wrong with a clip is wrong with nothing else. Its own scenes take no part here: these are of the
recipe's photographs, and of computed worlds of the kinds that the demo trains on, with other seeds.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from scenes import photograph

from finevq.dataset.demo import distortions, plan
from finevq.dataset.demo.frames import HEIGHT, WIDTH, Frame, Source
from finevq.dataset.demo.scenes import Camera, Draw, Grade
from finevq.dataset.demo.worlds import WORLDS, world_source

KINDS = [name for name in WORLDS if name not in (*plan.TEST_SCENES, *plan.VAL_SCENES)]
"""Kinds of worlds that the demo does not hold out."""


def draw_picture(rng: np.random.Generator, photographs: list[str]) -> str:
    """The picture of a scene: two in three are photographs."""
    if rng.random() < 1 / 3:
        return f"world:{rng.choice(KINDS)}"
    return str(rng.choice(photographs))


def draw_recipe(rng: np.random.Generator, active: float) -> distortions.Recipe:
    """What is done to a version of a scene, as in the demo; each dimension with a probability."""
    strengths = {}
    for dimension in distortions.TYPES:
        distorted = rng.random() < active
        strengths[dimension] = float(rng.uniform(0.1, 1) if distorted else rng.uniform(0, 0.06))
    types = {d: str(rng.choice(kinds)) for d, kinds in distortions.TYPES.items()}
    return distortions.Recipe(types, strengths, int(rng.integers(2**31)))


def draw_of(picture: str, seed: int, photographs: Path, camera_seed: int) -> Draw:
    """A scene under a camera."""
    rng = np.random.default_rng(seed)
    kind, _, world = picture.partition(":")
    source = world_source(world, rng) if kind == "world" else _part(photographs / picture, rng)
    camera = Camera.random(np.random.default_rng(camera_seed))
    grade = Grade.of(source(0.0, 0.0, 0.8, 1.0))
    return lambda time, shake: grade(source(*camera.view(time, shake), time))


def _part(path: Path, rng: np.random.Generator) -> Source:
    """A square part of a photograph, seen through a view that moves in it."""
    picture = photograph(path)
    side = round(min(picture.size) * rng.uniform(0.6, 1))
    left = int(rng.integers(0, picture.width - side + 1))
    top = int(rng.integers(0, picture.height - side + 1))
    picture = picture.crop((left, top, left + side, top + side))
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    def view(x: float, y: float, half: float, time: float) -> Frame:
        half = min(half, 0.98)
        x, y = (float(np.clip(v, half - 1, 1 - half)) for v in (x, y))
        box = tuple((v + 1) / 2 * side for v in (x - half, y - half, x + half, y + half))
        seen = picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box)
        return np.asarray(seen, dtype=np.float32) / 255

    return view
