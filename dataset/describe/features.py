"""Five features of a video's pictures: colorfulness, brightness, contrast, SI and TI (figure 8).

Luma has 8 bits and limited range (16 to 235); other formats are converted to it, so that values
can be compared between videos. The price: every frame is decoded and filtered once, about 25 ms a
frame of 1080p.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed
from numpy.typing import NDArray

from ...errors import VideoError
from ..progress import Progress
from ..splitting.frames import decode_frames

FEATURES = ("colorfulness", "brightness", "contrast", "si", "ti")


def measure_features(
    paths: Sequence[Path], progress: Progress, workers: int | None = None
) -> pd.DataFrame:
    """The features of many videos, computed by Dask.

    Args:
        paths: of the videos.
        progress: called for each video.
        workers: how many processes, by default one for each CPU; with 1, this process does all.

    Returns:
        A row for each path, in their order: the columns of `FEATURES`, and `error`. A video that
        cannot be decoded has NaN and the reason as `error`; of the others `error` is empty.
    """
    workers = workers or os.cpu_count() or 1
    scheduler = "processes" if workers > 1 else "synchronous"
    tasks = [delayed(_row)(str(path)) for path in paths]
    with _DaskProgress(progress, len(tasks)):
        rows = compute(*tasks, scheduler=scheduler, num_workers=workers, chunksize=1)
    return pd.DataFrame(rows, columns=[*FEATURES, "error"])


def _row(path: str) -> dict[str, Any]:
    try:
        return {**video_features(Path(path)), "error": ""}
    except VideoError as error:
        return {"error": str(error)}


class _DaskProgress(Callback):
    """Reports the progress of a Dask computation."""

    def __init__(self, progress: Progress, total: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._progress, self._total, self._done = progress, total, 0

    def _posttask(self, *_: object) -> None:
        self._done += 1
        self._progress(self._done, self._total)


def video_features(path: Path) -> dict[str, float]:
    """The features of one video.

    Means over time: colorfulness (Hasler and Suesstrunk 2003) of one frame a second; brightness and
    contrast, the mean and standard deviation of the luma, of all frames. Maxima over time, by ITU-T
    P.910 (2008): SI, the standard deviation of the Sobel gradient; TI, that of the difference from
    the frame before. A video of one frame has a TI of 0.

    Raises:
        VideoError: the video cannot be decoded.
    """
    colorful: list[float] = []
    light: list[tuple[float, float]] = []
    si, ti = 0.0, 0.0
    before: NDArray[np.int16] | None = None
    size: tuple[int, int] | None = None
    for index, frame in enumerate(decode_frames(path)):
        size = size or (frame.width, frame.height)
        seconds = frame.time if frame.time is not None else index / 25
        if seconds >= len(colorful):
            colorful.append(colorfulness(frame.to_ndarray(format="rgb24")))
        luma = _luma(frame, size)
        light.append((float(luma.mean()), float(luma.std())))
        si = max(si, spatial_information(luma))
        if before is not None:
            ti = max(ti, float((luma - before).std()))
        before = luma
    brightness, contrast = np.mean(light, axis=0)
    return {
        "colorfulness": float(np.mean(colorful)),
        "brightness": float(brightness),
        "contrast": float(contrast),
        "si": si,
        "ti": ti,
    }


def _luma(frame: Any, size: tuple[int, int]) -> NDArray[np.int16]:
    """Luma of shape (height, width); frames of another size than the first are scaled to it."""
    plane = frame.reformat(*size, format="yuv420p", dst_color_range="MPEG").planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: size[1], : size[0]].astype(np.int16)


def colorfulness(picture: NDArray[np.uint8]) -> float:
    """Colorfulness of an RGB picture (height, width, 3): 0 for grey, about 100 for vivid colors."""
    red, green, blue = (picture[..., channel].astype(np.float32) for channel in range(3))
    opponents = red - green, (red + green) / 2 - blue
    spread = math.hypot(*(float(channel.std()) for channel in opponents))
    return spread + 0.3 * math.hypot(*(float(channel.mean()) for channel in opponents))


def spatial_information(luma: NDArray[np.int16]) -> float:
    """Standard deviation of the Sobel gradient's magnitude, without the outermost pixels.

    A picture that is less than 3 pixels wide or high has 0.
    """
    if min(luma.shape) < 3:
        return 0.0
    down = luma[:-2] + 2 * luma[1:-1] + luma[2:]
    across = luma[:, :-2] + 2 * luma[:, 1:-1] + luma[:, 2:]
    horizontal = (down[:, 2:] - down[:, :-2]).astype(np.float32)
    vertical = (across[2:] - across[:-2]).astype(np.float32)
    return float(np.hypot(horizontal, vertical).std(dtype=np.float64))
