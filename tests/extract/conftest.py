"""Small real videos, encoded on the spot, whose frames carry their own index.

A frame shows its index in binary: eight vertical bars, the highest bit on the left, white for one.
The bars survive every codec and resize, so a test can read from the pixels which frame it got.
"""

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

WIDTH, HEIGHT = 128, 96


def bars(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A frame, (height, width, 3), that shows its index below 256 in binary."""
    bits = [(index >> (7 - bar)) & 1 for bar in range(8)]
    columns = np.array(bits, np.uint8)[np.arange(width) * 8 // width]
    return np.broadcast_to((16 + columns * 219)[None, :, None], (height, width, 3)).copy()


def read_index(picture: np.ndarray) -> int:
    """The index that a picture, (height, width, 3), shows."""
    height, width, _ = picture.shape
    centres = [(2 * bar + 1) * width // 16 for bar in range(8)]
    lit = picture[height // 4 : 3 * height // 4, centres].mean(axis=(0, 2)) > 128
    return int("".join(str(int(bit)) for bit in lit), 2)


def write_video(
    path: Path,
    indices: Iterable[int],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    options: dict[str, str] | None = None,
    turn: tuple[int, bool] | None = None,
    times: Iterable[int] | None = None,
    skip_packets: int = 0,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode one frame per index at 25 frames a second.

    Args:
        path: Where to; the suffix chooses the container.
        indices: What the frames show.
        codec: FFmpeg's name of the encoder.
        pix_fmt: FFmpeg's name of the pixel format.
        size: Width and height.
        options: Of the encoder.
        turn: Degrees to the left and a horizontal mirror, as a display matrix.
        times: Time of each frame in 25ths of a second; one after another if not given.
        skip_packets: Packets left out at the start, as by a receiver that tuned in late.
        container_options: Of the container.
    """
    indices = list(indices)
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 25)
        if turn is not None:
            stream.set_display_rotation(turn[0], hflip=turn[1])
        packets = []
        for index, time in zip(indices, times or range(len(indices)), strict=True):
            frame = av.VideoFrame.from_ndarray(bars(index, *size), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            packets += stream.encode(frame)
        packets += stream.encode()
        if len(packets) == 1:
            packets[0].dts = packets[0].pts  # x265 leaves it undefined for a single frame
        for packet in packets[skip_packets:]:
            container.mux(packet)
    return path


@pytest.fixture(scope="session")
def encode() -> Callable[..., Path]:
    """`write_video`."""
    return write_video


@pytest.fixture(scope="session")
def index_of() -> Callable[[np.ndarray], int]:
    """`read_index`."""
    return read_index


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Forty frames of H.264 with B-frames in an mp4."""
    return write_video(tmp_path / "video.mp4", range(40))


@pytest.fixture(scope="session")
def busy_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """Gives a file of 60 noisy frames, in which most of the bytes matter, by suffix."""

    @cache
    def make(suffix: str) -> bytes:
        path = tmp_path_factory.mktemp("busy") / f"busy{suffix}"
        write_noise(path, {".webm": "libvpx", ".avi": "mpeg4", ".ts": "mpeg2video"}.get(suffix))
        return path.read_bytes()

    return make


def write_noise(path: Path, codec: str | None) -> None:
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec or "libx264", rate=25)
        stream.width, stream.height, stream.bit_rate = WIDTH, HEIGHT, 1_000_000
        stream.pix_fmt = "yuv420p"
        for _ in range(60):
            pixels = noise.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
