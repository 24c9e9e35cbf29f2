"""The frames of a demo video, and the file that they are written to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

WIDTH, HEIGHT = 256, 256
"""Size of the demo's videos in pixels."""

FPS = 24
FRAMES = 48
"""Frames of a demo video, two seconds."""

CONSTANT_QUALITY = 14
"""x264's CRF: visually lossless at this size."""

Frame = NDArray[Any]
"""One frame (HEIGHT, WIDTH, 3), RGB in [0, 1]."""

Source = Callable[[float, float, float, float], Frame]
"""What a camera sees at an offset (x, y) with a half-size, at a time in seconds."""


def write_video(path: Path, frames: list[Frame]) -> None:
    """Encode frames as H.264 in an MP4 file, visually lossless."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {
            "crf": str(CONSTANT_QUALITY),
            "preset": "veryfast",
            "x264-params": "threads=1",  # the same bytes each time
        }
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(to_bytes(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def to_bytes(frame: Frame) -> NDArray[np.uint8]:
    """A frame with 8 bits a channel."""
    return (frame * 255 + 0.5).astype(np.uint8)
