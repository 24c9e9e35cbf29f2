"""Decoding one video, once and in order, into the pixels that both backbones need.

decord decodes first; PyAV takes the files that decord is known to get wrong, those that it refuses,
and those it says anything about. Whatever the decoder, a damaged video is an error and never a
guess: no frame is skipped, concealed or replaced by its neighbour.

Memory holds the sampled frames and a few more, however long the video is. The number of frames is
known only at the end; where it differs from what the container led to expect, the video is decoded
a second time with the right one.
"""

import hashlib
import os
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import VideoError
from .probe import Source, probe
from .readers import DecordDoubt, Picture, decord_defect, decord_pictures, pyav_pictures
from .sampling import CLIP_FRAMES, clip_windows, segment_middles

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Sampling:
    """How many frames and clips to take from a video, and their sizes.

    Attributes:
        frames: Single frames, at the middles of equal segments.
        frame_size: Height and width of a single frame in pixels.
        clips: Clips of 32 consecutive frames, spread over the whole video.
        clip_size: Height and width of a clip's frames in pixels.
    """

    frames: int
    frame_size: int
    clips: int
    clip_size: int


@dataclass(frozen=True, eq=False)  # arrays have no single truth of equality
class DecodedVideo:
    """What is kept of a video.

    Attributes:
        frames: RGB, uint8, (frames, frame_size, frame_size, 3).
        clips: RGB, uint8, (clips, 32, clip_size, clip_size, 3).
        frame_count: Frames of the whole video, as decoded.
        fps: Average frames per second, or None if the file does not say.
        seconds: Duration in seconds, or None if the file does not say.
        decoder: Which decoder's pixels these are.
        sha256: Of the file's bytes, in hexadecimal.
    """

    frames: Pixels
    clips: Pixels
    frame_count: int
    fps: float | None
    seconds: float | None
    decoder: Literal["decord", "pyav"]
    sha256: str


def decode(path: str | os.PathLike[str], sampling: Sampling) -> DecodedVideo:
    """Decode a video and keep the sampled frames.

    While decord works, whatever the process prints to standard error is withheld.

    Args:
        path: The video file.
        sampling: What to keep of it.

    Returns:
        The sampled frames and clips, turned upright and resized without keeping the aspect ratio.

    Raises:
        VideoError: The file is unreadable, damaged, cut off or not a video; the message says which.
    """
    try:
        source = probe(path)
        sha256 = _sha256(source.path)
        decoder, (frames, clips, count) = _decode(source, sampling)
    except MemoryError as error:
        raise VideoError("needs more memory than there is") from error
    return DecodedVideo(frames, clips, count, source.fps, source.seconds, decoder, sha256)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _decode(
    source: Source, sampling: Sampling
) -> tuple[Literal["decord", "pyav"], tuple[Pixels, Pixels, int]]:
    if decord_defect(source) is None:
        try:
            # A count other than the expected one is an error here, so once is enough.
            return "decord", _sample(decord_pictures(source), source.frames, sampling)
        except DecordDoubt:
            pass  # PyAV decodes strictly, and says what is wrong if anything is
    expected = source.frames
    for _ in range(2):
        frames, clips, count = _sample(pyav_pictures(source), expected, sampling)
        if count == 0:
            raise VideoError("is damaged: none of its frames can be decoded")
        if count == expected:
            return "pyav", (frames, clips, count)
        expected = count
    raise VideoError("has another number of frames each time it is decoded")


def _sample(
    pictures: Generator[Picture, None, None], count: int, sampling: Sampling
) -> tuple[Pixels, Pixels, int]:
    """Keep the samples of a video of `count` frames; also returns how many frames there were."""
    size, clip_size = sampling.frame_size, sampling.clip_size
    frames = np.zeros((sampling.frames, size, size, 3), np.uint8)
    clips = np.zeros((sampling.clips, CLIP_FRAMES, clip_size, clip_size, 3), np.uint8)
    frame_slots, clip_slots = _slots(count, sampling)
    seen = 0
    with closing(pictures):  # a failure here must not leave the decoder open
        for index, picture in enumerate(pictures):
            seen += 1
            if index not in frame_slots and index not in clip_slots:
                continue
            image = Image.fromarray(picture())
            if index in frame_slots:
                frames[frame_slots[index]] = _resize(image, size, Image.Resampling.BICUBIC)
            if index in clip_slots:
                clips[clip_slots[index]] = _resize(image, clip_size, Image.Resampling.BILINEAR)
    return frames, clips, seen


def _slots(
    count: int, sampling: Sampling
) -> tuple[dict[int, list[int]], dict[int, tuple[list[int], list[int]]]]:
    """For each frame that is sampled: its places among the frames, and its clips and steps."""
    frame_slots: dict[int, list[int]] = {}
    clip_slots: dict[int, tuple[list[int], list[int]]] = {}
    for slot, index in enumerate(segment_middles(count, sampling.frames)):
        frame_slots.setdefault(index, []).append(slot)
    for clip, window in enumerate(clip_windows(count, sampling.clips)):
        for step, index in enumerate(window):
            clip_numbers, steps = clip_slots.setdefault(index, ([], []))
            clip_numbers.append(clip)
            steps.append(step)
    return frame_slots, clip_slots


def _resize(image: Image.Image, size: int, method: Image.Resampling) -> Pixels:
    """Both methods widen their filter when they shrink, so that nothing aliases."""
    return np.asarray(image.resize((size, size), method))
