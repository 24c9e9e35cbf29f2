"""Decoding a video for its description and fingerprint: in order, one frame in memory at a time.

The features that a model sees come from `finevq.extract`, which refuses damaged videos; here a
damaged frame that the decoder fills in only changes a statistic a little.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from ...errors import VideoError


def decode_frames(path: Path) -> Iterator[Any]:
    """The frames of the best video stream, as `av.VideoFrame`, in the order they are shown.

    It is the stream that extraction takes: not cover art, and of several the largest.

    Raises:
        VideoError: no such file, no video stream in it, or no frame that can be decoded.
    """
    count = 0
    try:
        with av.open(str(path)) as container:
            stream: Any = container.streams.best("video")
            if stream is None:
                raise VideoError(f"{path}: no video stream")
            stream.thread_type = "SLICE"  # frame threads hold many frames of a 4K video
            for frame in container.decode(stream):
                count += 1
                yield frame
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path}: {type(error).__name__}: {error}") from error
    if not count:
        raise VideoError(f"{path}: no frames")
