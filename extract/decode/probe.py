"""Looking into a video file before it is decoded: what it holds, and whether it is complete.

The whole file is demuxed and one frame is decoded, which takes little time beside decoding. A file
that is no video, or that ends early, is refused here, because decoders do not complain: a still
image and an album cover open as a video of one frame, and half a file as a shorter video.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from ...errors import VideoError
from .completeness import check_complete
from .orientation import UPRIGHT, Orientation, orientation_of

_COVER_ART = 1024
"""AV_DISPOSITION_ATTACHED_PIC: the stream is a picture that goes with the sound."""

_PLAYLISTS = frozenset({"concat", "dash", "hls", "imf", "sdp"})
"""Demuxers that open other files, which may lie anywhere, in place of the one that was named."""

_STILLS = frozenset({"ico", "image2", "tty"})
"""Demuxers of images and of text, besides all those whose name ends in _pipe."""

_STILL_BRANDS = frozenset({"avif", "heic", "heix", "mif1"})
"""Brands of the mp4 container that, with a single frame, mark it as a photograph."""


@dataclass(frozen=True)
class Source:
    """What a video file holds, as far as is known before it is decoded.

    Attributes:
        path: Absolute path of the file.
        container: FFmpeg's name of the demuxer, such as "mpegts" or "mov,mp4,m4a,3gp,3g2,mj2".
        codec: FFmpeg's name of the codec, such as "h264".
        stream: Index of the video stream to decode.
        video_streams: Video streams in the file, cover art included.
        frames: Packets that are to be shown; most often, but not always, the number of frames.
        discarded: Packets that an edit list hides.
        width: Width of the first frame in pixels, before it is turned; 0 if it cannot be decoded.
        orientation: How frames are turned for display.
        fps: Average frames per second, or None if the file does not say.
        seconds: Time from the start of the first frame to the end of the last, or None if unknown.
    """

    path: str
    container: str
    codec: str
    stream: int
    video_streams: int
    frames: int
    discarded: int
    width: int
    orientation: Orientation
    fps: float | None
    seconds: float | None


@dataclass
class _Packets:
    """Counts and times, in seconds, of the video stream's packets."""

    seen: int = 0  # all packets, those of dropped frames included
    shown: int = 0
    discarded: int = 0
    corrupt: int = 0
    start: float = math.inf
    end: float = -math.inf
    file_end: float = -math.inf  # when the last packet of any stream ends
    first_frame: Any = None

    def add(self, packet: Any, codec: str) -> None:
        self.seen += 1
        self.discarded += packet.is_discard
        self.corrupt += packet.is_corrupt
        if is_shown(packet, codec):
            self.shown += 1
            if (times := _times(packet)) is not None:
                self.start = min(self.start, times[0])
                self.end = max(self.end, times[1])


def probe(path: str | os.PathLike[str]) -> Source:
    """Read a video file's packets without decoding them.

    Args:
        path: The video file.

    Returns:
        What the file holds.

    Raises:
        VideoError: The file cannot be read, is not a video, has no frames or ends early.
    """
    file = Path(os.path.abspath(path))
    _check_file(file)
    with open_video(str(file)) as container:
        _check_is_video(container)
        stream = container.streams.best("video")
        if stream is None:
            raise VideoError("holds no video stream")
        if stream.disposition & _COVER_ART:
            raise VideoError("holds no video: its only picture is cover art")
        if stream.codec_context is None:
            raise VideoError("holds video of a codec that the decoder does not know")
        packets = _read_packets(container, stream)
        _check_packets(container, stream, packets)
        check_complete(file, container, stream, packets.end, packets.file_end)
        return _describe(str(file), container, stream, packets)


