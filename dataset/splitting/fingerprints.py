"""Which videos are the same: a hash of the bytes, and a signature of the pictures.

The signature is a difference hash (is a pixel brighter than its right neighbour, 8 x 8) of one
frame a second, for eight seconds. It survives compression, scaling, blur and noise, but not a
shift in time or a crop. Videos with similar signatures look alike; that is no proof that they are
the same.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import VideoError
from ..progress import Progress
from .frames import decode_frames

FRAMES = 8
"""Frames of a signature, one a second from half a second on."""

NEAR = 0.1
"""Near duplicates differ in at most this share of their bits (unrelated videos: in about half)."""

FLAT = 4.0
"""Standard deviation in grey levels below which a frame says nothing: black, a plain title."""

THREADS = 4
"""Threads that hash or decode; both release the GIL."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Signature:
    """Difference hashes of a video's frames.

    Attributes:
        bits: (FRAMES,) uint64.
        valid: (FRAMES,) bool, false for frames that are flat or beyond the end of a short video.
    """

    bits: NDArray[np.uint64]
    valid: NDArray[np.bool_]


def content_hashes(paths: Iterable[Path], progress: Progress) -> dict[Path, str]:
    """SHA-256 of each file's bytes, in hexadecimal; missing files are left out."""
    return {path: found for path, found in _each(list(paths), _sha256, progress) if found}


def signatures(paths: Iterable[Path], progress: Progress) -> dict[Path, Signature]:
    """The signature of each video; those that cannot be decoded are left out."""
    return {path: found for path, found in _each(list(paths), _try_signature, progress) if found}


def _each(
    paths: Sequence[Path], function: Callable[[Path], _Result], progress: Progress
) -> Iterator[tuple[Path, _Result]]:
    with ThreadPoolExecutor(THREADS) as pool:
        for done, (path, result) in enumerate(
            zip(paths, pool.map(function, paths), strict=True), start=1
        ):
            progress(done, len(paths))
            yield path, result


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _try_signature(path: Path) -> Signature | None:
    try:
        return signature(path)
    except VideoError:
        return None


def signature(path: Path) -> Signature:
    """The signature of one video, from its first eight seconds.

    Raises:
        VideoError: it cannot be decoded.
    """
    bits, valid = np.zeros(FRAMES, np.uint64), np.zeros(FRAMES, np.bool_)
    place = 0
    for index, frame in enumerate(decode_frames(path)):
        seconds = frame.time if frame.time is not None else index / 25
        if seconds < place + 0.5:
            continue
        small = frame.reformat(width=72, height=64, format="gray", interpolation="AREA")
        grey = small.to_ndarray().reshape(8, 8, 9, 8).mean(axis=(1, 3))
        bits[place] = np.packbits(grey[:, :-1] > grey[:, 1:]).view(np.uint64)[0]
        valid[place] = grey.std() >= FLAT
        place += 1
        if place == FRAMES:
            break
    return Signature(bits, valid)


def near_duplicates(found: Mapping[str, Signature]) -> list[tuple[str, str, float]]:
    """The pairs of videos that look alike, with the share of bits in which they differ.

    Compares all pairs, in blocks: 39,000 videos take minutes and a few hundred MB.
    """
    names = list(found)
    if not names:
        return []
    bits = np.stack([found[name].bits for name in names])
    valid = np.stack([found[name].valid for name in names])
    pairs = []
    for start in range(0, len(names), 256):
        rows = slice(start, start + 256)
        share = _differences(bits[rows], valid[rows], bits[start:], valid[start:])
        for row, column in zip(*np.nonzero(share <= NEAR), strict=True):
            if row < column:  # both count from `start`
                pairs.append((names[start + row], names[start + column], float(share[row, column])))
    return pairs


def _differences(
    bits: NDArray[np.uint64],
    valid: NDArray[np.bool_],
    others: NDArray[np.uint64],
    others_valid: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Share of differing bits, shape (videos, others); 1 where no frame is valid in both."""
    differing = np.zeros((len(bits), len(others)))
    compared = np.zeros((len(bits), len(others)))
    for frame in range(FRAMES):
        both = valid[:, None, frame] & others_valid[None, :, frame]
        differing += both * np.bitwise_count(bits[:, None, frame] ^ others[None, :, frame])
        compared += both
    return np.where(compared > 0, differing / np.maximum(64 * compared, 1), 1.0)
