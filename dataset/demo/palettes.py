"""Random colors for the demo's scenes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frames import Frame


def random_palette(rng: np.random.Generator, colors: int) -> NDArray[Any]:
    """Colors that are neither black nor white; shape (colors, 3)."""
    return rng.uniform(0.08, 0.92, (colors, 3)).astype(np.float32)


def mix(value: Frame, palette: NDArray[Any]) -> NDArray[Any]:
    """Colors for values in [0, 1], interpolated along a palette."""
    steps = np.linspace(0, 1, len(palette))
    channels = [np.interp(value, steps, palette[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)
