"""Small pictures of a video, for cards and reports."""

import base64
import io
from itertools import islice
from pathlib import Path

from PIL import Image

from ...errors import VideoError
from ...extract.decode.probe import probe
from ...extract.decode.reader import Reader
from ...extract.decode.sampling import segment_middles

HEIGHT = 144
"""Height of a thumbnail in pixels; its width keeps the video's aspect ratio."""


def thumbnails(path: Path | str, count: int) -> list[str]:
    """Frames at the middles of `count` equal parts of a video, as data URLs of JPEG files.

    So a page holds its pictures and needs no file beside it. The list is empty for a video that
    cannot be decoded.
    """
    try:
        source = probe(path)
        indices = segment_middles(source.frames, count)
        pictures = iter(Reader(source))
        try:
            decoded = {
                index: picture()
                for index, picture in enumerate(islice(pictures, max(indices) + 1))
                if index in set(indices)
            }
        finally:
            pictures.close()
    except VideoError:
        return []
    return [_data_url(Image.fromarray(decoded[index])) for index in indices if index in decoded]


def _data_url(image: Image.Image) -> str:
    small = image.resize((max(1, round(image.width * HEIGHT / image.height)), HEIGHT))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
