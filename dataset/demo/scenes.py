"""Source scenes of the demo: sample photographs under a virtual camera, and procedural worlds.

A scene is drawn frame by frame from a time in seconds, so that the demo can drop, repeat and shake
frames at the source, as a camera does, and not only in an encoded file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import DatasetError

WIDTH, HEIGHT = 256, 256
"""Size of the demo's videos in pixels."""

Frame = NDArray[Any]
"""One frame (HEIGHT, WIDTH, 3), RGB in [0, 1]."""

# Photographs that the wheels of scikit-image, scikit-learn and matplotlib carry.
PHOTOGRAPHS = {
    "astronaut": ("skimage.data", "astronaut.png"),
    "brick": ("skimage.data", "brick.png"),
    "camera": ("skimage.data", "camera.png"),
    "cat": ("skimage.data", "chelsea.png"),
    "coffee": ("skimage.data", "coffee.png"),
    "coins": ("skimage.data", "coins.png"),
    "galaxies": ("skimage.data", "hubble_deep_field.jpg"),
    "grass": ("skimage.data", "grass.png"),
    "gravel": ("skimage.data", "gravel.png"),
    "moon": ("skimage.data", "moon.png"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "retina": ("skimage.data", "retina.jpg"),
    "rocket": ("skimage.data", "rocket.jpg"),
    "tissue": ("skimage.data", "ihc.png"),
    "china": ("sklearn.datasets.images", "china.jpg"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "portrait": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
GRAY = ("brick", "camera", "coins", "grass", "gravel", "moon")
"""Photographs without color; they are tinted, as loss of color would not show on them."""

PROCEDURAL = ("tiles", "bubbles", "waves", "city", "clouds", "fireworks", "dunes", "plasma")

SCENES = (*PHOTOGRAPHS, *PROCEDURAL)
"""Names of all source scenes."""


@dataclass(frozen=True)
class Camera:
    """A slow hand-held move over a scene; units are shares of the view's height."""

    pan: tuple[float, float]
    zoom: float
    zoom_speed: float
    sway: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Camera":
        """A camera that moves visibly and keeps inside the picture."""
        angle = rng.uniform(0, 2 * np.pi)
        speed = rng.uniform(0.14, 0.2)
        return cls(
            pan=(speed * np.cos(angle), speed * np.sin(angle)),
            zoom=rng.uniform(0.6, 0.75),
            zoom_speed=rng.uniform(-0.03, 0.03),
            sway=rng.uniform(0.004, 0.012),
        )

    def view(self, time: float, shake: tuple[float, float]) -> tuple[float, float, float]:
        """Centre offset (x, y) and half-size of the view at a time in seconds."""
        x = self.pan[0] * (time - 1.0) + self.sway * np.sin(2.1 * time) + shake[0]
        y = self.pan[1] * (time - 1.0) + self.sway * np.cos(1.7 * time) + shake[1]
        return x, y, self.zoom + self.zoom_speed * time


Draw = Callable[[float, tuple[float, float]], Frame]
"""Draws the frame at a time in seconds with a camera shake (x, y)."""


def scene(name: str, world_seed: int, *, camera_seed: int) -> Draw:
    """A scene seen by a camera; the same name and seeds give the same frames."""
    camera = Camera.random(np.random.default_rng(camera_seed))
    rng = np.random.default_rng(world_seed)
    source = (
        _photographed(name, rng) if name in PHOTOGRAPHS else _procedural(_WORLDS[name](rng), rng)
    )
    grade = Grade.of(source(0.0, 0.0, 0.8, 1.0))
    return lambda time, shake: grade(source(*camera.view(time, shake), time))


@dataclass(frozen=True)
class Grade:
    """Brings a source to middle exposure, neutral white, and moderate color and sharpness.

    Without it, what is dark, pale or soft by nature would pass for distorted.
    """

    gamma: float
    tint: NDArray[Any]
    saturation: float
    sharpening: float

    @classmethod
    def of(cls, frame: Frame) -> "Grade":
        """The grade that a frame needs."""
        gamma = float(np.clip(np.log(0.45) / np.log(frame.mean()), 0.4, 2.5))
        chroma = _chroma(frame**gamma)
        tint = chroma.mean(axis=(0, 1))
        saturation = float(np.clip(0.07 / np.abs(chroma - tint).mean(), 0.3, 3))
        detail = np.abs(_detail(frame**gamma)).mean()
        sharpening = float(np.clip(0.02 / detail - 1, -0.7, 2))
        return cls(gamma, tint, saturation, sharpening)

    def __call__(self, frame: Frame) -> Frame:
        """The graded frame."""
        graded = frame**self.gamma
        chroma = _chroma(graded)
        graded = graded - chroma + (chroma - self.tint) * self.saturation
        graded = graded + self.sharpening * _detail(graded)
        return np.clip(graded, 0, 1).astype(np.float32)


def _chroma(frame: Frame) -> Frame:
    return frame - frame.mean(axis=-1, keepdims=True)


def _detail(frame: Frame) -> Frame:
    """What a 3 x 3 binomial filter takes away."""
    padded = np.pad(frame, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return frame - (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16


Source = Callable[[float, float, float, float], Frame]
"""What a camera sees at an offset (x, y) with a half-size, at a time in seconds."""


def _photographed(name: str, rng: np.random.Generator) -> Source:
    picture = photograph(name)
    if name in GRAY:
        picture = _tint(picture, rng)
    return lambda x, y, half, time: _look(picture, x, y, half)


def _procedural(world: "World", rng: np.random.Generator) -> Source:
    waves = rng.uniform((60, 0, 0), (300, 2 * np.pi, 2 * np.pi), (8, 3))

    def draw(x: float, y: float, half: float, time: float) -> Frame:
        aspect = WIDTH / HEIGHT
        u = (np.linspace(-half, half, WIDTH, dtype=np.float32) + x) * aspect
        v = np.linspace(-half, half, HEIGHT, dtype=np.float32) + y
        grid = np.meshgrid(u, v)
        image = world(grid[0], grid[1], time) * _texture(grid[0], grid[1], waves)[..., None]
        return np.clip(image, 0, 1).astype(np.float32)

    return draw


def _texture(u: Frame, v: Frame, waves: NDArray[np.float64]) -> Frame:
    """Fine grain of about 1, fixed to the world, so that blur shows on smooth worlds as well."""
    total = np.zeros_like(u)
    for frequency, angle, phase in np.asarray(waves, np.float32):
        total += np.sin(frequency * (u * np.cos(angle) + v * np.sin(angle)) + phase)
    return 1 + np.float32(0.03) * total


@cache
def photograph(name: str) -> Image.Image:
    """A sample photograph in RGB, cut to the videos' aspect ratio.

    Raises:
        DatasetError: the package that carries it is not installed.
    """
    package, file = PHOTOGRAPHS[name]
    try:
        with as_file(files(package).joinpath(file)) as path, Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise DatasetError(
            f"the demo's photograph {file} of {package} is missing; install the sample pictures "
            "with `pip install 'finevq[demo]'`"
        ) from error
    width = min(picture.width, picture.height * WIDTH // HEIGHT)
    height = min(picture.height, picture.width * HEIGHT // WIDTH)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _tint(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Color a gray photograph along black, two random colors and white."""
    palette = np.vstack([np.zeros(3), np.sort(_palette(rng, 2), axis=0), np.ones(3)])
    colored = _mix(
        np.asarray(picture.convert("L"), dtype=np.float32) / 255, np.asarray(palette, np.float32)
    )
    return Image.fromarray((colored * 255).astype(np.uint8))


def _look(picture: Image.Image, x: float, y: float, half: float) -> Frame:
    """Cut the view out of a picture; where it leaves the picture it is pushed back in."""
    half = min(half, 0.98)
    x = float(np.clip(x, half - 1, 1 - half))
    y = float(np.clip(y, half - 1, 1 - half))
    box = (
        (x - half + 1) / 2 * picture.width,
        (y - half + 1) / 2 * picture.height,
        (x + half + 1) / 2 * picture.width,
        (y + half + 1) / 2 * picture.height,
    )
    view = picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box)
    return np.asarray(view, dtype=np.float32) / 255


World = Callable[[Frame, Frame, float], NDArray[Any]]
"""Colours a plane: coordinates u, v (HEIGHT, WIDTH) and a time in seconds to RGB."""


def _palette(rng: np.random.Generator, colours: int) -> NDArray[Any]:
    return rng.uniform(0.08, 0.92, (colours, 3)).astype(np.float32)


def _mix(value: Frame, palette: NDArray[Any]) -> NDArray[Any]:
    """Colours for values in [0, 1], interpolated along a palette."""
    steps = np.linspace(0, 1, len(palette))
    channels = [np.interp(value, steps, palette[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _fractal(u: Frame, v: Frame, phases: NDArray[np.float64], time: float) -> Frame:
    """Sum of waves with a 1/f spectrum, in [0, 1]."""
    total = np.zeros_like(u)
    for k, (angle, phase, drift) in enumerate(phases):
        frequency = 2.0 * 1.28**k
        wave = frequency * (u * np.cos(angle) + v * np.sin(angle)) + phase + drift * time
        total += np.sin(wave).astype(np.float32) / frequency
    return 0.5 + 0.5 * total / np.abs(total).max()


def _tiles(rng: np.random.Generator) -> World:
    palette, kinds = _palette(rng, 6), rng.integers(0, 6, (64, 64))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        row, column = np.floor(v * 5).astype(int), np.floor(u * 5 + 0.4 * time).astype(int)
        inside = ((v * 5) % 1 - 0.5) ** 2 + ((u * 5 + 0.4 * time) % 1 - 0.5) ** 2
        base = palette[kinds[row % 64, column % 64]]
        shade = np.where(inside < 0.13, 1.25, 0.75) + 0.1 * np.sin(60 * (u + v))
        return base * shade[..., None]

    return world


def _bubbles(rng: np.random.Generator) -> World:
    palette = _palette(rng, 14)
    spots = rng.uniform((-1.2, -1, 0.06, -0.5, -0.5), (1.2, 1, 0.24, 0.5, 0.5), (14, 5))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        image = _mix((v + 1) / 2, palette[:3])
        for colour, (x, y, radius, dx, dy) in zip(palette, spots, strict=True):
            right, down = u - x - dx * np.sin(time), v - y - dy * np.cos(time)
            # Only the rows and columns that the bubble covers.
            near = np.ix_(np.abs(down[:, 0]) < radius, np.abs(right[0]) < radius)
            distance = np.hypot(right[near], down[near]) / radius
            cover = np.clip((1 - distance) * 20, 0, 1)[..., None]
            lit = colour * (1.2 - 0.6 * np.minimum(distance, 1))[..., None]
            image[near] = image[near] * (1 - cover) + lit * cover
        return image

    return world


def _waves(rng: np.random.Generator) -> World:
    palette, phases = _palette(rng, 4), rng.uniform((0, 0, -3), (6.3, 6.3, 3), (12, 3))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        surface = _fractal(u * 2, v * 5, phases, time)
        return _mix(surface, palette) + (np.clip(surface - 0.8, 0, 1) * 2)[..., None]

    return world


def _city(rng: np.random.Generator) -> World:
    heights, palette = rng.uniform(-0.7, 0.6, 64), _palette(rng, 64)
    lights = rng.uniform(0, 1, (64, 64))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        along = u * 4 + 0.5 * time
        house = np.floor(along).astype(int) % 64
        wall = v > heights[house]
        window = (np.abs(along * 5 % 1 - 0.5) < 0.3) & (np.abs(v * 14 % 1 - 0.5) < 0.3)
        lit = lights[house, np.floor(v * 14).astype(int) % 64] > 0.5
        sky = _mix(np.clip((v + 1) / 2, 0, 1), palette[:3])
        walls = palette[house] * 0.6 + (window & lit)[..., None] * np.array(
            [0.5, 0.45, 0.2], np.float32
        )
        return np.where(wall[..., None], walls, sky).astype(np.float32)

    return world


def _clouds(rng: np.random.Generator) -> World:
    palette = np.array([[0.2, 0.45, 0.8], [0.55, 0.7, 0.9], [0.95, 0.95, 0.97]], np.float32)
    phases = rng.uniform((0, 0, -0.5), (6.3, 6.3, 0.5), (16, 3))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        return _mix(_fractal(u + 0.1 * time, v, phases, time), palette)

    return world


def _fireworks(rng: np.random.Generator) -> World:
    palette = _palette(rng, 8) * 0.5 + 0.5
    sparks = rng.uniform((-1.1, -0.9, 0, 0), (1.1, 0.7, 6.3, 2), (8, 4))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        image = _mix((v + 1) / 2, np.array([[0.02, 0.02, 0.1], [0.1, 0.08, 0.2]], np.float32))
        for colour, (x, y, phase, start) in zip(palette, sparks, strict=True):
            age = (time + start) % 2
            angle, radius = np.arctan2(v - y, u - x), np.hypot(u - x, v - y)
            rays = np.cos(9 * angle + phase) ** 8
            ring = np.exp(-(((radius - 0.3 * age) / 0.05) ** 2)) * (1 - age / 2)
            image = image + (rays * ring)[..., None] * colour * 1.5
        return image

    return world


def _dunes(rng: np.random.Generator) -> World:
    palette, phases = _palette(rng, 5), rng.uniform((0, 0, -0.2), (6.3, 6.3, 0.2), (10, 3))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        height = _fractal(u, v * 0.6, phases, time)
        ripple = 0.5 + 0.5 * np.sin(90 * height + 25 * v)
        return _mix(height, palette) * (0.8 + 0.3 * ripple)[..., None]

    return world


def _plasma(rng: np.random.Generator) -> World:
    palette, phases = _palette(rng, 7), rng.uniform((0, 0, -4), (6.3, 6.3, 4), (8, 3))

    def world(u: Frame, v: Frame, time: float) -> NDArray[Any]:
        return _mix(_fractal(u * 2.5, v * 2.5, phases, time), palette)

    return world


_WORLDS: dict[str, Callable[[np.random.Generator], World]] = {
    "tiles": _tiles,
    "bubbles": _bubbles,
    "waves": _waves,
    "city": _city,
    "clouds": _clouds,
    "fireworks": _fireworks,
    "dunes": _dunes,
    "plasma": _plasma,
}
