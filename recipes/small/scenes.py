"""Source scenes of the training clips: a picture, a camera that moves over it, objects that move.

A picture is a photograph of the folder that is given, or a procedural world. It is drawn frame by
frame from a time in seconds, so that frames can be held, dropped and shaken at the source.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Pixels = NDArray[np.uint8]

MARGIN = 1.35
"""How much larger than the view a picture is at least; what is missing is mirrored."""


@dataclass(frozen=True)
class Scene:
    """What is filmed, and how: all versions of a scene share this.

    Attributes:
        picture: name of a photograph, or "world:KIND".
        seed: of the crop, the camera, the objects and the world.
        width: of the frames in pixels.
        height: of the frames in pixels.
        frames: number of frames.
        fps: frames a second.
    """

    picture: str
    seed: int
    width: int
    height: int
    frames: int
    fps: int


@dataclass(frozen=True)
class Sprite:
    """An object that moves: its pixels, its mask, and its way in shares of the view's height."""

    image: Image.Image
    mask: Image.Image
    start: tuple[float, float]
    speed: tuple[float, float]
    swing: tuple[float, float, float]


class View:
    """A scene that can be drawn at any time."""

    def __init__(
        self, scene: Scene, photographs: Path, grade: Callable[[Image.Image], Image.Image]
    ):
        """Prepare the picture.

        Args:
            scene: what to film.
            photographs: the folder of photographs.
            grade: a pointwise change of colors, applied once to the whole picture.
        """
        rng = np.random.default_rng(scene.seed)
        self.scene = scene
        picture = _picture(scene, photographs, rng)
        zoom = _zoom(scene, rng)  # pixels of the picture to one of the frame
        need = (round(scene.width * zoom * MARGIN), round(scene.height * zoom * MARGIN))
        picture = _mirrored(picture, need)
        self.picture = grade(picture)
        self.zoom = zoom
        angle = rng.uniform(0, 2 * np.pi)
        # A third of the cameras stand still, or nearly; then objects move.
        still = rng.random() < 0.3
        speed = rng.uniform(0, 0.02) if still else rng.uniform(0.06, 0.28)
        self.pan = speed * np.array([np.cos(angle), np.sin(angle)])
        self.zooming = 0.0 if still else float(rng.uniform(-0.05, 0.05))
        self.sway = float(rng.uniform(0, 0.01)) * (0 if still else 1)
        count = int(rng.integers(2, 5)) if still else int(rng.integers(0, 3))
        self.sprites = [_sprite(scene, photographs, grade, rng) for _ in range(count)]
        self.start = rng.uniform(-0.5, 0.5, 2)
        self.motion = speed + 0.12 * count
        """How much moves: view heights a second, of the camera, and a share for each object."""

    def draw(self, time: float, shake: tuple[float, float] = (0.0, 0.0)) -> Pixels:
        """The frame at a time in seconds, (height, width, 3), RGB.

        Args:
            time: in seconds.
            shake: offset of the camera in shares of the view's height.
        """
        s, length = self.scene, self.scene.frames / self.scene.fps
        zoom = self.zoom * (1 + self.zooming * (time - length / 2))
        w, h = s.width * zoom, s.height * zoom
        w, h = min(w, self.picture.width), min(h, self.picture.height)
        unit = s.height * zoom
        sway = self.sway * np.array([np.sin(2.1 * time), np.cos(1.7 * time)])
        at = self.pan * (time - length / 2) + sway + np.array(shake)
        room = np.array([self.picture.width - w, self.picture.height - h])
        x, y = np.clip(room * (0.5 + self.start * 0.6) + at * unit, 0, np.maximum(room, 0))
        frame = self.picture.resize(
            (s.width, s.height), Image.Resampling.BICUBIC, box=(x, y, x + w, y + h)
        )
        for sprite in self.sprites:
            far = sprite.swing
            px = sprite.start[0] + sprite.speed[0] * time + far[0] * np.sin(far[2] * time)
            py = sprite.start[1] + sprite.speed[1] * time + far[1] * np.cos(far[2] * time)
            place = ((px - shake[0]) * s.height, (py - shake[1]) * s.height)
            frame.paste(sprite.image, (round(place[0]), round(place[1])), sprite.mask)
        return np.asarray(frame)


def _zoom(scene: Scene, rng: np.random.Generator) -> float:
    if scene.height * scene.width > 700 * 900:
        return float(rng.uniform(0.75, 1.15))
    return float(rng.uniform(0.6, 2.2))


