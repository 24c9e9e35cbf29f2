"""Distortions of known strength, each in one dimension, and real codecs.

A strength is a number in [0, 1] in roughly equal perceptual steps: 0 leaves the video as it is, 1
is as bad as it gets. Sizes follow the height of the frames, so that the same strength looks alike
at 240 and at 1080 lines.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scenes import Pixels, View
from scipy.ndimage import uniform_filter

TYPES = {
    "color": (
        "low saturation",
        "high saturation",
        "over dark",
        "over bright",
        "low contrast ratio",
        "high contrast ratio",
        "other color distortion",
    ),
    "noise": ("gaussian noise", "pulse noise", "stripe noise", "other noise"),
    "artifact": ("compression artifact", "square artifact"),
    "blur": ("gaussian blur", "motion blur", "resolution blur", "shooting system blur"),
    "temporal": ("lagging", "shaking", "flickering", "other temporal distortion"),
}
"""Distortion types of each dimension in the official words; "other" are color casts, film grain and
noise of low light, and judder."""

SHARE = {
    "compression artifact": 3,
    "lagging": 3,
    "gaussian noise": 2,
    "gaussian blur": 2,
    "over bright": 2,
}
"""How often a type is drawn; 1 where it is not named."""


@dataclass(frozen=True)
class Recipe:
    """What is done to a scene.

    Attributes:
        types: a type for each dimension.
        strengths: of each dimension, in [0, 1].
        seed: of everything else that is drawn.
    """

    types: dict[str, str]
    strengths: dict[str, float]
    seed: int


# Colors: one pointwise change of the whole picture.


def grade(kind: str, s: float, seed: int) -> Callable[[Image.Image], Image.Image]:
    """A change of colors of strength `s`, as a function on pictures of uint8 RGB."""
    if s < 0.01:
        return lambda picture: picture
    rng = np.random.default_rng([seed, 1])
    if kind in ("low saturation", "high saturation"):
        amount = 1 - s if kind == "low saturation" else 1 + 3.5 * s**1.2
        return lambda picture: _saturated(picture, amount)
    table = _cast(s, rng) if kind == "other color distortion" else _curve(kind, s, rng)
    return lambda picture: Image.fromarray(_looked_up(np.asarray(picture), table))


def _saturated(picture: Image.Image, amount: float) -> Image.Image:
    pixels = np.asarray(picture, np.float32)
    gray = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return Image.fromarray(np.clip(gray + amount * (pixels - gray), 0, 255).astype(np.uint8))


def _looked_up(pixels: Pixels, table: NDArray[np.uint8]) -> Pixels:
    return np.stack([table[c][pixels[..., c]] for c in range(3)], axis=-1)


def _curve(kind: str, s: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A tone curve, (3, 256): the same for all three colors."""
    x = np.linspace(0, 1, 256)
    clipped = rng.random() < 0.6  # a gain that clips, or a gamma that does not
    if kind == "over bright":
        y = x * (1 + 1.6 * s) + 0.12 * s if clipped else 1 - (1 - 0.3 * s) * (1 - x) ** (1 + 2 * s)
    elif kind == "over dark":
        y = x * (1 - 0.85 * s) - 0.05 * s if clipped else (1 - 0.3 * s) * x ** (1 + 2 * s)
    elif kind == "low contrast ratio":
        y = 0.5 + (x - 0.5) * (1 - 0.82 * s) + rng.uniform(-0.1, 0.1) * s
    else:
        y = 0.5 + (x - 0.5) * (1 + 3 * s**1.2)
    return np.tile((np.clip(y, 0, 1) * 255 + 0.5).astype(np.uint8), (3, 1))


