"""How the embedded image encoder looks at a frame: pieces of it at two scales, in one square.

Resized to a square of a few hundred pixels, a frame of 720 lines loses what distortions are made
of: the blocks of a codec, fine noise, slight blur. Pieces keep them. A square of 6 x 6 pieces of 28
pixels holds

    rows 0 to 2   pieces of the frame shrunk (or enlarged) to a shorter side of 224 pixels
    rows 3 to 5   pieces of the frame as it is, pixel by pixel

A piece is what one token is made of, two patches of 14 pixels by two, so that none sees a seam. The
places of the pieces move from frame to frame, spread over the picture.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

PIECE, ACROSS = 28, 6
"""Side of a piece in pixels, and pieces in a row of the square."""

SIDE = PIECE * ACROSS
"""Side of the square in pixels: 168."""

SHORTER, LONGEST = 224, 16
"""Shorter side of the shrunk frame in pixels; ratio above which its longer side is squeezed."""

STEP_X, STEP_Y, TURN_X, TURN_Y = 0.7548776662466927, 0.5698402909980532, 0.37, 0.21
"""How far the pieces move, as shares of their cells: from frame to frame by the two-dimensional
golden ratio, which fills a cell evenly, and from cell to cell."""

BLOCK = 8
"""Pieces of the frame as it is begin at a multiple of this: where a codec's blocks begin."""


def pieces(pixels: Pixels, number: int) -> Pixels:
    """The square of pieces of one frame.

    Args:
        pixels: RGB, uint8, (height, width, 3), of any size.
        number: of the frame among those that are sampled; it decides where the pieces lie.

    Returns:
        RGB, uint8, (168, 168, 3).
    """
    image = Image.fromarray(pixels)
    shorter = min(image.size)
    width, height = (round(min(side / shorter, LONGEST) * SHORTER) for side in image.size)
    shrunk = [_shrunk(image, box, width, height) for box in _boxes(width, height, number, 1)]
    if shorter < PIECE:
        image = image.resize((max(image.width, PIECE), max(image.height, PIECE)))
        pixels = np.asarray(image)
    whole = [
        pixels[y : y + PIECE, x : x + PIECE]
        for x, y in _boxes(image.width, image.height, number, BLOCK)
    ]
    square = np.stack(shrunk + whole).reshape(ACROSS, ACROSS, PIECE, PIECE, 3)
    return square.swapaxes(1, 2).reshape(SIDE, SIDE, 3)


def _boxes(width: int, height: int, number: int, block: int) -> list[tuple[int, int]]:
    """Left and top of one piece in each of 18 cells, 6 along the longer side of the frame."""
    half = ACROSS // 2
    columns, rows = (ACROSS, half) if width >= height else (half, ACROSS)
    boxes = []
    for index in range(columns * rows):
        row, column = divmod(index, columns)
        x = (column + (0.5 + number * STEP_X + index * TURN_X) % 1) / columns * (width - PIECE)
        y = (row + (0.5 + number * STEP_Y + index * TURN_Y) % 1) / rows * (height - PIECE)
        boxes.append((int(x) // block * block, int(y) // block * block))
    return boxes


def _shrunk(image: Image.Image, at: tuple[int, int], width: int, height: int) -> Pixels:
    """A piece of the frame at a size, without resizing the rest of it."""
    across, down = image.width / width, image.height / height
    (x, y), side = at, PIECE
    box = (x * across, y * down, (x + side) * across, (y + side) * down)
    box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