@contextmanager
def open_video(path: str) -> Iterator[Any]:
    """A PyAV container of a local file; whatever FFmpeg finds wrong in it becomes a VideoError."""
    # Without this whitelist a playlist that is named like a video could open network addresses.
    options = {"protocol_whitelist": "file"}
    try:
        container = av.open(path, options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        raise VideoError(f"is not a video, or is damaged: {error.strerror}") from error
    with container:
        try:
            yield container
        except av.FFmpegError as error:
            raise VideoError(f"is damaged or cut off: {error.strerror}") from error


def is_shown(packet: Any, codec: str) -> bool:
    """Whether the frame of a packet is to be shown.

    It is not if the packet has no bytes, because a frame was dropped on recording; if an edit list
    hides it; and if VP8 or VP9 only keep it for others to refer to.
    """
    if not packet.size or packet.is_discard:
        return False
    head = memoryview(packet)
    if codec == "vp8":
        return bool(head[0] >> 4 & 1)
    if codec == "vp9":
        return _vp9_is_shown(head)
    return True


def _vp9_is_shown(data: memoryview) -> bool:
    """By the first bits of VP9's uncompressed header (section 6.2 of its specification)."""
    if data[-1] >> 5 == 0b110:
        return True  # a superframe: the last of its frames is shown
    bits = f"{int.from_bytes(data[:2].tobytes().ljust(2, bytes(1)), 'big'):016b}"
    at = 5 if bits[2:4] == "11" else 4  # a reserved bit follows profile 3
    shows_existing, shown = bits[at] == "1", bits[at + 2] == "1"
    return shows_existing or shown


def _codec(stream: Any) -> str:
    return str(stream.codec_context.codec.canonical_name)


def _check_file(file: Path) -> None:
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise VideoError("is not a file")
        with file.open("rb"):
            pass
    except OSError as error:
        raise VideoError(f"cannot be read: {error.strerror}") from error
    if size == 0:
        raise VideoError("is empty (0 bytes)")


def _check_is_video(container: Any) -> None:
    name = container.format.name
    if name.endswith("_pipe") or name in _STILLS:
        kind = name.removesuffix("_pipe")
        raise VideoError(f"is not a video, but an image or text (read as {kind})")
    if name in _PLAYLISTS:
        raise VideoError(f"is not a video, but a playlist of other files (read as {name})")


def _read_packets(container: Any, stream: Any) -> _Packets:
    packets, codec = _Packets(), _codec(stream)
    stream.thread_type = "NONE"
    for packet in container.demux():
        if packet.size == 0 and packet.dts is None:
            continue  # the end of a stream
        if (times := _times(packet)) is not None:
            packets.file_end = max(packets.file_end, times[1])
        if packet.stream_index == stream.index:
            packets.add(packet, codec)
            if packets.first_frame is None and packet.size:
                packets.first_frame = _first_frame(stream, packet)
    if packets.first_frame is None and packets.seen:
        packets.first_frame = _first_frame(stream, None)  # what the decoder still holds
    return packets


def _first_frame(stream: Any, packet: Any) -> Any:
    """The first frame that decoding a packet gives, or None; errors come up again in decoding."""
    with suppress(av.FFmpegError):
        return next(iter(stream.decode(packet)), None)
    return None


def _times(packet: Any) -> tuple[float, float] | None:
    """When the packet's frame starts and ends, in seconds; None if the file does not say."""
    time = packet.dts if packet.pts is None else packet.pts
    if time is None:
        return None
    return float(time * packet.time_base), float((time + (packet.duration or 0)) * packet.time_base)


def _check_packets(container: Any, stream: Any, packets: _Packets) -> None:
    if packets.shown == 0:
        raise VideoError("holds a video stream without frames")
    if packets.shown == 1 and container.metadata.get("major_brand", "").strip() in _STILL_BRANDS:
        raise VideoError("is not a video, but a single still image")
    # In a transport stream the flag also marks where two intact recordings were joined.
    if packets.corrupt and container.format.name != "mpegts":
        raise VideoError(
            f"is damaged or cut off: {packets.corrupt} of its {packets.seen} frames are incomplete"
        )


def _describe(path: str, container: Any, stream: Any, packets: _Packets) -> Source:
    first = packets.first_frame
    span = packets.end - packets.start
    return Source(
        path=path,
        container=container.format.name,
        codec=_codec(stream),
        stream=stream.index,
        video_streams=len(container.streams.video),
        frames=packets.shown,
        discarded=packets.discarded,
        width=first.width if first is not None else 0,
        orientation=orientation_of(first) if first is not None else UPRIGHT,
        fps=float(stream.average_rate) if stream.average_rate else None,
        seconds=span if 0 < span < math.inf else None,
    )
