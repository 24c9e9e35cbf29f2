"""Scenes of the demo that are sample photographs, seen through a moving camera."""

from functools import cache
from importlib.resources import as_file, files

import numpy as np
from PIL import Image

from ...errors import DatasetError
from .frames import HEIGHT, WIDTH, Frame, Source
from .palettes import mix, random_palette

PHOTOGRAPHS = {
    "astronaut": ("skimage.data", "astronaut.png"),
    "brick": ("skimage.data", "brick.png"),
    "camera": ("skimage.data", "camera.png"),
    "cat": ("skimage.data", "chelsea.png"),
    "coffee": ("skimage.data", "coffee.png"),
    "coins": ("skimage.data", "coins.png"),
    "galaxies": ("skimage.data", "hubble_deep_field.jpg"),
    "grass": ("skimage.data", "grass.png"),
    "gravel": ("skimage.data", "gravel.png"),
    "moon": ("skimage.data", "moon.png"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "retina": ("skimage.data", "retina.jpg"),
    "rocket": ("skimage.data", "rocket.jpg"),
    "tissue": ("skimage.data", "ihc.png"),
    "china": ("sklearn.datasets.images", "china.jpg"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "portrait": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
"""Photographs in the wheels of scikit-image, scikit-learn and matplotlib: (package, file)."""

GRAY = ("brick", "camera", "coins", "grass", "gravel", "moon")
"""Photographs without color; they are tinted, as loss of color would not show on them."""


def photograph_source(name: str, rng: np.random.Generator) -> Source:
    """A photograph, tinted at random if it has no color."""
    picture = photograph(name)
    if name in GRAY:
        picture = _tint(picture, rng)
    return lambda x, y, half, time: _view(picture, x, y, half)


@cache
def photograph(name: str) -> Image.Image:
    """A sample photograph in RGB, cut to the videos' aspect ratio.

    Raises:
        DatasetError: the package that carries it is not installed.
    """
    package, file = PHOTOGRAPHS[name]
    try:
        with as_file(files(package).joinpath(file)) as path, Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise DatasetError(
            f"the demo's photograph {file} of {package} is missing; install the sample pictures "
            "with `pip install 'finevq[demo]'`"
        ) from error
    width = min(picture.width, picture.height * WIDTH // HEIGHT)
    height = min(picture.height, picture.width * HEIGHT // WIDTH)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _tint(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Color a gray photograph along black, two random colors and white."""
    palette = np.vstack([np.zeros(3), np.sort(random_palette(rng, 2), axis=0), np.ones(3)])
    colored = mix(
        np.asarray(picture.convert("L"), dtype=np.float32) / 255, np.asarray(palette, np.float32)
    )
    return Image.fromarray((colored * 255).astype(np.uint8))


def _view(picture: Image.Image, x: float, y: float, half: float) -> Frame:
    """Cut a view out of a picture; a view that reaches beyond the edge is moved back inside."""
    half = min(half, 0.98)
    x = float(np.clip(x, half - 1, 1 - half))
    y = float(np.clip(y, half - 1, 1 - half))
    box = (
        (x - half + 1) / 2 * picture.width,
        (y - half + 1) / 2 * picture.height,
        (x + half + 1) / 2 * picture.width,
        (y + half + 1) / 2 * picture.height,
    )
    resized = picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized, dtype=np.float32) / 255
