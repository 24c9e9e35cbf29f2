"""Whether a file is as long as its container declares, for each kind of container.

Decoders do not notice: they take a file that was cut off for a shorter video. A container that
declares no length (raw streams, Ogg, GIF, live recordings) counts as complete.
"""

from pathlib import Path
from typing import Any, BinaryIO

import av

from ...errors import VideoError


def check_complete(
    file: Path, container: Any, stream: Any, video_end: float, file_end: float
) -> None:
    """Refuse a file that was cut off.

    Args:
        file: The video file.
        container: Its PyAV container, after all packets have been read.
        stream: Its video stream.
        video_end: When the last frame ends, in seconds.
        file_end: When the last packet of any stream ends, in seconds.

    Raises:
        VideoError: The file is shorter than it declares.
    """
    name = container.format.name
    if name.startswith("mov"):
        _check_size(file, max((e.pos + e.size for e in stream.index_entries), default=0))
    elif name.startswith("matroska"):
        _check_size(file, _matroska_size(file))
    elif name == "mpegts":
        _check_size(file, _transport_size(file))
    elif name == "avi" and stream.frames and stream.average_rate:
        _check_duration(video_end, float(stream.frames / stream.average_rate))
    elif name in {"asf", "flv"} and container.duration:
        _check_duration(file_end, container.duration / av.time_base)


def _check_size(file: Path, declared: int) -> None:
    missing = declared - file.stat().st_size
    if missing > 0:
        raise VideoError(f"ends early: at least {missing} bytes are missing")


def _check_duration(end: float, declared: float) -> None:
    # Declared durations are rounded and may count a frame too many: allow 2 % or 0.25 seconds.
    if end < declared - max(0.02 * declared, 0.25):
        raise VideoError(f"ends early: {max(end, 0):.2f} of {declared:.2f} seconds are there")


def _matroska_size(file: Path) -> int:
    """The size in bytes that a Matroska file declares; 0 where it does not (live recordings)."""
    end, size = 0, file.stat().st_size
    with file.open("rb") as stream:
        for expected in (0x1A45DFA3, 0x18538067):  # the EBML header, then the segment
            if end > size:
                break  # a damaged header may declare more than a file system can seek to
            stream.seek(end)
            identifier, _ = _ebml_number(stream, keep_marker=True)
            length, unknown = _ebml_number(stream, keep_marker=False)
            if identifier != expected or unknown:
                return 0
            end = stream.tell() + length
    return end


def _ebml_number(stream: BinaryIO, *, keep_marker: bool) -> tuple[int, bool]:
    """Read a variable-length number; also tells whether it is the one that means "unknown"."""
    first = stream.read(1)
    if not first or not first[0]:
        return 0, True
    length = 9 - first[0].bit_length()  # as many leading zeros as bytes follow, then a marker bit
    value = int.from_bytes(first + stream.read(length - 1), "big")
    mantissa = value & ((1 << 7 * length) - 1)
    return (value if keep_marker else mantissa), mantissa == (1 << 7 * length) - 1


def _transport_size(file: Path) -> int:
    """Where the last, perhaps incomplete transport packet should end, in bytes; 0 if unknown."""
    size, sync = file.stat().st_size, b"\x47"
    with file.open("rb") as stream:
        head = stream.read(2048)
        # As broadcast, with parity behind each packet, and on discs, with a time before each.
        for start, length in ((0, 188), (0, 204), (4, 192)):
            if head[start::length].strip(sync) or len(head) <= start + 2 * length:
                continue
            last = size - 1 - (size - 1 - start) % length
            stream.seek(last)
            # What begins there is no packet where padding or other data follow the last one.
            return last - start + length if stream.read(1) == sync else 0
    return 0
