"""Turning and mirroring frames as the container or the codec asks for."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Orientation = tuple[int, int, int, int]
"""(a, b, c, d), each -1, 0 or 1: the pixel at (x, y) is shown at (a x + c y, b x + d y)."""

UPRIGHT: Orientation = (1, 0, 0, 1)
"""Shown as it is stored."""


def orientation_of(frame: Any) -> Orientation:
    """How a PyAV frame is to be shown; a matrix of anything but turns and mirrors is ignored."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV fails on every entry if it knows no name for one of them
        return _quarter_turn(frame.rotation)
    if matrix is None:
        return UPRIGHT
    # 3 x 3 in 16.16 fixed point; the third column is for perspective.
    a, b, _, c, d = (int(value) for value in np.sign(np.frombuffer(matrix, np.int32)[:5]))
    along_axes = (a and d and not b and not c) or (b and c and not a and not d)
    return (a, b, c, d) if along_axes else UPRIGHT


def _quarter_turn(degrees: int) -> Orientation:
    """The orientation of a turn to the left by a multiple of 90 degrees."""
    if degrees % 90:
        return UPRIGHT
    cos, sin = round(math.cos(math.radians(degrees))), round(math.sin(math.radians(degrees)))
    return cos, -sin, sin, cos


def turn(picture: NDArray[np.uint8], orientation: Orientation) -> NDArray[np.uint8]:
    """The picture as it is to be shown.

    Args:
        picture: (height, width, 3).
        orientation: As `orientation_of` gives it.

    Returns:
        A view of the picture; a quarter turn swaps height and width.
    """
    a, b, c, d = orientation
    if a == 0:  # the stored x runs along the shown y
        picture = picture.swapaxes(0, 1)
    return picture[:: b + d, :: a + c]
