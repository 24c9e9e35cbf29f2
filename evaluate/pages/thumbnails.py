"""Small pictures of a video, for cards and reports."""

import base64
import io
from itertools import islice
from pathlib import Path

from PIL import Image

from ...errors import VideoError
from ...extract.decode.probe import probe
from ...extract.decode.readers import pyav_pictures
from ...extract.decode.sampling import segment_middles

HEIGHT = 144
"""Of a thumbnail in pixels; its width follows the video's shape."""


def thumbnails(path: Path | str, count: int) -> list[str]:
    """Frames at the middles of `count` equal parts of a video, as data URLs of JPEG files.

    Nothing of it leaves the page that shows it, and the page needs no file beside it. A video that
    cannot be decoded has none.
    """
    try:
        source = probe(path)
        wanted = segment_middles(source.frames, count)
        pictures = pyav_pictures(source)
        try:
            taken = {
                index: picture()
                for index, picture in enumerate(islice(pictures, max(wanted) + 1))
                if index in set(wanted)
            }
        finally:
            pictures.close()
    except VideoError:
        return []
    return [_data_url(Image.fromarray(taken[index])) for index in wanted if index in taken]


def _data_url(image: Image.Image) -> str:
    small = image.resize((max(1, round(image.width * HEIGHT / image.height)), HEIGHT))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