def _cast(s: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Gains of the three colors that keep the brightness, roughly."""
    angle = rng.uniform(0, 2 * np.pi)
    warm, green = np.cos(angle), np.sin(angle)
    gains = np.array([warm - 0.4 * green, 0.7 * green, -warm - 0.4 * green]) * 0.62 * s + 1
    x = np.linspace(0, 1, 256)[None] * gains[:, None]
    return (np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)


# Time: which moment each frame shows, how the camera shakes and how the light flickers.


def timeline(
    kind: str, s: float, frames: int, fps: int, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Times in seconds (F,), shakes in shares of the view's height (F, 2), gains (F,)."""
    times = np.arange(frames) / fps
    shakes, gains = np.zeros((frames, 2)), np.ones(frames)
    if s < 0.02:
        return times, shakes, gains
    if kind == "lagging":
        times = _lag(s, times, rng)
    elif kind == "shaking":
        shakes = 0.02 * s * rng.standard_normal((frames, 2))
        if rng.random() < 0.4:  # slower and wider, of a hand and not of a machine
            kernel = np.array([0.25, 0.5, 0.25])
            smooth = [np.convolve(np.pad(shakes[:, a], 1, "wrap"), kernel, "valid") for a in (0, 1)]
            shakes = 1.7 * np.stack(smooth, axis=-1)
    elif kind == "flickering":
        if rng.random() < 0.6:
            gains = 1 + 0.45 * s * rng.uniform(-1, 1, frames)
        else:
            wave = np.sin(2 * np.pi * rng.uniform(2, fps / 2.2) * times + rng.uniform(0, 6))
            gains = 1 + 0.4 * s * wave
    else:  # judder: moments that come too early and too late, at times backwards
        times = times + 2.2 * s / fps * rng.standard_normal(frames)
    return times, shakes, gains


def _lag(s: float, times: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Frames that are held: every n-th, at random, or in pauses after which time jumps."""
    frames = len(times)
    source = np.arange(frames)
    way = rng.random()
    if way < 0.4:  # at random
        for index in range(1, frames):
            if rng.random() < 0.9 * s:
                source[index] = source[index - 1]
    elif way < 0.75:  # at an even pace: of n frames one; a fraction mixes two paces
        pace = 12**s
        source = np.floor(np.floor(source / pace + 1e-6) * pace).astype(int)
    else:  # pauses
        share, held = 0.75 * s**1.3, 0
        while held < share * frames:
            length = int(rng.integers(4, 14))
            at = int(rng.integers(1, max(2, frames - length)))
            source[at : at + length] = source[at - 1]
            held += length
    return times[np.clip(source, 0, frames - 1)]


# Blur, of frames.


def blur(frame: Pixels, kind: str, s: float, angle: float) -> Pixels:
    """A blurred frame; widths follow its shorter side."""
    if s < 0.02:
        return frame
    unit = _blur_unit(min(frame.shape[:2]))
    image = Image.fromarray(frame)
    if kind == "gaussian blur":
        image = image.filter(ImageFilter.GaussianBlur(3.2 * s * unit))
    elif kind == "shooting system blur":  # defocus: a disk, by two boxes
        radius = 3.4 * s * unit
        image = image.filter(ImageFilter.BoxBlur(radius)).filter(ImageFilter.BoxBlur(radius * 0.6))
    elif kind == "resolution blur":
        scale = 1 / (1 + 4.2 * s * max(1.0, unit * 0.8))  # `_resolution` is its inverse
        size = max(8, round(image.width * scale)), max(8, round(image.height * scale))
        small = image.resize(size, Image.Resampling.BOX)
        image = small.resize(image.size, Image.Resampling.BICUBIC)
    else:
        return _motion_blur(frame, 13 * s * unit, angle)
    return np.asarray(image)


def _blur_unit(lines: int) -> float:
    """How widths of blur grow with the frame's shorter side; 1 at 256 pixels."""
    return float((lines / 256) ** 0.9)


def _resolution(enlarged: float, lines: int) -> float:
    """The strength of resolution blur that enlarging by a factor is like."""
    return max(0.0, enlarged - 1) / (4.2 * max(1.0, _blur_unit(lines) * 0.8))


def _motion_blur(frame: Pixels, length: float, angle: float) -> Pixels:
    """The mean of shifted copies along a line."""
    steps = max(2, round(length))
    total = np.zeros(frame.shape, np.float32)
    for step in np.linspace(-0.5, 0.5, steps) * length:
        dx, dy = round(step * np.cos(angle)), round(step * np.sin(angle))
        total += np.roll(frame, (dy, dx), axis=(0, 1))
    return (total / steps + 0.5).astype(np.uint8)


# Noise, of frames.


@cache
def _bank() -> NDArray[np.float32]:
    """Standard normal values to cut noise from: drawing them anew takes longer than all else."""
    return np.random.default_rng(7).standard_normal(1 << 23, dtype=np.float32)


def _normal(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    count = int(np.prod(shape))
    bank = _bank()
    if count > len(bank):
        return rng.standard_normal(shape, dtype=np.float32)
    start = int(rng.integers(0, len(bank) - count + 1))
    return bank[start : start + count].reshape(shape)


def noise(frame: Pixels, kind: str, s: float, rng: np.random.Generator, variant: float) -> Pixels:
    """A noisy frame; `variant` in [0, 1] chooses between film grain and noise of low light."""
    if s < 0.02:
        return frame
    height, width = frame.shape[:2]
    pixels = frame.astype(np.float32)
    unit = (min(height, width) / 256) ** 0.25
    if kind == "gaussian noise":
        pixels += 36 * s * unit * _normal(frame.shape, rng)
    elif kind == "pulse noise":
        hit = rng.random((height, width), dtype=np.float32)
        rate = 0.08 * s**2
        pixels[hit < rate / 2] = 0
        pixels[hit > 1 - rate / 2] = 255
    elif kind == "stripe noise":
        along = _normal((height, 1, 1), rng) if variant < 0.5 else _normal((1, width, 1), rng)
        pixels += 26 * s * along + 6 * s * _normal((height, width, 1), rng)
    elif variant < 0.5:  # film grain: of brightness alone, and coarser than a pixel
        coarse = max(1.0, 1.3 * unit)
        size = (round(height / coarse), round(width / coarse))
        grain = Image.fromarray(_normal(size, rng)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        pixels += 46 * s * np.asarray(grain)[..., None]
    else:  # low light: dark places are noisier, and colors more than brightness
        dark = 1.25 - pixels.mean(axis=-1, keepdims=True) / 255
        pixels += 36 * s * unit * dark * _normal(frame.shape, rng)
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)


# Codecs.


@dataclass(frozen=True)
class Codec:
    """An encoder of libav and its settings for a strength."""

    name: str
    container: str
    options: Callable[[float, float], dict[str, str]]
    pixels: str = "yuv420p"


def _x264(s: float, v: float) -> dict[str, str]:
    preset = ("ultrafast", "superfast", "veryfast", "veryfast", "faster")[int(v * 4.999)]
    return {
        "crf": f"{17 + 34 * s:.1f}",
        "preset": preset,
        "x264-params": "threads=1:log-level=none",
    }


def _x265(s: float, v: float) -> dict[str, str]:
    params = "pools=1:frame-threads=1:log-level=none"
    return {"crf": f"{17 + 34 * s:.1f}", "preset": "ultrafast", "x265-params": params}


def _vp9(s: float, v: float) -> dict[str, str]:
    return {"crf": f"{round(16 + 47 * s)}", "b": "0", "deadline": "realtime", "cpu-used": "8"}


def _quantiser(s: float, v: float) -> dict[str, str]:
    # flags +qscale: a constant quantiser, in units of FF_QP2LAMBDA.
    return {"flags": "+qscale", "global_quality": str(round(118 * 2 * 15.5**s)), "g": "15"}


CODECS = {
    "compression artifact": (
        (5, Codec("libx264", "mkv", _x264)),
        (2, Codec("libx265", "mkv", _x265)),
        (2, Codec("libvpx-vp9", "mkv", _vp9)),
    ),
    "square artifact": (
        (1, Codec("mpeg4", "avi", _quantiser)),
        (1, Codec("mpeg2video", "mkv", _quantiser)),
        (2, Codec("mjpeg", "avi", _quantiser, "yuvj420p")),
    ),
}
"""The encoders of each type with their shares."""

CLEAN = Codec("libx264", "mkv", lambda s, v: {"crf": "15", "preset": "superfast",
              "x264-params": "threads=1:log-level=none"})  # fmt: skip
"""What a clip without artifacts is written with: visually lossless."""


def pick_codec(kind: str, rng: np.random.Generator) -> Codec:
    """One of the encoders of a type."""
    shares = np.array([share for share, _ in CODECS[kind]], float)
    return CODECS[kind][int(rng.choice(len(shares), p=shares / shares.sum()))][1]


def encode(frames: list[Pixels], fps: int, codec: Codec, s: float, v: float) -> bytes:
    """A video file of the frames."""
    file = io.BytesIO()
    formats = {"mkv": "matroska", "avi": "avi"}
    with av.open(file, "w", format=formats[codec.container]) as container:
        stream: Any = container.add_stream(codec.name, rate=fps, options=codec.options(s, v))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = codec.pixels
        if "global_quality" in codec.options(s, v):
            stream.codec_context.qmin, stream.codec_context.qmax = 1, 31
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def decoded(file: bytes) -> list[Pixels]:
    """The frames of a video file."""
    with av.open(io.BytesIO(file)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def lost(before: list[Pixels], after: list[Pixels]) -> float:
    """What a codec has taken away, in [0, 1]: 1 - SSIM of brightness on three frames, stretched.

    Measured at most at about 360 lines, where it goes with what is seen.
    """
    found = []
    for index in np.linspace(0, len(before) - 1, 5).astype(int)[1:4]:
        a, b = (_small(frames[index]) for frames in (before, after))
        mean_a, mean_b = uniform_filter(a, 8), uniform_filter(b, 8)
        var_a = uniform_filter(a * a, 8) - mean_a**2
        var_b = uniform_filter(b * b, 8) - mean_b**2
        both = uniform_filter(a * b, 8) - mean_a * mean_b
        similar = (2 * both + 58) / (var_a + var_b + 58)
        similar *= (2 * mean_a * mean_b + 6.5) / (mean_a**2 + mean_b**2 + 6.5)
        found.append(1 - similar.mean())
    return float(np.clip((np.mean(found) / 0.45) ** 0.6, 0, 1))


def _small(frame: Pixels) -> NDArray[np.float32]:
    gray = Image.fromarray(frame).convert("L")
    factor = max(1, round(min(gray.size) / 360))
    return np.asarray(gray.reduce(factor), np.float32)


# All of it.


def render(view: View, recipe: Recipe) -> tuple[bytes, str, dict[str, float]]:
    """A distorted clip.

    Light, camera and colors come first, then blur, then the codec, then noise, which an encoder
    would smooth away. What has no noise is the codec's own file; what has is encoded once more,
    visually lossless.

    Returns:
        The file, its suffix, and the strength of each dimension as it can be seen: of artifacts
        half by the codec's setting and half by what it took away.
    """
    scene, s, kind = view.scene, dict(recipe.strengths), recipe.types
    rng = np.random.default_rng([recipe.seed, 2])
    times, shakes, gains = timeline(kind["temporal"], s["temporal"], scene.frames, scene.fps, rng)
    angle, variant = rng.uniform(0, np.pi), float(rng.random())
    frames: list[Pixels] = []
    drawn: dict[tuple[float, float, float], Pixels] = {}
    for time, shake, gain in zip(times, shakes, gains, strict=True):
        key = (float(time), float(shake[0]), float(gain))
        if key not in drawn:  # a frame that is held is drawn once
            frame = view.draw(float(time), (float(shake[0]), float(shake[1])))
            if gain != 1:
                table = np.clip(np.arange(256) * gain, 0, 255).astype(np.uint8)
                frame = table[frame]
            drawn = {key: blur(frame, kind["blur"], s["blur"], angle)}
        frames.append(drawn[key])
    if kind["temporal"] in ("lagging", "other temporal distortion"):
        s["temporal"] *= 0.4 + 0.6 * min(
            1.0, view.motion / 0.12
        )  # what stands still cannot stutter
    # A picture that is enlarged is soft as one that was shrunk and enlarged again.
    s["blur"] = max(s["blur"], _resolution(1 / view.zoom, min(frames[0].shape[:2])))
    early = s["noise"] > 0 and s["artifact"] < 0.3 and rng.random() < 0.3
    strength_v = float(rng.random())
    if early:
        frames = [noise(f, kind["noise"], s["noise"], rng, variant) for f in frames]
    codec = pick_codec(kind["artifact"], rng)
    if s["artifact"] < 0.04:
        codec = CLEAN
    if s["artifact"] > 0.1 and rng.random() < 0.15:  # compressed before, by another encoder
        first = pick_codec(str(rng.choice(list(CODECS))), rng)
        before = decoded(encode(frames, scene.fps, first, 0.6 * s["artifact"], strength_v))
        before = before if len(before) == len(frames) else frames
    else:
        before = frames
    file = encode(before, scene.fps, codec, s["artifact"], strength_v)
    noisy = not early and s["noise"] >= 0.02
    if s["artifact"] >= 0.04 or noisy:
        after = decoded(file)
        if len(after) != len(frames):
            raise ValueError(f"{codec.name} wrote {len(after)} frames of {len(frames)}")
        if s["artifact"] >= 0.04 and not early:
            s["artifact"] = 0.5 * s["artifact"] + 0.5 * lost(frames, after)
        if noisy:
            after = [noise(f, kind["noise"], s["noise"], rng, variant) for f in after]
            file, codec = encode(after, scene.fps, CLEAN, 0, 0), CLEAN
    return file, codec.container, {d: round(float(min(1, v)), 4) for d, v in s.items()}
