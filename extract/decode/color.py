"""From the pixels of a decoded frame to RGB: which matrix and which range, for each frame anew.

A frame says by itself how its colors are meant; a video may change that as it goes on. What it does
not say, or says of a matrix that the converter does not have, is decided here and nowhere else:

- without a matrix, or with one such as YCgCo or ICtCp, BT.601 at every size, as in the decoder of
  the official code;
- without a range, limited for YUV and full for the rest.

More than 8 bits are rounded to 8, without tone mapping.
"""

from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from ...errors import VideoError

_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,  # with constant luminance, which no converter here computes
}
"""By the number that H.273 gives a matrix; BT.601 is 5 and 6, "unknown" 2."""

_THREADS = 1
"""Of the converter: the decoding processes share the CPUs already."""


def to_rgb(frame: Any, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """Convert a PyAV frame.

    Args:
        frame: As decoded.
        reformatter: PyAV's converter, of this thread; faster when it is the same for all frames.

    Returns:
        RGB, (height, width, 3), not yet turned upright.

    Raises:
        VideoError: FFmpeg cannot convert this kind of pixels.
    """
    try:
        source_range = _range(frame)
        if _is_gray(frame) and source_range == ColorRange.MPEG:
            # The converter takes all gray for full; as the luma of YUV it heeds the range.
            frame = _convert(frame, reformatter, _luma_format(frame), ColorRange.JPEG)
        pixels: NDArray[np.uint8] = _convert(frame, reformatter, "rgb24", source_range).to_ndarray()
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(f"has pixels that cannot be converted ({frame.format.name})") from error
    return pixels


def _convert(
    frame: Any, reformatter: VideoReformatter, pixel_format: str, source_range: ColorRange
) -> Any:
    matrix = _MATRICES.get(int(frame.colorspace), Colorspace.ITU601)
    return reformatter.reformat(
        frame,
        format=pixel_format,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=source_range,
        dst_color_range=ColorRange.JPEG,
        threads=_THREADS,
    )


def _range(frame: Any) -> ColorRange:
    name, tag = frame.format.name, int(frame.color_range)
    if name.startswith("yuvj"):
        return ColorRange.JPEG
    if tag in (ColorRange.MPEG, ColorRange.JPEG):
        return ColorRange(tag)
    return ColorRange.JPEG if frame.format.is_rgb or _is_gray(frame) else ColorRange.MPEG


def _is_gray(frame: Any) -> bool:
    return str(frame.format.name).startswith("gray")


def _luma_format(frame: Any) -> str:
    """The YUV format without subsampling that has as many bits as a gray frame."""
    bits = frame.format.components[0].bits
    return "yuv444p" if bits == 8 else f"yuv444p{bits}le"
