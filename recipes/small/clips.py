"""Step 1: make the training clips.

    python clips.py PHOTOGRAPHS OUT --count 3000 --processes 2

Writes OUT/clips/*.mkv, *.avi and *.mp4, and beside each clip OUT/truth/*.json: its scene and
recipe, and how strong each distortion is. Every second scene is made as the demo makes its own
(studio.py), the others with all distortions and encoders. A run that was stopped goes on; a clip
depends on the seed and its number alone, so more can be made later.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import studio
from distortions import SHARE, TYPES, Recipe, grade, render
from scenes import WORLDS, Scene, View

from finevq.dataset.demo import distortions as demo
from finevq.dataset.demo.frames import FPS, FRAMES, HEIGHT, WIDTH, write_video

VERSIONS = 5
"""Clips of one scene."""

LADDERS = 0.45
"""Share of the scenes whose versions differ in the strength of one distortion alone."""

LINES = {240: 0.3, 288: 0.12, 360: 0.3, 480: 0.15, 540: 0.05, 720: 0.06, 1080: 0.02}
"""Heights of the frames, or widths of upright ones, with their shares."""

FIRST, SMALL = 108, {240: 0.55, 288: 0.2, 360: 0.17, 480: 0.05, 720: 0.03}
"""After so many scenes they are mostly small: a clip's pixels are what its making costs, and many
scenes teach more than large ones."""


EVEN, ACTIVE = 363, 0.75
"""From this scene on there are no ladders, and each dimension of each version is distorted with
this probability: before, three labels in five were "excellent", and so were the words learned."""


def draw_scene(number: int, rng: np.random.Generator, photographs: list[str]) -> Scene:
    """The scene of a number: three in four are photographs."""
    world = rng.random() < 0.25
    picture = f"world:{rng.choice(WORLDS)}" if world else str(rng.choice(photographs))
    shares = LINES if number < FIRST else SMALL
    lines = int(rng.choice(list(shares), p=list(shares.values())))
    aspect = float(rng.choice([16 / 9, 4 / 3, 1.0], p=[0.6, 0.25, 0.15]))
    long = round(lines * aspect / 2) * 2
    upright = rng.random() < 0.3
    fps = int(rng.choice([24, 25, 30]))
    low, high = (36, 72) if lines < 480 else (34, 50) if lines < 720 else (33, 38)
    if number >= FIRST:
        low, high = (34, 48) if lines < 480 else (33, 38)
    frames = int(rng.integers(low, high))
    if lines <= 360 and rng.random() < (0.06 if number < FIRST else 0.02):
        frames = int(rng.integers(100, 10 * fps + 1))
    width, height = (lines, long) if upright else (long, lines)
    return Scene(picture, int(rng.integers(2**31)), width, height, frames, fps)


def draw_recipes(number: int, rng: np.random.Generator) -> list[Recipe]:
    """The versions of a scene: a ladder of one distortion, or mixes, the first nearly clean."""
    dimensions = list(TYPES)
    even = number >= EVEN
    ladder = rng.random() < LADDERS and not even
    target = str(rng.choice(dimensions))
    types = {d: draw_type(rng, d) for d in dimensions}
    seed = int(rng.integers(2**31))
    # What the ladder's other dimensions have in common: mostly nothing.
    common = {d: float(rng.uniform(0.1, 0.7)) if rng.random() < 0.3 else 0.0 for d in dimensions}
    recipes = []
    for version in range(VERSIONS):
        strengths = {}
        for d in dimensions:
            if ladder:
                step = (version + rng.uniform(-0.3, 0.3)) / (VERSIONS - 1)
                strengths[d] = float(np.clip(step, 0, 1)) if d == target else common[d]
            else:
                active = rng.random() < ACTIVE if even else version > 0 and rng.random() < 0.65
                strengths[d] = float(rng.uniform(0.08, 1) if active else rng.uniform(0, 0.05))
        if not ladder:
            types = {d: draw_type(rng, d) for d in dimensions}
            seed = int(rng.integers(2**31))
        recipes.append(Recipe(types, {d: round(v, 4) for d, v in strengths.items()}, seed))
    return recipes


def draw_type(rng: np.random.Generator, dimension: str) -> str:
    """One of the types of a dimension."""
    shares = np.array([SHARE.get(name, 1) for name in TYPES[dimension]], float)
    return str(rng.choice(TYPES[dimension], p=shares / shares.sum()))


def make(number: int, seed: int, photographs: Path, out: Path) -> str:
    """Make one clip, unless it is there; its truth is written last."""
    truth = out / "truth" / f"{number:05}.json"
    if truth.is_file():
        return "there"
    scene_number, version = divmod(number, VERSIONS)
    rng = np.random.default_rng([seed, scene_number])
    began = time.process_time()
    make_one = _studio if scene_number % 2 else _field
    content = make_one(rng, version, photographs, out / "clips" / f"{number:05}")
    content["seconds"] = round(time.process_time() - began, 2)
    part = truth.with_suffix(".part")
    part.write_text(json.dumps(content), "utf-8")
    os.replace(part, truth)
    return f"{content['seconds']} s"


def _field(rng: np.random.Generator, version: int, photographs: Path, stem: Path) -> dict[str, Any]:
    """Make a clip of all distortions and encoders, at path `stem` and a suffix: what is known."""
    names = sorted(path.name for path in photographs.glob("*.jpg"))
    number = int(stem.name) // VERSIONS
    scene = draw_scene(number, rng, names)
    recipe = draw_recipes(number, rng)[version]
    view = View(scene, photographs, grade(recipe.types["color"], recipe.strengths["color"],
                                          recipe.seed))  # fmt: skip
    file, suffix, strengths = render(view, recipe)
    path = stem.with_suffix(f".{suffix}")
    path.with_suffix(".part").write_bytes(file)
    os.replace(path.with_suffix(".part"), path)
    return {
        "video": f"clips/{path.name}",
        "group": group(scene.picture, scene.seed),
        "scene": asdict(scene),
        "recipe": asdict(recipe),
        "strengths": strengths,
    }


def _studio(
    rng: np.random.Generator, version: int, photographs: Path, stem: Path
) -> dict[str, Any]:
    """Make a clip as the demo makes its own."""
    names = sorted(path.name for path in photographs.glob("*.jpg"))
    picture, scene_seed = studio.draw_picture(rng, names), int(rng.integers(2**31))
    even = int(stem.name) // VERSIONS >= EVEN
    actives = [ACTIVE if even else 0.0 if v == 0 else 0.6 for v in range(VERSIONS)]
    recipe = [studio.draw_recipe(rng, active) for active in actives][version]
    draw = studio.draw_of(picture, scene_seed, photographs, recipe.seed)
    path, part = stem.with_suffix(".mp4"), stem.with_suffix(".part.mp4")
    write_video(part, demo.render(draw, recipe))
    os.replace(part, path)
    known = asdict(recipe)
    if recipe.types["color"] == "color cast":
        known["types"] = recipe.types | {"color": "other color distortion"}
    scene = Scene(picture, scene_seed, WIDTH, HEIGHT, FRAMES, FPS)
    return {
        "video": f"clips/{path.name}",
        "group": group(f"studio {picture}" if ":" in picture else picture, scene_seed),
        "scene": asdict(scene),
        "recipe": known,
        "strengths": {d: round(s, 4) for d, s in recipe.strengths.items()},
    }


def group(picture: str, seed: int) -> str:
    """What clips of both sides of a split must not have in common: a photograph or a world."""
    return f"{picture}:{seed}" if ":" in picture else picture


def attempt(number: int, seed: int, photographs: Path, out: Path) -> str:
    """As `make`; a clip that fails is named and left out."""
    try:
        return make(number, seed, photographs, out)
    except Exception as error:  # one clip of thousands must not stop the others
        return f"FAILED {type(error).__name__}: {error}"


def main() -> None:
    """Make all clips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="a folder of *.jpg")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    for name in ("clips", "truth"):
        (given.out / name).mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with ProcessPoolExecutor(given.processes) as pool:
        tasks = [
            pool.submit(attempt, number, given.seed, given.photographs, given.out)
            for number in range(given.count)
        ]
        for number, task in enumerate(tasks):
            print(f"{time.monotonic() - began:7.0f} s  {number:05}  {task.result()}", flush=True)


if __name__ == "__main__":
    main()
