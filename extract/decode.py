"""Decoding one video, once and in order, into the pixels that both backbones need.

decord decodes first; PyAV takes the files that decord is known to get wrong, those that it refuses,
and those it says anything about. Whatever the decoder, a damaged video is an error and never a
guess: no frame is skipped, concealed or replaced by its neighbour.

Memory holds the sampled frames and a few more, however long the video is; where every frame is a
sample, a video that is too long is refused. The number of frames is known only at the end; where it
differs from what the container led to expect, the video is decoded a second time with the right
one.
"""

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from ..errors import VideoError
from .pieces import pieces
from .probe import Source, probe
from .readers import DecordDoubt, Picture, decord_defect, decord_pictures, pyav_pictures
from .sampling import clip_windows, official_middles, official_whole, segment_middles

Pixels = NDArray[np.uint8]

Samples = tuple[Pixels, Pixels, int]
"""Frames, clips and the number of frames of the whole video."""

Decoder = Literal["decord", "pyav"]

WHOLE_LIMIT = 1024
"""Frames of the longest video that is kept whole: 34 seconds at 30 frames a second, and 0.6 GB
decoded at 448 x 448 pixels, of which SlowFast makes 15 GB (measured: 15 MB a frame, float32)."""


@dataclass(frozen=True)
class Sampling:
    """Which frames and clips to take from a video, and their sizes.

    Attributes:
        frames: Single frames, at the middles of equal segments.
        frame_size: Height and width of a single frame in pixels.
        sampler: Whose formula finds the middles: `segment_middles` or `official_middles`.
        mode: What the motion encoder sees: "clips" of its own, "frames8", which are the single
            frames once more, or "all" frames of the video as one clip.
        clips: In mode "clips": clips of 32 consecutive frames, spread over the whole video.
        clip_size: In mode "clips": height and width of their frames in pixels.
        pieces: Whether a single frame is a square of pieces (`finevq.extract.pieces`), and not the
            whole frame resized.
    """

    frames: int
    frame_size: int
    sampler: Literal["middles", "official"]
    mode: Literal["clips", "frames8", "all"]
    clips: int
    clip_size: int
    pieces: bool = False

    def middles(self, count: int) -> list[int]:
        """The single frames of a video of `count` frames."""
        middles = official_middles if self.sampler == "official" else segment_middles
        return middles(count, self.frames)

    def windows(self, count: int) -> list[list[int]]:
        """The frames of each clip of a video of `count` frames."""
        if self.mode == "clips":
            return clip_windows(count, self.clips)
        return [official_whole(count) if self.mode == "all" else self.middles(count)]


@dataclass(frozen=True, eq=False)  # arrays have no single truth of equality
class DecodedVideo:
    """What is kept of a video.

    Attributes:
        frames: RGB, uint8, (frames, frame_size, frame_size, 3).
        clips: RGB, uint8, (clips, 32, clip_size, clip_size, 3); in mode "frames8" or "all" one
            clip of frames like those above, (1, 8 or all, frame_size, frame_size, 3).
        frame_count: Frames of the whole video, as decoded.
        fps: Average frames per second, or None if the file does not say.
        seconds: Duration in seconds, or None if the file does not say.
        decoder: Which decoder's pixels these are.
        sha256: Of the file's bytes, in hexadecimal.
        decoding_s: What all this took in seconds.
    """

    frames: Pixels
    clips: Pixels
    frame_count: int
    fps: float | None
    seconds: float | None
    decoder: Decoder
    sha256: str
    decoding_s: float


def decode(path: str | os.PathLike[str], sampling: Sampling) -> DecodedVideo:
    """Decode a video and keep the sampled frames.

    While decord works, whatever the process prints to standard error is withheld.

    Args:
        path: The video file.
        sampling: What to keep of it.

    Returns:
        The sampled frames and clips, turned upright and resized without keeping the aspect ratio.

    Raises:
        VideoError: The file is unreadable, damaged, cut off or not a video, or is to be kept whole
            and too long for that; the message says which.
    """
    return _decoded(path, sampling, _decode)


