"""All frames of a video, in the order of display, and what is wrong with them.

PyAV decodes every video: in order, because after seeking decoders return wrong frames of intact
files without an error, and strictly, because decoders conceal damage. Three signs of damage are
put together, as each alone misses some:

- A packet gives no frame. Each packet is sent with its number as its time, which the decoder hands
  on to the frame that it makes of it.
- A frame is flagged as corrupt, or the decoder refuses its packet.
- FFmpeg logs an error while it decodes the packet, such as a checksum that does not fit.

What precedes the first frame that can be decoded is no damage: a receiver tuned in late.
"""

import os
import re
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from .color import to_rgb
from .orientation import turn
from .probe import Source, is_shown, open_video

Picture = Callable[[], NDArray[np.uint8]]
"""Makes the RGB pixels of a frame, (height, width, 3), as it is to be shown."""

_STRICT = {"err_detect": "crccheck+bitstream+buffer"}
"""FFmpeg checks every checksum there is, and whether the bitstream keeps to its specification."""

_SKIPPED_VOP = 19
"""An MPEG-4 packet of at most so many bytes may say that the last frame stays; FFmpeg's own rule
(MAX_NVOP_SIZE)."""


@dataclass(frozen=True)
class Damage:
    """How many frames of a video are not as they were recorded.

    Attributes:
        shown: Frames that the file should show, from the first one that can be decoded.
        concealed: Those of them that the decoder made up, in part or whole.
        missing: Those of them that it did not give at all.
    """

    shown: int
    concealed: int = 0
    missing: int = 0

    def __bool__(self) -> bool:
        return self.concealed + self.missing > 0

    def __str__(self) -> str:
        if not self.concealed:
            return f"is damaged: {self.missing} of {self.shown} frames are missing"
        concealed = f"is damaged: {self.concealed} of {self.shown} frames cannot be decoded cleanly"
        return concealed + (f", {self.missing} missing" if self.missing else "")


