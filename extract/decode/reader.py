"""All frames of a video, in the order of display, and what is wrong with them.

PyAV decodes every video: in order, because after seeking decoders return wrong frames of intact
files without an error, and strictly, because decoders conceal damage. Three signs of damage are
put together, as each alone misses some:

- A packet gives no frame. Each packet is sent with its number as its time, which the decoder hands
  on to the frame that it makes of it.
- A frame is flagged as corrupt, or the decoder refuses its packet.
- FFmpeg logs an error while it decodes the packet, such as a checksum that does not fit.

What precedes the first frame that can be decoded is no damage, unless the decoder refuses it: a
receiver tuned in late.
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
from typing import IO, Any, Self

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
        shown: Frames that the file should show, but for those before a receiver tuned in.
        concealed: Those of them that the decoder made up, in part or whole.
        missing: Those of them that it did not give at all.
    """

    shown: int
    concealed: int = 0
    missing: int = 0

    def __bool__(self) -> bool:
        return self.concealed + self.missing > 0

    def __str__(self) -> str:
        if self.missing == self.shown:
            return "is damaged: none of its frames can be decoded"
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
                sent = tally.add(packet)
                refused, frames = False, []
                try:
                    with log.listening():
                        frames = packet.decode()
                except av.FFmpegError:
                    refused = True
                if log.take() or refused:
                    tally.flaw(sent, refused=refused)
                for frame in frames:
                    tally.receive(frame)
                    yield partial(self._pixels, frame, reformatter)
            self.damage = tally.damage()

    def _pixels(self, frame: Any, reformatter: VideoReformatter) -> NDArray[np.uint8]:
        return turn(to_rgb(frame, reformatter), self._source.orientation)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A packet that was sent to the decoder.

    Attributes:
        number: In the order of sending, from 0.
        time: When its frame is shown, in the stream's unit; None if the file does not say.
        needs_frame: Whether it must give a frame.
    """

    number: int
    time: int | None = None
    needs_frame: bool = False

    def precedes(self, other: Self) -> bool:
        """Whether its frame is shown before that of another packet."""
        if self.time is None or other.time is None:
            return self.number < other.number
        return self.time < other.time


class _Tally:
    """Which packets gave which frames; it holds only those packets that something is odd about."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._last = _Sent(-1)
        self._frames = 0
        self._waiting: dict[int, _Sent] = {}
        self._flawed: dict[int, _Sent] = {}
        self._fields: dict[int, int] = {}  # number -> time since the packet before it
        self._first: _Sent | None = None  # with it begins what counts
        self._span: tuple[int, int] | None = None  # times of the earliest and the latest frame

    def add(self, packet: Any) -> _Sent:
        """Number a packet that is about to be decoded; the number takes the place of its time.

        The packet without bytes at the end, at which the decoder gives what it still holds, counts
        as the last one before it.
        """
        if packet.size:
            skipped = self._codec == "mpeg4" and packet.size <= _SKIPPED_VOP
            needs_frame = is_shown(packet, self._codec) and not skipped
            number = self._last.number + 1
            self._last = _Sent(number, packet.pts, needs_frame)
            self._waiting[number] = self._last
            packet.pts = number
        return self._last

    def flaw(self, sent: _Sent, *, refused: bool) -> None:
        """Note that decoding a packet logged an error, or that the decoder refused it."""
        self._flawed[sent.number] = sent
        if refused and self._first is None:
            self._first = sent

    def receive(self, frame: Any) -> None:
        """Note which packet a frame was made of."""
        number = frame.pts
        if number is None:  # the decoder does not say: of the first that may be
            number = next(iter(self._waiting), self._last.number)
        sent = self._waiting.pop(number, _Sent(number))
        if frame.is_corrupt:
            self._flawed.setdefault(number, sent)
        if self._first is None:
            self._first = sent
        if sent.time is not None:
            earliest, latest = self._span or (sent.time, sent.time)
            self._span = min(earliest, sent.time), max(latest, sent.time)
        follower = self._waiting.get(number + 1)
        if self._codec == "h264" and frame.interlaced_frame and follower is not None:
            gap = 0 if sent.time is None or follower.time is None else follower.time - sent.time
            self._fields[number + 1] = gap
        self._frames += 1

    def damage(self) -> Damage:
        """What was wrong, after the last frame."""
        first = self._first
        if not self._frames or first is None:
            shown = max(self._last.number + 1, 1)  # a file may have changed since the probe
            return Damage(shown, missing=shown)
        missing = {
            sent.number
            for sent in self._waiting.values()
            if sent.needs_frame and not sent.precedes(first) and not self._is_field(sent.number)
        }
        flawed = {sent.number for sent in self._flawed.values() if not sent.precedes(first)}
        return Damage(self._frames + len(missing), len(flawed - missing), len(missing))

    def _is_field(self, number: int) -> bool:
        """Whether a packet is the second field of the frame before it, not a frame of its own."""
        if number not in self._fields:
            return False
        if self._span is None or self._frames < 2:
            return True
        earliest, latest = self._span
        return self._fields[number] < 0.75 * (latest - earliest) / (self._frames - 1)


_stderr_lock = threading.Lock()


@contextmanager
def stderr_into(file: IO[bytes]) -> Iterator[None]:
    """Write to a file, and not to standard error, what the process prints there, by any thread.

    Libraries print to file descriptor 2, which `contextlib.redirect_stderr` leaves as it is.
    """
    with _stderr_lock:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


class _ErrorLog:
    """What FFmpeg logs as errors, as a context manager.

    FFmpeg's own callback prints it to file descriptor 2. PyAV's callback needs the GIL, for which a
    decoder's threads may wait forever while the decoder is closed.
    """

    _LINE = re.compile(rb"^(?:\x1b\[[0-9;]*m)*\[[^\]]+ @ 0x[0-9a-f]+\]", re.MULTILINE)

    _HARMLESS = re.compile(rb"SEI type|VUI|APP fields")
    """Errors in what stands beside the picture; some cameras make one with every frame."""

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile(buffering=0)
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
        with stderr_into(self._file):
            av.logging.restore_default_callback()
            try:
                yield
            finally:
                av.logging.set_level(None)  # PyAV's own state: nothing is logged

    def take(self) -> bool:
        """Whether an error was logged since the last call that concerns a picture."""
        if not self._file.tell():
            return False
        self._file.seek(0)
        lines = self._file.read().splitlines()
        self._file.seek(0)
        self._file.truncate()
        return any(self._LINE.match(line) and not self._HARMLESS.search(line) for line in lines)
