"""Ladders of made distortions on real clips, for `ladder.py`.

Written for that benchmark alone and shared with nothing else, so that no model can have been
trained on the same code: everything works on the planes of yuv420p frames, and every rung is a real
H.264 file, written by libx264 through PyAV. Each ladder has a clean rung, the same for all, and
five rungs of growing strength:

    artifact   x264 at CRF 18, 26, 34, 42, 50 (the clean rung has 10, one more step of 8)
    blur       Gaussian, deviation 0.7 to 4.5 pixels of a frame of 360 lines; wider in larger frames
    noise      Gaussian, independent in each pixel, deviation 4 to 34 of 255, half that in chroma
    color      over-exposure in linear light with clipping, 0.5 to 2.5 stops above the exposure at
               which 2 % of the picture are white (but at most 2 + 2.5 stops above the clip's own)
    fading     chroma reduced to 80 % to 0 %, a second ladder of color
    temporal   each frame held for 1/15 s to 0.4 s, always a whole number of frames more

Beside the ladders there are files for a check of stability: the clip with 360, 720 and 1080 lines,
and as x264 at CRF 16 and 18. Lines are those of the shorter side.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SECONDS, FRAMES = 4.0, 64
"""A clip is cut to its first seconds, and to so many frames: two clips of the motion encoder."""

FEWEST_FRAMES, FEWEST_LINES, LINES = 24, 96, 720
"""A clip with less than these is not used; one with more than `LINES` is made smaller."""

CLEAN_CRF, CLEAN_PRESET = 10, "ultrafast"
"""Of all files but those whose distortion is the encoder: nearly lossless, and quick to write."""

PRESET = "medium"
"""Of the files whose distortion is the encoder: libx264's own default."""

STRENGTHS: dict[str, tuple[float, ...]] = {
    "artifact": (18, 26, 34, 42, 50),
    "blur": (0.7, 1.1, 1.8, 2.8, 4.5),
    "noise": (4, 7, 12, 20, 34),
    "color": (0.5, 1.0, 1.5, 2.0, 2.5),
    "fading": (0.8, 0.6, 0.4, 0.2, 0.0),
    "temporal": (1 / 15, 1 / 10, 1 / 6, 4 / 15, 2 / 5),
}
STABILITY = {"lines": (360, 720, 1080), "crf": (16, 18)}

WHITE_SHARE, MOST_HEADROOM = 0.02, 2.0
"""Of the exposure that the color ladder starts from: share of white, stops over the clip's own."""

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"""Luma `(H, W)` and the two chroma planes `(H / 2, W / 2)` of one frame."""


class UnusableClipError(Exception):
    """A clip that no ladder can be made of, with the reason."""


@dataclass(frozen=True)
class Clip:
    """Frames as they are shown one after another, and how many of them a second has."""

    frames: list[Planes]
    rate: Fraction

    @property
    def lines(self) -> int:
        """Pixels of the shorter side."""
        return min(self.frames[0][0].shape)


@dataclass(frozen=True)
class MadeClip:
    """The files that were made of one clip.

    Attributes:
        name: of the clip's file.
        files: `clean`, `LADDER-1` to `LADDER-5`, `lines-360`, `crf-16` and so on.
        lines: of the clip's own file.
        frames: of each made file.
        motion: median over the frames of the mean difference in luma from the frame before.
        headroom: stops of light that it can be given before it is over-exposed.
    """

    name: str
    files: dict[str, Path]
    lines: int
    frames: int
    motion: float
    headroom: float