class Reader:
    """Decodes a video once, as an iterator over functions that make the pixels of each frame.

    So only frames that are sampled are converted to RGB; each must be made before the next step.

    Attributes:
        damage: What was wrong with the frames; known when the last one has been read.
    """

    def __init__(self, source: Source, *, conceal: bool = False) -> None:
        """Prepare to read a video.

        Args:
            source: What `probe` found in the file.
            conceal: Whether the frames include those that the decoder would hold back because they
                refer to damaged ones, as a player shows them.
        """
        self.damage = Damage(0)
        self._source = source
        self._conceal = conceal

    def __iter__(self) -> Generator[Picture, None, None]:
        """Yield the frames.

        Raises:
            VideoError: The file cannot be read, or the pixels of a frame cannot be converted.
        """
        reformatter = VideoReformatter()  # one for all frames: it keeps its tables
        with open_video(self._source.path) as container, _ErrorLog() as log:
            stream = container.streams[self._source.stream]
            # Decoding frames in parallel hides errors at the end of a file that was cut off.
            stream.thread_type = "NONE"
            decoder = stream.codec_context
            decoder.options = _STRICT
            if self._conceal:
                decoder.flags |= Flags.output_corrupt
            with log.listening():
                decoder.open()
            log.take()  # errors in headers that no frame needs are no damage
            tally = _Tally(self._source.codec)
            for packet in container.demux(stream):
                if packet.size == 0 and packet.dts is not None:
                    continue  # a frame dropped on recording; passed on, it would end the stream
                number = tally.add(packet)
                refused, frames = False, []
                try:
                    with log.listening():
                        frames = packet.decode()
                except av.FFmpegError:
                    refused = True
                if log.take() or refused:
                    tally.flaw(number)
                for frame in frames:
                    tally.receive(frame)
                    yield partial(self._pixels, frame, reformatter)
            self.damage = tally.damage()

    def _pixels(self, frame: Any, reformatter: VideoReformatter) -> NDArray[np.uint8]:
        return turn(to_rgb(frame, reformatter), self._source.orientation)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A packet that was sent to the decoder: when its frame is shown, and whether it needs one."""

    time: int | None
    needs_frame: bool


class _Tally:
    """Which packets gave which frames; it holds only those packets that something is odd about."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._packets = self._frames = 0
        self._waiting: dict[int, _Sent] = {}
        self._flawed: dict[int, int | None] = {}  # number -> time, as of all packets
        self._fields: dict[int, int] = {}  # number -> time since the packet before it
        self._first: tuple[int, int | None] | None = None
        self._last_time: int | None = None

    def add(self, packet: Any) -> int:
        """Number a packet that is about to be decoded; the number takes the place of its time."""
        if packet.size:
            skipped = self._codec == "mpeg4" and packet.size <= _SKIPPED_VOP
            needs_frame = is_shown(packet, self._codec) and not skipped
            self._waiting[self._packets] = _Sent(packet.pts, needs_frame)
            packet.pts = self._packets
            self._packets += 1
        return self._packets - 1  # at the end, when the decoder gives what it still holds: the last

    def flaw(self, number: int) -> None:
        """Note that decoding a packet failed or logged an error."""
        sent = self._waiting.get(number)
        self._flawed.setdefault(number, sent.time if sent else None)

    def receive(self, frame: Any) -> None:
        """Note which packet a frame was made of."""
        number = frame.pts
        if number is None:  # the decoder does not say: of the first that may be
            number = next(iter(self._waiting), self._packets - 1)
        sent = self._waiting.pop(number, None)
        time = sent.time if sent else None
        if frame.is_corrupt:
            self._flawed.setdefault(number, time)
        if self._first is None:
            self._first = number, time
        if time is not None and (self._last_time is None or time > self._last_time):
            self._last_time = time
        follower = self._waiting.get(number + 1)
        if self._codec == "h264" and frame.interlaced_frame and follower is not None:
            gap = 0 if time is None or follower.time is None else follower.time - time
            self._fields[number + 1] = gap
        self._frames += 1

    def damage(self) -> Damage:
        """What was wrong, after the last frame."""
        missing = {
            number
            for number, sent in self._waiting.items()
            if sent.needs_frame and self._is_due(number, sent.time) and not self._is_field(number)
        }
        concealed = sum(
            self._is_due(number, time)
            for number, time in self._flawed.items()
            if number not in missing
        )
        return Damage(self._frames + len(missing), concealed, len(missing))

    def _is_due(self, number: int, time: int | None) -> bool:
        """Whether a packet's frame is shown with or after the first frame that was decoded."""
        if self._first is None:
            return True
        first, first_time = self._first
        if time is None or first_time is None:
            return number >= first
        return time >= first_time

    def _is_field(self, number: int) -> bool:
        """Whether a packet is the second field of the frame before it, not a frame of its own."""
        if number not in self._fields:
            return False
        start = self._first[1] if self._first else None
        if start is None or self._last_time is None or self._frames < 2:
            return True
        spacing = (self._last_time - start) / (self._frames - 1)
        return self._fields[number] < 0.75 * spacing


_stderr_lock = threading.Lock()


class _ErrorLog:
    """What FFmpeg logs as errors, as a context manager.

    FFmpeg's own callback prints it to file descriptor 2. PyAV's callback needs the GIL, for which a
    decoder's threads may wait forever while the decoder is closed.
    """

    _LINE = re.compile(rb"^(?:\x1b\[[0-9;]*m)*\[[^\]]+ @ 0x[0-9a-f]+\]", re.MULTILINE)

    _HARMLESS = re.compile(rb"SEI type|VUI|APP fields")
    """Errors in what stands beside the picture; some cameras make one with every frame."""

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile()
        self._read = 0
        av.logging.set_libav_level(av.logging.ERROR)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keep what is logged, by any thread; nothing of it appears."""
        with _stderr_lock:
            saved = os.dup(2)
            os.dup2(self._file.fileno(), 2)
            av.logging.restore_default_callback()
            try:
                yield
            finally:
                av.logging.set_level(None)  # PyAV's own state: nothing is logged
                os.dup2(saved, 2)
                os.close(saved)

    def take(self) -> bool:
        """Whether an error was logged since the last call that concerns a picture."""
        size = os.fstat(self._file.fileno()).st_size
        if size == self._read:
            return False
        lines = os.pread(self._file.fileno(), size - self._read, self._read).splitlines()
        self._read = size
        return any(self._LINE.match(line) and not self._HARMLESS.search(line) for line in lines)
