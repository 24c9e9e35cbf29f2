"""Source scenes of the demo: photographs and computed worlds, under a virtual camera.

A scene is drawn frame by frame from a time in seconds, so that the demo can drop, repeat and shake
frames at the source, as a camera does, and not only in a finished file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frames import Frame
from .photographs import PHOTOGRAPHS, photograph_source
from .worlds import WORLDS, world_source

SCENES = (*PHOTOGRAPHS, *WORLDS)
"""Names of all source scenes."""

Draw = Callable[[float, tuple[float, float]], Frame]
"""Draws the frame at a time in seconds with a camera shake (x, y)."""


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
        """Offset (x, y) of the view's center and its half-size, at a time in seconds."""
        x = self.pan[0] * (time - 1.0) + self.sway * np.sin(2.1 * time) + shake[0]
        y = self.pan[1] * (time - 1.0) + self.sway * np.cos(1.7 * time) + shake[1]
        return x, y, self.zoom + self.zoom_speed * time


def scene(name: str, world_seed: int, *, camera_seed: int) -> Draw:
    """A scene seen by a camera; the same name and seeds give the same frames."""
    camera = Camera.random(np.random.default_rng(camera_seed))
    rng = np.random.default_rng(world_seed)
    source = photograph_source(name, rng) if name in PHOTOGRAPHS else world_source(name, rng)
    grade = Grade.of(source(0.0, 0.0, 0.8, 1.0))
    return lambda time, shake: grade(source(*camera.view(time, shake), time))


@dataclass(frozen=True)
class Grade:
    """Brings a source to middle exposure, neutral white, and moderate color and sharpness.

    Without it, a scene that is dark, pale or soft by nature would pass for a distorted one.
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
    """The frame minus its 3 x 3 binomial blur."""
    padded = np.pad(frame, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return frame - (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16
