"""Small videos of known frames."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def write_video(
    path: Path, frames: NDArray[np.uint8], *, fps: int = 10, crf: int = 10, full: bool = False
) -> Path:
    """Encode frames of shape (frames, height, width, 3) as H.264.

    `full` marks the samples as full range and encodes them so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf)})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if full else "yuv420p"
        stream.thread_count = 1
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def scene(seed: int, *, count: int = 20, size: tuple[int, int] = (64, 96)) -> NDArray[np.uint8]:
    """Frames of soft blobs that move a little; each seed has its own."""
    rng = np.random.default_rng(seed)
    height, width = size
    y, x = np.mgrid[:height, :width]
    pictures = np.full((count, height, width, 3), 90.0)
    for _ in range(12):
        top, left = rng.uniform(0, height), rng.uniform(0, width)
        color, radius, step = rng.uniform(-120, 120, 3), rng.uniform(6, 20), rng.uniform(-1, 1, 2)
        for t in range(count):
            far = (y - top - step[0] * t) ** 2 + (x - left - step[1] * t) ** 2
            pictures[t] += np.exp(-far / radius**2)[..., None] * color
    return np.clip(pictures, 0, 255).astype(np.uint8)
