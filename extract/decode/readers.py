"""The two decoders, each as an iterator over all frames of a video in the order of display.

For each frame both yield a function that makes its pixels, so that only sampled frames are
converted to RGB. Neither seeks: after seeking decord returns wrong frames of intact files without
an error.
"""

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ...errors import VideoError
from .orientation import UPRIGHT, Orientation, turn
from .probe import Source, open_video

Picture = Callable[[], NDArray[np.uint8]]
"""Makes the RGB pixels of a frame, (height, width, 3), as it is to be shown."""


class DecordDoubt(Exception):
    """Decord's frames of this file cannot be trusted."""


_DECORD_DEFECTS: tuple[tuple[str, Callable[[Source], bool]], ...] = (
    ("loses the first frames of a transport stream", lambda s: s.container == "mpegts"),
    ("shows frames that an edit list hides", lambda s: s.discarded > 0),
    ("counts the hidden frames of VP8 and VP9", lambda s: s.codec in {"vp8", "vp9"}),
    ("cannot open this codec", lambda s: s.codec in {"av1", "gif", "theora", "vvc"}),
    ("takes line padding of narrow pictures for pixels", lambda s: s.width < 64),
    ("smears colours at the edge of odd widths", lambda s: s.width % 2 == 1),
    ("turns some containers only, and mirrors none", lambda s: s.orientation != UPRIGHT),
    ("may choose another of several streams, or cover art", lambda s: s.video_streams > 1),
)
"""What decord is known to do wrong without an error, and the files that are affected."""


def decord_defect(source: Source) -> str | None:
    """What decord is known to do wrong with such a file, or None."""
    return next((defect for defect, applies in _DECORD_DEFECTS if applies(source)), None)


def decord_pictures(source: Source) -> Generator[Picture, None, None]:
    """All frames by decord.

    Raises:
        DecordDoubt: Decord fails, prints anything, lacks a frame, or announces another number of
            frames than the container.
    """
    with _doubt_output():
        try:
            yield from _decord_pictures(source)
        except DecordDoubt:
            raise
        except Exception as error:  # decord raises four unrelated types
            raise DecordDoubt(str(error)) from error


def _decord_pictures(source: Source) -> Generator[Picture, None, None]:
    # Imported here, because only a process that decodes needs decord and the FFmpeg that it brings.
    from decord import VideoReader

    # One thread, because with more of them damage is reported at another frame each time. With
    # this tolerance decord raises where it would repeat a frame in place of one that it lacks.
    reader = VideoReader(source.path, num_threads=1, fault_tol=1e-9)
    if len(reader) != source.frames:
        raise DecordDoubt(f"{len(reader)} frames announced, {source.frames} expected")
    for _ in range(len(reader)):
        frame = reader.next()
        if len(frame.shape) != 3 or frame.shape[2] != 3:
            raise DecordDoubt(f"frame of shape {frame.shape}")
        yield frame.asnumpy


_stderr_lock = threading.Lock()


@contextmanager
def _doubt_output() -> Iterator[None]:
    """Raise DecordDoubt if anything is printed to file descriptor 2, by any thread.

    Decord conceals damage; the libraries below it report it, but only on standard error.
    """
    with _stderr_lock, tempfile.TemporaryFile() as log:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        log.seek(0)
        printed = log.read(200).decode(errors="replace").strip()
        if printed:
            raise DecordDoubt(printed)


def pyav_pictures(source: Source) -> Generator[Picture, None, None]:
    """All frames by PyAV, which conceals nothing.

    Raises:
        VideoError: Frames are damaged or missing; raised after the last frame, with their number.
    """
    bad = total = 0
    with open_video(source.path) as container:
        stream = container.streams[source.stream]
        # Decoding frames in parallel hides errors at the end of a file that was cut off.
        stream.thread_type = "NONE"
        for packet in container.demux(stream):
            if packet.size == 0 and packet.dts is not None:
                continue  # a frame dropped on recording; passed on, it would end the stream here
            total += packet.size > 0
            try:
                frames = packet.decode()
            except av.FFmpegError:
                bad += 1
                continue
            for frame in frames:
                bad += frame.is_corrupt
                yield partial(_pixels, frame, source.orientation)
    if bad:
        raise VideoError(
            f"is damaged: {min(bad, total)} of {total} frames cannot be decoded cleanly"
        )


def _pixels(frame: Any, orientation: Orientation) -> NDArray[np.uint8]:
    try:
        return turn(frame.to_ndarray(format="rgb24"), orientation)
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(f"has pixels that cannot be converted ({frame.format.name})") from error
