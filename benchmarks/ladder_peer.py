"""BRISQUE of a made clip, for `ladder.py`: what could be installed instead, without a download.

    pip install 'brisque[opencv-python-headless]'

Of the packages with BRISQUE or NIQE, `brisque` 0.2.0 (February 2026) is the one that is maintained
and carries its trained weights in the wheel. pyiqa is maintained, but needs torchvision and
downloads weights at the first call; piq (2023) needs torchvision and downloads; scikit-video's NIQE
(2018) fails with NumPy 1.24 and later; opencv-contrib's BRISQUE comes without its model files.
Single frames cannot show that frames are held. What BRISQUE finds in that ladder comes from the
nearly lossless encoding, which is a little coarser where the picture jumps further: written without
any loss, its values of two clips no longer rise with the time of holding.

It is no requirement of the package nor of its tests: where it is missing, `ladder.py` says so.
"""

from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np

PLACES = (1 / 3, 2 / 3)
"""Which frames are judged: about a second for one of 720 lines, so that all would take hours."""


def brisque(path: Path) -> float:
    """Mean over some frames; 0 is good and 100 bad. Not a number where it finds none.

    It is kept beside the file for the next run.
    """
    kept = path.with_suffix(".brisque")
    if kept.exists() and kept.stat().st_mtime_ns > path.stat().st_mtime_ns:
        return float(kept.read_text())
    value = _judged(path)
    kept.write_text(f"{value}\n")
    return value


def _judged(path: Path) -> float:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    chosen = [frames[int(place * len(frames))].to_ndarray(format="rgb24") for place in PLACES]
    with np.errstate(all="ignore"):
        return float(np.mean([_model().score(pixels) for pixels in chosen]))


@cache
def _model() -> Any:
    from brisque import BRISQUE

    class Brisque(BRISQUE):  # type: ignore[misc]
        def scale_features(self, features: Any) -> Any:
            """Version 0.2.0 gives arrays of one value where NumPy 2.4 wants plain numbers."""
            return super().scale_features([np.asarray(value).item() for value in features])

    return Brisque(url=False)
