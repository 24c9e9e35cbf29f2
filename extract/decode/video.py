"""Decoding one video, once and in order, into the pixels that both backbones need.

A damaged video is an error: no frame is skipped, concealed or replaced by its neighbour. If its
score is asked for all the same, it is read once more, for the frames that a player shows, and how
many of them are concealed or missing is told.

Memory holds the sampled frames and a few more, however long the video is; a video whose every frame
is sampled is refused if it is too long. The number of frames is known for certain only at the end.
Where it differs from the number that the container led to expect, the video is decoded once more,
sampled by the right number.
"""

import hashlib
import os
import time
from collections.abc import Generator, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from ...errors import VideoError
from .official import DecordDoubt, official_pictures
from .pieces import pieces
from .probe import Source, probe
from .reader import Damage, Picture, Reader
from .sampling import clip_windows, official_middles, official_whole, segment_middles

Pixels = NDArray[np.uint8]

Samples = tuple[Pixels, Pixels, int]
"""The sampled frames, the sampled clips, and the number of frames of the whole video."""

Decoder = Literal["pyav", "decord"]

WHOLE_LIMIT = 1024
"""Frames of the longest video that is kept whole: 34 seconds at 30 frames a second.

At 448 x 448 pixels these are 0.6 GB, and SlowFast needs another 15 GB (measured: 15 MB a frame,
float32)."""


@dataclass(frozen=True)
class Sampling:
    """Which frames and clips to take from a video, and their sizes.

    Attributes:
        frames: Number of single frames, at the middles of equal segments.
        frame_size: Height and width of a single frame in pixels.
        sampler: How a middle is computed: by `segment_middles` ("middles") or by
            `official_middles` ("official").
        mode: What the motion encoder gets: "clips" of consecutive frames; "frames8", the single
            frames once more; or "all" frames of the video, as one clip.
        clips: In mode "clips": number of clips of 32 consecutive frames, spread over the video.
        clip_size: In mode "clips": height and width of their frames in pixels.
        pieces: Whether a single frame is a square of pieces (`finevq.extract.decode.pieces`), and
            not the whole frame resized.
        damaged: What a video with damaged frames is: a failure ("fail"), or samples of the frames
            that a player shows, damaged ones among them ("score").
        decoder: Which library gives the pixels of sound videos: PyAV ("pyav"), or that of the
            official code where it can be trusted ("decord"), see `official`.
    """

    frames: int
    frame_size: int
    sampler: Literal["middles", "official"]
    mode: Literal["clips", "frames8", "all"]
    clips: int
    clip_size: int
    pieces: bool = False
    damaged: Literal["fail", "score"] = "fail"
    decoder: Decoder = "pyav"

    def middles(self, count: int) -> list[int]:
        """Indices of the single frames in a video of `count` frames."""
        middles = official_middles if self.sampler == "official" else segment_middles
        return middles(count, self.frames)

    def windows(self, count: int) -> list[list[int]]:
        """Indices of the frames of each clip in a video of `count` frames."""
        if self.mode == "clips":
            return clip_windows(count, self.clips)
        return [official_whole(count) if self.mode == "all" else self.middles(count)]


@dataclass(frozen=True, eq=False)  # comparing arrays gives arrays, not a bool
class DecodedVideo:
    """The samples of a video, and what is known of its file.

    Attributes:
        frames: RGB, uint8, (frames, frame_size, frame_size, 3).
        clips: RGB, uint8, (clips, 32, clip_size, clip_size, 3). In the modes "frames8" and "all"
            one clip of frames made like those above, (1, number, frame_size, frame_size, 3).
        frame_count: Frames of the whole video, as decoded.
        fps: Average frames per second, or None if the file does not say.
        seconds: Duration in seconds, or None if the file does not say.
        decoder: The library that gave the pixels.
        sha256: Of the file's bytes, in hexadecimal.
        decoding_s: Seconds that probing, hashing and decoding took.
        concealed: Frames that the decoder made up, in part or whole.
        missing: Frames that the file should show and that it did not give. Both are 0 unless
            damaged videos are to be scored.
    """

    frames: Pixels
    clips: Pixels
    frame_count: int
    fps: float | None
    seconds: float | None
    decoder: Decoder
    sha256: str
    decoding_s: float
    concealed: int = 0
    missing: int = 0


