"""Scenes of the demo that are computed: endless planes with moving shapes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frames import HEIGHT, WIDTH, Frame, Source
from .palettes import mix, random_palette

World = Callable[[Frame, Frame, float], NDArray[Any]]
"""Colors a plane: coordinates u, v (HEIGHT, WIDTH) and a time in seconds to RGB."""


def _fractal(u: Frame, v: Frame, phases: NDArray[np.float64], time: float) -> Frame:
    """Sum of waves with a 1/f spectrum, in [0, 1]."""
    total = np.zeros_like(u)
    for k, (angle, phase, drift) in enumerate(phases):
        frequency = 2.0 * 1.28**k
        wave = frequency * (u * np.cos(angle) + v * np.sin(angle)) + phase + drift * time
        total += np.sin(wave).astype(np.float32) / frequency
    scaled: Frame = 0.5 + 0.5 * total / np.abs(total).max()
    return scaled


def _tiles(rng: np.random.Generator) -> World:
    palette, kinds = random_palette(rng, 6), rng.integers(0, 6, (64, 64))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        row, column = np.floor(v * 5).astype(int), np.floor(u * 5 + 0.4 * time).astype(int)
        inside = ((v * 5) % 1 - 0.5) ** 2 + ((u * 5 + 0.4 * time) % 1 - 0.5) ** 2
        base = palette[kinds[row % 64, column % 64]]
        shade = np.where(inside < 0.13, 1.25, 0.75) + 0.1 * np.sin(60 * (u + v))
        image: NDArray[Any] = base * shade[..., None]
        return image

    return world


def _bubbles(rng: np.random.Generator) -> World:
    palette = random_palette(rng, 14)
    spots = rng.uniform((-1.2, -1, 0.06, -0.5, -0.5), (1.2, 1, 0.24, 0.5, 0.5), (14, 5))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        image = mix((v + 1) / 2, palette[:3])
        for color, (x, y, radius, dx, dy) in zip(palette, spots, strict=True):
            right, down = u - x - dx * np.sin(time), v - y - dy * np.cos(time)
            # Only the rows and columns that the bubble covers.
            near = np.ix_(np.abs(down[:, 0]) < radius, np.abs(right[0]) < radius)
            distance = np.hypot(right[near], down[near]) / radius
            cover = np.clip((1 - distance) * 20, 0, 1)[..., None]
            lit = color * (1.2 - 0.6 * np.minimum(distance, 1))[..., None]
            image[near] = image[near] * (1 - cover) + lit * cover
        return image

    return world


def _waves(rng: np.random.Generator) -> World:
    palette, phases = random_palette(rng, 4), rng.uniform((0, 0, -3), (6.3, 6.3, 3), (12, 3))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        surface = _fractal(u * 2, v * 5, phases, time)
        return mix(surface, palette) + (np.clip(surface - 0.8, 0, 1) * 2)[..., None]

    return world


def _city(rng: np.random.Generator) -> World:
    heights, palette = rng.uniform(-0.7, 0.6, 64), random_palette(rng, 64)
    lights = rng.uniform(0, 1, (64, 64))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        along = u * 4 + 0.5 * time
        house = np.floor(along).astype(int) % 64
        wall = v > heights[house]
        window = (np.abs(along * 5 % 1 - 0.5) < 0.3) & (np.abs(v * 14 % 1 - 0.5) < 0.3)
        lit = lights[house, np.floor(v * 14).astype(int) % 64] > 0.5
        sky = mix(np.clip((v + 1) / 2, 0, 1), palette[:3])
        walls = palette[house] * 0.6 + (window & lit)[..., None] * np.array(
            [0.5, 0.45, 0.2], np.float32
        )
        return np.where(wall[..., None], walls, sky).astype(np.float32)

    return world


def _clouds(rng: np.random.Generator) -> World:
    palette = np.array([[0.2, 0.45, 0.8], [0.55, 0.7, 0.9], [0.95, 0.95, 0.97]], np.float32)
    phases = rng.uniform((0, 0, -0.5), (6.3, 6.3, 0.5), (16, 3))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        return mix(_fractal(u + 0.1 * time, v, phases, time), palette)

    return world


def _fireworks(rng: np.random.Generator) -> World:
    palette = random_palette(rng, 8) * 0.5 + 0.5
    sparks = rng.uniform((-1.1, -0.9, 0, 0), (1.1, 0.7, 6.3, 2), (8, 4))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        image = mix((v + 1) / 2, np.array([[0.02, 0.02, 0.1], [0.1, 0.08, 0.2]], np.float32))
        for color, (x, y, phase, start) in zip(palette, sparks, strict=True):
            age = (time + start) % 2
            angle, radius = np.arctan2(v - y, u - x), np.hypot(u - x, v - y)
            rays = np.cos(9 * angle + phase) ** 8
            ring = np.exp(-(((radius - 0.3 * age) / 0.05) ** 2)) * (1 - age / 2)
            image = image + (rays * ring)[..., None] * color * 1.5
        return image

    return world


def _dunes(rng: np.random.Generator) -> World:
    palette, phases = random_palette(rng, 5), rng.uniform((0, 0, -0.2), (6.3, 6.3, 0.2), (10, 3))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        height = _fractal(u, v * 0.6, phases, time)
        ripple = 0.5 + 0.5 * np.sin(90 * height + 25 * v)
        image: NDArray[Any] = mix(height, palette) * (0.8 + 0.3 * ripple)[..., None]
        return image

    return world


def _plasma(rng: np.random.Generator) -> World:
    palette, phases = random_palette(rng, 7), rng.uniform((0, 0, -4), (6.3, 6.3, 4), (8, 3))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        return mix(_fractal(u * 2.5, v * 2.5, phases, time), palette)

    return world


WORLDS: dict[str, Callable[[np.random.Generator], World]] = {
    "tiles": _tiles,
    "bubbles": _bubbles,
    "waves": _waves,
    "city": _city,
    "clouds": _clouds,
    "fireworks": _fireworks,
    "dunes": _dunes,
    "plasma": _plasma,
}
"""By name, the function that draws such a world at random."""


def world_source(name: str, rng: np.random.Generator) -> Source:
    """A world drawn at random, with a fine grain."""
    world = WORLDS[name](rng)
    waves = rng.uniform((60, 0, 0), (300, 2 * np.pi, 2 * np.pi), (8, 3))

    def draw(x: float, y: float, half: float, time: float) -> Frame:
        aspect = WIDTH / HEIGHT
        u = (np.linspace(-half, half, WIDTH, dtype=np.float32) + x) * aspect
        v = np.linspace(-half, half, HEIGHT, dtype=np.float32) + y
        grid = np.meshgrid(u, v)
        image = world(grid[0], grid[1], time) * _texture(grid[0], grid[1], waves)[..., None]
        clipped: Frame = np.clip(image, 0, 1).astype(np.float32)
        return clipped

    return draw


def _texture(u: Frame, v: Frame, waves: NDArray[np.float64]) -> Frame:
    """Factors of about 1: a fine grain fixed to the world, so that blur shows on smooth worlds."""
    total = np.zeros_like(u)
    for frequency, angle, phase in np.asarray(waves, np.float32):
        total += np.sin(frequency * (u * np.cos(angle) + v * np.sin(angle)) + phase)
    return 1 + np.float32(0.03) * total
