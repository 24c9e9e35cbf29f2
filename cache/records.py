"""The result of extracting one video, and the record that a commit keeps of it."""

import dataclasses
from typing import Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked_dataclass

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@checked_dataclass(frozen=True, config=_STRICT)
class Source:
    """The video file that features were made from.

    Attributes:
        sha256: Hash of the file's bytes, in hex.
        frames: Number of frames decoded.
        fps: Frames a second, None where the file does not say.
        seconds: Duration, None where the file does not say.
        decoder: Name of the decoder that read it.
        concealed: Number of frames that the decoder made up because they are damaged.
        missing: Number of frames that the file should show and that it did not give.
    """

    sha256: str
    frames: int
    fps: float | None
    seconds: float | None
    decoder: str
    concealed: int = 0
    missing: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """The features of one video, of any float type; the store casts them to its own dtype.

    Attributes:
        spatial: (F, T, D), tokens of F frames.
        motion: (C, M), one vector a clip.
        source: The file that they were made from.
    """

    spatial: np.ndarray
    motion: np.ndarray
    source: Source


@dataclasses.dataclass(frozen=True)
class Failure:
    """A video without features, and why."""

    reason: str


@checked_dataclass(frozen=True, config=_STRICT)
class RowRecord:
    """The record of one row in a commit.

    Attributes:
        video: The video's id.
        status: "ok" if the row holds features, "failed" if it is empty.
        reason: Why it failed; None if ok.
        source: The file; None if the video could not be decoded, never if ok.
        checksum: CRC-32C, in hex, of each stored array's bytes (C order, little endian), joined by
            hyphens in the order of `Layout.arrays`; None if failed.
    """

    video: str
    status: Literal["ok", "failed"]
    reason: str | None
    source: Source | None
    checksum: str | None

    def __post_init__(self) -> None:
        if self.status == "ok":
            complete = self.reason is None and None not in (self.source, self.checksum)
        else:
            complete = self.reason is not None and self.checksum is None
        if not complete:
            raise ValueError(f"the record of {self.video} contradicts its status {self.status!r}")
