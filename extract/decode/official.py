"""The decoder of the official code, for features that are to be the official ones.

Decord decides nothing but pixels: which file is damaged, and how many frames it has, is known from
PyAV before. Where decord's frames cannot be trusted, there are none.
"""

import sys
import tempfile
from collections.abc import Callable, Generator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ...errors import ConfigError
from .orientation import UPRIGHT
from .probe import Source
from .reader import Picture, stderr_into

if TYPE_CHECKING:  # it brings pydantic, which decoding processes do without
    from ..settings import DecodeSettings


class DecordDoubt(Exception):
    """Decord's frames of this file cannot be trusted."""


_DEFECTS: tuple[tuple[str, Callable[[Source], bool]], ...] = (
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


def check_decoder(settings: "DecodeSettings") -> None:
    """Make sure that the decoder that gives the pixels is there.

    Raises:
        ConfigError: It is decord, which is not installed.
    """
    if settings.decoder == "decord" and find_spec("decord") is None:
        raise ConfigError(
            'extract.decode.decoder = "decord": the package decord is not installed (it exists for '
            'Linux and Windows on x86-64 processors); set it to "pyav"'
        )


def official_pictures(source: Source, count: int) -> Generator[Picture, None, None]:
    """All frames of a sound video by decord, in order; until the last one nothing is certain.

    Meanwhile nothing that the process prints to standard error appears.

    Args:
        source: What `probe` found in the file.
        count: The number of its frames.

    Raises:
        DecordDoubt: Decord is known to get such a file wrong, fails, prints anything, or has
            another number of frames.
    """
    for defect, applies in _DEFECTS:
        if applies(source):
            raise DecordDoubt(defect)
    # Imported here, because only a process that decodes needs decord and the FFmpeg that it brings.
    from decord import VideoReader

    sys.stderr.flush()
    with tempfile.TemporaryFile(buffering=0) as log:
        with stderr_into(log):
            try:
                # With this tolerance decord raises where it would repeat a frame that it lacks.
                reader = VideoReader(source.path, num_threads=1, fault_tol=1e-9)
                if len(reader) != count:
                    raise DecordDoubt(f"has {len(reader)} frames instead of {count}")
                for _ in range(count):
                    frame = reader.next()
                    if len(frame.shape) != 3 or frame.shape[2] != 3:
                        raise DecordDoubt(f"has a frame of shape {frame.shape}")
                    yield frame.asnumpy
            except DecordDoubt:
                raise
            except Exception as error:  # decord raises four unrelated types
                raise DecordDoubt(str(error)) from error
        if log.tell():  # the libraries below it report there what it conceals
            raise DecordDoubt("printed a warning")