def ready() -> None:
    """Do nothing: to call this in a process has imported all that decoding needs."""


def decode_by_pyav(path: str | os.PathLike[str], sampling: Sampling) -> DecodedVideo:
    """As `decode`, without decord, for a file that it hung or crashed on."""
    return _decoded(path, sampling, _decode_by_pyav)


def _decoded(
    path: str | os.PathLike[str],
    sampling: Sampling,
    decoding: Callable[[Source, Sampling], tuple[Decoder, Samples]],
) -> DecodedVideo:
    began = time.perf_counter()
    try:
        source = probe(path)
        sha256 = _sha256(source.path)
        decoder, (frames, clips, count) = decoding(source, sampling)
    except VideoError as error:
        error.decoding_s = time.perf_counter() - began
        raise
    except MemoryError as error:
        raise VideoError("needs more memory than there is") from error
    took = time.perf_counter() - began
    return DecodedVideo(frames, clips, count, source.fps, source.seconds, decoder, sha256, took)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _decode(source: Source, sampling: Sampling) -> tuple[Decoder, Samples]:
    if decord_defect(source) is None:
        try:
            # A count other than the expected one is an error here, so once is enough.
            return "decord", _sample(decord_pictures(source), source.frames, sampling)
        except DecordDoubt:
            pass  # PyAV decodes strictly, and says what is wrong if anything is
    return _decode_by_pyav(source, sampling)


def _decode_by_pyav(source: Source, sampling: Sampling) -> tuple[Decoder, Samples]:
    expected = source.frames
    for _ in range(2):
        frames, clips, count = _sample(pyav_pictures(source), expected, sampling)
        if count == 0:
            raise VideoError("is damaged: none of its frames can be decoded")
        if count == expected:
            return "pyav", (frames, clips, count)
        expected = count
    raise VideoError("has another number of frames each time it is decoded")


def _sample(pictures: Generator[Picture, None, None], count: int, sampling: Sampling) -> Samples:
    """Keep the samples of a video of `count` frames; also returns how many frames there were."""
    if sampling.mode == "all" and count > WHOLE_LIMIT:
        raise VideoError(
            f"has {count} frames, of which at most {WHOLE_LIMIT} are held at once: cut it, or set "
            'extract.motion.mode to "clips"'
        )
    size = sampling.frame_size
    clip_size, resize_clip = size, _bicubic
    if sampling.mode == "clips":
        clip_size, resize_clip = sampling.clip_size, _bilinear
    middles, windows = sampling.middles(count), sampling.windows(count)
    frame_places, clip_places = _places(middles), _places(chain(*windows))
    frames = np.zeros((len(middles), size, size, 3), np.uint8)
    clips = np.zeros((len(windows) * len(windows[0]), clip_size, clip_size, 3), np.uint8)
    seen = 0
    with closing(pictures):  # a failure here must not leave the decoder open
        for index, picture in enumerate(pictures):
            seen += 1
            if index not in frame_places and index not in clip_places:
                continue
            pixels = picture()
            for place in frame_places.get(index, []):
                frames[place] = pieces(pixels, place) if sampling.pieces else _bicubic(pixels, size)
            if index in clip_places:
                clips[clip_places[index]] = resize_clip(pixels, clip_size)
    return frames, clips.reshape(len(windows), -1, *clips.shape[1:]), seen


def _places(indices: Iterable[int]) -> dict[int, list[int]]:
    """For each frame that is sampled: where it belongs among the samples."""
    places: dict[int, list[int]] = {}
    for place, index in enumerate(indices):
        places.setdefault(index, []).append(place)
    return places


# Both widen their filter when they shrink, so that nothing aliases.


def _bicubic(pixels: Pixels, size: int) -> Pixels:
    """By PIL, bit for bit what the official code computes."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))


def _bilinear(pixels: Pixels, size: int) -> Pixels:
    """PIL's to a level or two, in a fifth of the time; clips have many frames."""
    channels = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    small = interpolate(channels, (size, size), mode="bilinear", antialias=True)
    resized: Pixels = small[0].permute(1, 2, 0).numpy()
    return resized
