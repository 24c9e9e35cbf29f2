"""Distortions of known strength for the demo's videos, each in the dimension it is named after.

A strength is a number in [0, 1]: 0 leaves the video as it is, 1 is as bad as it gets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .frames import FPS, FRAMES, HEIGHT, WIDTH, Frame, to_bytes
from .scenes import Draw

TYPES = {
    "color": ("high saturation", "color cast", "over dark", "over bright"),
    "noise": ("gaussian noise", "pulse noise"),
    "artifact": ("compression artifact",),
    "blur": ("gaussian blur", "resolution blur"),
    "temporal": ("lagging", "shaking", "flickering"),
}
"""The distortion types of each dimension; one of them is drawn for each video."""


@dataclass(frozen=True)
class Recipe:
    """How a scene is distorted: a type and a strength for each dimension but `overall`."""

    types: dict[str, str]
    strengths: dict[str, float]
    seed: int


def render(draw: Draw, recipe: Recipe) -> list[Frame]:
    """The frames of a distorted video: camera and light, color, blur, compression, then noise.

    Noise comes last, as an encoder would smooth it away.
    """
    rng = np.random.default_rng(recipe.seed)
    strength, kind = recipe.strengths, recipe.types
    frames = _capture(draw, kind["temporal"], strength["temporal"], rng)
    frames = [_color(frame, kind["color"], strength["color"]) for frame in frames]
    frames = [_blur(frame, kind["blur"], strength["blur"]) for frame in frames]
    frames = [_compress(frame, strength["artifact"]) for frame in frames]
    return [_noise(frame, kind["noise"], strength["noise"], rng) for frame in frames]


def _capture(draw: Draw, kind: str, strength: float, rng: np.random.Generator) -> list[Frame]:
    """Draw the frames with frozen frames (lagging), a shaking camera or a flickering light."""
    times = np.arange(FRAMES) / FPS
    shakes = np.zeros((FRAMES, 2))
    gains = np.ones(FRAMES)
    if kind == "lagging":
        for index in range(1, FRAMES):
            if rng.random() < 0.9 * strength:
                times[index] = times[index - 1]
    elif kind == "shaking":
        shakes = 0.025 * strength * rng.standard_normal((FRAMES, 2))
    else:
        gains += 0.5 * strength * rng.uniform(-1, 1, FRAMES)
    frames: list[Frame] = []
    for time, shake, gain in zip(times, shakes, gains, strict=True):
        frame = draw(float(time), (float(shake[0]), float(shake[1])))
        frames.append(np.clip(frame * np.float32(gain), 0, 1))
    return frames


def _blur(frame: Frame, kind: str, strength: float) -> Frame:
    if strength == 0:
        return frame
    image = Image.fromarray(to_bytes(frame))
    if kind == "gaussian blur":
        image = image.filter(ImageFilter.GaussianBlur(3 * strength))
    else:
        scale = 1 / (1 + 4 * strength)
        small = image.resize((round(WIDTH * scale), round(HEIGHT * scale)), Image.Resampling.BOX)
        image = small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) / 255


def _noise(frame: Frame, kind: str, strength: float, rng: np.random.Generator) -> Frame:
    if strength == 0:
        return frame
    if kind == "gaussian noise":
        grain = rng.standard_normal(frame.shape, dtype=np.float32)
        return np.clip(frame + 0.14 * strength * grain, 0, 1)
    hit = rng.random(frame.shape[:2]) < 0.08 * strength**2
    pulses = rng.integers(0, 2, frame.shape[:2]).astype(np.float32)
    return np.where(hit[..., None], pulses[..., None], frame)


def _color(frame: Frame, kind: str, strength: float) -> Frame:
    gray = frame.mean(axis=-1, keepdims=True)
    effects: dict[str, Callable[[], NDArray[Any]]] = {
        "high saturation": lambda: gray + (frame - gray) * (1 + 4 * strength),
        "color cast": lambda: frame * (1 + strength * np.array([0.6, -0.15, -0.6], np.float32)),
        "over dark": lambda: (1 - 0.3 * strength) * frame ** np.float32(1 + 2 * strength),
        "over bright": lambda: (
            1 - (1 - 0.3 * strength) * (1 - frame) ** np.float32(1 + 2 * strength)
        ),
    }
    return np.clip(effects[kind](), 0, 1).astype(np.float32)


def _compress(frame: Frame, strength: float) -> Frame:
    """Compress as a motion JPEG camera at a low bitrate does: blocks of 8 x 8 pixels."""
    if strength == 0:
        return frame
    file = BytesIO()
    Image.fromarray(to_bytes(frame)).save(file, "JPEG", quality=round(70 * 0.05**strength))
    return np.asarray(Image.open(file), dtype=np.float32) / 255