def _picture(scene: Scene, photographs: Path, rng: np.random.Generator) -> Image.Image:
    kind, _, world = scene.picture.partition(":")
    if kind == "world":
        return _world(world, rng)
    picture = photograph(photographs / scene.picture)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture


@lru_cache(maxsize=4)
def photograph(path: Path) -> Image.Image:
    """A photograph in RGB."""
    with Image.open(path) as opened:
        return opened.convert("RGB")


def _mirrored(picture: Image.Image, need: tuple[int, int]) -> Image.Image:
    """The picture continued by its mirror images until it is as large as needed."""
    pixels = np.asarray(picture)
    pad_x, pad_y = max(0, need[0] - picture.width), max(0, need[1] - picture.height)
    if pad_x or pad_y:
        around = ((pad_y // 2, pad_y - pad_y // 2), (pad_x // 2, pad_x - pad_x // 2), (0, 0))
        pixels = np.pad(pixels, around, mode="symmetric")
    return Image.fromarray(pixels)


def _sprite(
    scene: Scene,
    photographs: Path,
    grade: Callable[[Image.Image], Image.Image],
    rng: np.random.Generator,
) -> Sprite:
    """A part of a picture behind a soft-edged shape."""
    size = max(16, round(scene.height * float(rng.uniform(0.15, 0.45))))
    if scene.picture.startswith("world:") or rng.random() < 0.4:
        source = _world(str(rng.choice(WORLDS)), rng, size=512)
    else:
        source = photograph(photographs / scene.picture)
    side = min(source.width, source.height, max(round(size * self_zoom(rng)), 16))
    left = int(rng.integers(0, source.width - side + 1))
    top = int(rng.integers(0, source.height - side + 1))
    image = source.crop((left, top, left + side, top + side)).resize((size, size))
    mask = Image.new("L", (size, size), 0)
    pen = ImageDraw.Draw(mask)
    inner = (size // 16, size // 16, size - size // 16, size - size // 16)
    if rng.random() < 0.5:
        pen.ellipse(inner, fill=255)
    else:
        pen.rounded_rectangle(inner, radius=size // 6, fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(max(0.8, size / 150)))
    aspect = scene.width / scene.height
    return Sprite(
        grade(image),
        mask,
        (float(rng.uniform(0, aspect - 0.2)), float(rng.uniform(0, 0.8))),
        (float(rng.uniform(-0.15, 0.15)), float(rng.uniform(-0.1, 0.1))),
        (float(rng.uniform(0, 0.2)), float(rng.uniform(0, 0.12)), float(rng.uniform(1, 5))),
    )


def self_zoom(rng: np.random.Generator) -> float:
    """Pixels of the source to one of the object."""
    return float(rng.uniform(0.9, 1.8))


WORLDS = ("cells", "blocks", "text", "hills", "strips", "blobs", "weave", "rings")
"""Kinds of procedural worlds."""


def _world(kind: str, rng: np.random.Generator, size: int = 1440) -> Image.Image:
    """A world of one kind, size * 1.5 by size pixels."""
    width, height = size * 3 // 2, size
    image: Image.Image = _DRAWN[kind](rng, width, height)
    # Fine texture, without which blur and noise cannot be told from the world itself.
    pixels = np.asarray(image, np.float32)
    grain = _fractal(rng, width, height, first=max(8, size // 24))
    fine = rng.standard_normal((height, width)).astype(np.float32)
    strength = rng.uniform(6, 22)
    pixels = pixels + (strength * grain + rng.uniform(0, 2.5) * fine)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _fractal(
    rng: np.random.Generator, width: int, height: int, first: int = 2, fall: float = 0.55
) -> NDArray[Any]:
    """Noise with a spectrum that falls, from -1 to 1, (height, width), float32."""
    total = np.zeros((height, width), np.float32)
    cells, gain = first, 1.0
    while cells < height / 2 and gain > 0.04:
        grid = rng.uniform(-1, 1, (cells + 1, cells * width // height + 1)).astype(np.float32)
        layer = Image.fromarray(grid, mode="F").resize((width, height), Image.Resampling.BICUBIC)
        total += gain * np.asarray(layer)
        cells, gain = cells * 2, gain * fall
    peak: NDArray[Any] = total / np.abs(total).max()
    return peak


def _palette(rng: np.random.Generator, count: int) -> NDArray[Any]:
    """Colors that are mostly muted, as in natural pictures: (count, 3), 0 to 255."""
    gray = rng.uniform(30, 225, (count, 1))
    return np.clip(gray + rng.normal(0, rng.uniform(12, 45), (count, 3)), 0, 255)


def _colored(value: NDArray[Any], palette: NDArray[Any]) -> Image.Image:
    """Colors for values in [0, 1] along a palette."""
    steps = np.linspace(0, 1, 256)
    places = np.linspace(0, 1, len(palette))
    table = np.stack([np.interp(steps, places, palette[:, c]) for c in range(3)], axis=-1)
    index = np.clip(value * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(table.astype(np.uint8)[index])


def _hills(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    return _colored(0.5 + 0.5 * _fractal(rng, width, height), _palette(rng, 5))


def _weave(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    bend = 60 * _fractal(rng, width, height)
    period = rng.uniform(14, 50)
    angle = rng.uniform(0, np.pi)
    u = x * np.cos(angle) + y * np.sin(angle) + bend
    v = -x * np.sin(angle) + y * np.cos(angle) + bend
    value = 0.5 + 0.25 * (np.sin(u * 2 * np.pi / period) + np.sin(v * 2 * np.pi / period))
    return _colored(value, _palette(rng, 4))


def _rings(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    total = np.zeros_like(x)
    for _ in range(3):
        distance = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height))
        total += np.sin(distance / rng.uniform(8, 40))
    return _colored(0.5 + total / 6 + 0.1 * _fractal(rng, width, height), _palette(rng, 4))


def _cells(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    image = _colored(0.5 + 0.5 * _fractal(rng, width, height), _palette(rng, 3))
    pen, palette = ImageDraw.Draw(image), _palette(rng, 12)
    for _ in range(160):
        radius = rng.uniform(10, 110)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        color = tuple(int(c) for c in palette[rng.integers(12)])
        box = (x - radius, y - radius * 0.8, x + radius, y + radius * 0.8)
        pen.ellipse(box, fill=color, outline=(20, 20, 20) if rng.random() < 0.3 else None)
    return image


def _blocks(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Houses: boxes with rows of windows under a sky."""
    image = _colored(0.5 + 0.3 * _fractal(rng, width, height), _palette(rng, 2))
    pen, palette = ImageDraw.Draw(image), _palette(rng, 14)
    for _ in range(40):
        w, h = rng.uniform(80, 320), rng.uniform(100, 700)
        x, y = rng.uniform(-40, width), rng.uniform(0, height)
        wall, glass = (tuple(int(c) for c in palette[rng.integers(14)]) for _ in range(2))
        pen.rectangle((x, y, x + w, y + h), fill=wall)
        step = rng.uniform(18, 44)
        for row in np.arange(y + 8, y + h - step, step):
            for column in np.arange(x + 8, x + w - step, step):
                if rng.random() < 0.8:
                    pen.rectangle((column, row, column + step * 0.6, row + step * 0.6), fill=glass)
    return image


def _strips(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Lines and leaves of all directions."""
    image = _colored(0.5 + 0.5 * _fractal(rng, width, height), _palette(rng, 4))
    pen, palette = ImageDraw.Draw(image), _palette(rng, 10)
    for _ in range(500):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        length, angle = rng.uniform(20, 260), rng.uniform(0, np.pi)
        color = tuple(int(c) for c in palette[rng.integers(10)])
        end = (x + length * np.cos(angle), y + length * np.sin(angle))
        pen.line((x, y, *end), fill=color, width=int(rng.integers(1, 9)))
    return image


def _blobs(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Patches with sharp borders, as of land and water."""
    value = _fractal(rng, width, height, fall=0.6)
    levels = np.floor((value + 1) * rng.integers(3, 7)) / 12
    return _colored(np.clip(levels + 0.06 * _fractal(rng, width, height, first=16), 0, 1),
                    _palette(rng, 7))  # fmt: skip


def _text(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A page: lines of letters in several sizes on a textured ground."""
    image = _colored(0.5 + 0.15 * _fractal(rng, width, height), _palette(rng, 2))
    pen, palette = ImageDraw.Draw(image), _palette(rng, 6)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 "))
    y = 0.0
    while y < height:
        size = float(rng.choice([14, 18, 24, 36, 60]))
        line = "".join(rng.choice(letters, int(2.2 * width / size)))
        color = tuple(int(c) for c in palette[rng.integers(6)] * rng.uniform(0.2, 1.1))
        pen.text((rng.uniform(-60, 20), y), line, fill=color, font_size=size)
        y += size * 1.35
    return image


_DRAWN: dict[str, Callable[[np.random.Generator, int, int], Image.Image]] = {
    "cells": _cells,
    "blocks": _blocks,
    "text": _text,
    "hills": _hills,
    "strips": _strips,
    "blobs": _blobs,
    "weave": _weave,
    "rings": _rings,
}