def make(source: Path, folder: Path) -> MadeClip | str:
    """All files of one clip, or why there are none; files that are there already are kept."""
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    place = folder / f"{source.stem}-{digest[:8]}"
    record = place / "clip.json"
    recipe = json.loads(json.dumps([STRENGTHS, STABILITY, CLEAN_CRF, SECONDS, FRAMES, LINES]))
    if record.exists():
        found = json.loads(record.read_text())
        if found.pop("recipe") == recipe:
            files = {name: place / f"{name}.mp4" for name in found.pop("files")}
            return MadeClip(source.name, files, **found)
    place.mkdir(parents=True, exist_ok=True)
    try:
        largest = read(source, max(STABILITY["lines"]))
    except UnusableClipError as error:
        return str(error)
    files = _write_all(largest, place)
    luma = [frame[0][::2, ::2].astype(np.int16) for frame in largest.frames]
    facts: dict[str, Any] = {
        "lines": largest.lines,
        "frames": len(luma),
        "motion": float(np.median([np.abs(a - b).mean() for a, b in pairwise(luma)])),
        "headroom": headroom(largest),
    }
    record.write_text(json.dumps({"recipe": recipe, "files": [*files], **facts}))
    return MadeClip(source.name, files, **facts)


def _write_all(largest: Clip, place: Path) -> dict[str, Path]:
    clip = resized(largest, min(LINES, largest.lines))
    files = {}

    def keep(name: str, made: Clip, crf: float = CLEAN_CRF, preset: str = CLEAN_PRESET) -> None:
        files[name] = place / f"{name}.mp4"
        write(files[name], made, crf, preset)

    keep("clean", clip)
    for ladder, strengths in STRENGTHS.items():
        for level, strength in enumerate(strengths, 1):
            if ladder == "artifact":
                keep(f"{ladder}-{level}", clip, strength, PRESET)
            else:
                keep(f"{ladder}-{level}", DISTORTIONS[ladder](clip, strength))
    for lines in STABILITY["lines"]:
        keep(f"lines-{lines}", resized(largest, lines))
    for crf in STABILITY["crf"]:
        keep(f"crf-{crf}", clip, crf, PRESET)
    return files


def read(path: Path, lines: int = LINES) -> Clip:
    """The first seconds of a video, with at most so many lines.

    Raises:
        UnusableClipError: it is too short or too small.
    """
    frames: list[Planes] = []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25).limit_denominator(10_000)
        for frame in container.decode(stream):
            if not frames:
                shorter = min(frame.width, frame.height)
                size = _size(frame.width, frame.height, min(lines, shorter))
            frames.append(_planes(frame, *size))
            if len(frames) == min(FRAMES, max(FEWEST_FRAMES, round(SECONDS * rate))):
                break
    if len(frames) < FEWEST_FRAMES:
        raise UnusableClipError(f"is too short: {len(frames)} frames")
    if shorter < FEWEST_LINES:
        raise UnusableClipError(f"is too small: {shorter} lines")
    return Clip(frames, rate)


def write(path: Path, clip: Clip, crf: float = CLEAN_CRF, preset: str = CLEAN_PRESET) -> None:
    """Write an H.264 file, whole or not at all."""
    unfinished = path.with_suffix(".part")
    options = {"crf": str(crf), "preset": preset, "threads": "1"}
    with av.open(str(unfinished), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=clip.rate, options=options)
        stream.height, stream.width = clip.frames[0][0].shape
        stream.pix_fmt = "yuv420p"
        for frame in clip.frames:
            container.mux(stream.encode(_frame(frame)))
        container.mux(stream.encode())
    unfinished.replace(path)


def resized(clip: Clip, lines: int) -> Clip:
    """The clip with so many lines."""
    if lines == clip.lines:
        return clip
    height, width = clip.frames[0][0].shape
    size = _size(width, height, lines)
    return Clip([_planes(_frame(frame), *size) for frame in clip.frames], clip.rate)