def decode(path: str | os.PathLike[str], sampling: Sampling) -> DecodedVideo:
    """Decode a video and keep the sampled frames.

    Args:
        path: The video file.
        sampling: What to keep of it.

    Returns:
        The sampled frames and clips, turned upright and resized without keeping the aspect ratio.

    Raises:
        VideoError: The file is unreadable, damaged (see `Sampling`), cut off or no video, or it is
            too long to be kept whole; the message says which.
    """
    began = time.perf_counter()
    try:
        source = probe(path)
        sha256 = _sha256(source.path)
        decoder, (frames, clips, count), damage = _read_samples(source, sampling)
    except VideoError as error:
        error.decoding_s = time.perf_counter() - began
        raise
    except MemoryError as error:
        raise VideoError("needs more memory than there is") from error
    return DecodedVideo(
        frames=frames,
        clips=clips,
        frame_count=count,
        fps=source.fps,
        seconds=source.seconds,
        decoder=decoder,
        sha256=sha256,
        decoding_s=time.perf_counter() - began,
        concealed=damage.concealed,
        missing=damage.missing,
    )


def decode_by_pyav(path: str | os.PathLike[str], sampling: Sampling) -> DecodedVideo:
    """As `decode`, but never by decord, for a file on which the decoder hung or crashed."""
    return decode(path, replace(sampling, decoder="pyav"))


def warm_up() -> None:
    """Do nothing: a process that calls this has imported all that decoding needs."""


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_samples(source: Source, sampling: Sampling) -> tuple[Decoder, Samples, Damage]:
    samples, damage = _read_by_pyav(source, sampling)
    if damage:
        if sampling.damaged == "fail":
            raise VideoError(str(damage))
        samples, damage = _read_by_pyav(source, sampling, conceal=True)
    elif sampling.decoder == "decord":
        *_, count = samples
        with suppress(DecordDoubt):
            return "decord", _sample(official_pictures(source, count), count, sampling), damage
    return "pyav", samples, damage


def _read_by_pyav(
    source: Source, sampling: Sampling, *, conceal: bool = False
) -> tuple[Samples, Damage]:
    """The samples and the damage; of a damaged video the samples are right only with `conceal`."""
    expected = source.frames
    for _ in range(2):
        reader = Reader(source, conceal=conceal)
        frames, clips, count = _sample(iter(reader), expected, sampling)
        if conceal and count == 0:
            raise VideoError(str(reader.damage))
        if count == expected or (reader.damage and not conceal):
            return (frames, clips, count), reader.damage
        expected = count
    raise VideoError("has another number of frames each time it is decoded")


def _sample(pictures: Generator[Picture, None, None], count: int, sampling: Sampling) -> Samples:
    """Take the samples from all pictures of a video, which should be `count`.

    The last value returned is how many pictures there were; if it is not `count`, the samples are
    not those of the video.
    """
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
    with closing(pictures):  # closes the decoder, also after a failure here
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
    """Frame index -> its positions among the samples."""
    places: dict[int, list[int]] = {}
    for place, index in enumerate(indices):
        places.setdefault(index, []).append(place)
    return places


def _bicubic(pixels: Pixels, size: int) -> Pixels:
    """Resize by PIL with antialiasing: bit for bit what the official code computes."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))


def _bilinear(pixels: Pixels, size: int) -> Pixels:
    """Resize by torch with antialiasing.

    It differs from PIL by one or two of 256 levels and takes a fifth of the time; clips have many
    frames.
    """
    channels = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    small = interpolate(channels, (size, size), mode="bilinear", antialias=True)
    resized: Pixels = small[0].permute(1, 2, 0).numpy()
    return resized