def blurred(clip: Clip, sigma: float) -> Clip:
    """Gaussian blur; the deviation is in pixels up to 360 lines, and grows with the frame above."""
    sigma *= max(1.0, clip.lines / 360)

    def blur(plane: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
        return _bytes(gaussian_filter(plane.astype(np.float32), sigma, truncate=3))

    return _each(clip, lambda y, u, v: (blur(y, sigma), blur(u, sigma / 2), blur(v, sigma / 2)))


def noisy(clip: Clip, sigma: float) -> Clip:
    """Gaussian noise, other in each frame; half as strong in chroma."""
    draw = np.random.default_rng(0)

    def add(plane: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
        return _bytes(plane + np.float32(sigma) * draw.standard_normal(plane.shape, np.float32))

    return _each(clip, lambda y, u, v: (add(y, sigma), add(u, sigma / 2), add(v, sigma / 2)))


def overexposed(clip: Clip, stops: float) -> Clip:
    """More light by so many stops above the exposure at which `WHITE_SHARE` of it is white."""
    gain = 2 ** (stops + min(headroom(clip), MOST_HEADROOM))
    table = _bytes(255 * _encoded(np.minimum(1, gain * _linear(np.arange(256) / 255))))
    height, width = clip.frames[0][0].shape

    def expose(frame: Planes) -> Planes:
        rgb = table[_frame(frame).to_ndarray(format="rgb24")]
        return _planes(av.VideoFrame.from_ndarray(rgb, format="rgb24"), width, height)

    return Clip([expose(frame) for frame in clip.frames], clip.rate)


def headroom(clip: Clip) -> float:
    """Stops of light that a clip can be given until `WHITE_SHARE` of it is white, at least 0."""
    sample = [_frame(frame).to_ndarray(format="rgb24") for frame in clip.frames[::15]]
    brightest = np.concatenate([rgb[::4, ::4].max(axis=2).ravel() for rgb in sample])
    white = _linear(np.quantile(brightest, 1 - WHITE_SHARE) / 255)
    return float(np.log2(1 / np.clip(white, 1e-6, 1)))


def faded(clip: Clip, saturation: float) -> Clip:
    """Chroma multiplied by a factor, 1 for none and 0 for grey."""
    table = _bytes(128 + saturation * (np.arange(256) - 128.0))
    return _each(clip, lambda y, u, v: (y, table[u], table[v]))


def held(clip: Clip, seconds: float) -> Clip:
    """Each frame that is shown stays for so long: at least one frame longer a rung."""
    rung = STRENGTHS["temporal"].index(seconds) + 1
    hold = max(rung + 1, round(seconds * clip.rate))
    return Clip([clip.frames[i - i % hold] for i in range(len(clip.frames))], clip.rate)


DISTORTIONS: dict[str, Callable[[Clip, float], Clip]] = {
    "blur": blurred,
    "noise": noisy,
    "color": overexposed,
    "fading": faded,
    "temporal": held,
}
"""All but `artifact`, which is the encoder's own work."""


def _each(clip: Clip, change: Callable[..., Planes]) -> Clip:
    return Clip([change(*frame) for frame in clip.frames], clip.rate)


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _linear(value: Any) -> Any:
    """Light of an sRGB value, both in [0, 1]."""
    value = np.asarray(value, np.float64)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _encoded(light: Any) -> Any:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _size(width: int, height: int, lines: int) -> tuple[int, int]:
    """Width and height, both even, so that the shorter side has so many pixels."""
    scale = lines / min(width, height)
    return 2 * round(width * scale / 2), 2 * round(height * scale / 2)


def _planes(frame: av.VideoFrame, width: int, height: int) -> Planes:
    made = frame.reformat(width, height, "yuv420p", interpolation="BICUBIC")
    flat = made.to_ndarray().reshape(-1)
    luma, chroma = width * height, width * height // 4
    half = (height // 2, width // 2)
    return (
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(half),
        flat[luma + chroma :].reshape(half),
    )


def _frame(planes: Planes) -> av.VideoFrame:
    height, width = planes[0].shape
    flat = np.concatenate([plane.reshape(-1) for plane in planes])
    return av.VideoFrame.from_ndarray(flat.reshape(height * 3 // 2, width), format="yuv420p")
