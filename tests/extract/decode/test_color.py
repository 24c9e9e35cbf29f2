"""Color: the matrix and the range that a frame states, or ours, whatever the container."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from finevq.extract.decode.probe import probe
from finevq.extract.decode.reader import Reader
from finevq.extract.decode.video import Sampling, decode

SIZE = (128, 96)
SAMPLING = Sampling(
    frames=8, frame_size=64, sampler="middles", mode="frames8", clips=1, clip_size=48
)
MATRICES = {  # red and blue weights of luma, H.273
    "bt709": (0.2126, 0.0722),
    "bt470bg": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
    "bt2020c": (0.2627, 0.0593),
    "undef": (0.299, 0.114),
    "YCgCo": (0.299, 0.114),
    "chroma-derived-nc": (0.299, 0.114),
    "ICtCp": (0.299, 0.114),
}


def write_flat(
    path: Path,
    colors: list[tuple[int, ...]],
    *,
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = SIZE,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> Path:
    """A video whose frames each have one color, given by the values of its planes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        (stream.width, stream.height), stream.pix_fmt = size, pix_fmt
        for number, color in enumerate(colors):
            container.mux(stream.encode(flat(color, pix_fmt, size, number)))
        container.mux(stream.encode())
    return path


def flat(color: tuple[int, ...], pix_fmt: str, size: tuple[int, int], number: int) -> av.VideoFrame:
    frame = av.VideoFrame(*size, pix_fmt)
    frame.pts, frame.time_base = number, Fraction(1, 25)
    dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    for plane, value in zip(frame.planes, color, strict=True):
        plane.update(np.full(plane.buffer_size // dtype().itemsize, value, dtype).tobytes())
    return frame


def shown(path: Path) -> list[np.ndarray]:
    """The color in the middle of each frame."""
    reader = Reader(probe(path))
    return [picture()[SIZE[1] // 2, SIZE[0] // 2] for picture in reader]


def rgb(y: int, cb: int, cr: int, red: float, blue: float) -> np.ndarray:
    """Limited YCbCr to RGB, by the definition."""
    luma, b, r = (y - 16) / 219, (cb - 128) / 112 * (1 - blue), (cr - 128) / 112 * (1 - red)
    green = luma - (red * r + blue * b) / (1 - red - blue)
    return np.clip(np.array([luma + r, green, luma + b]) * 255, 0, 255)


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_the_matrix_is_the_stated_one_or_bt601(matrix: str, suffix: str, tmp_path: Path) -> None:
    options = {"x264-params": f"colormatrix={matrix}", "qp": "1"}
    path = write_flat(tmp_path / f"video{suffix}", [(120, 100, 160)] * 12, options=options)
    assert np.abs(shown(path)[0] - rgb(120, 100, 160, *MATRICES[matrix])).max() <= 2.5


def test_a_large_picture_without_a_matrix_is_bt601(tmp_path: Path) -> None:
    colors = [(120, 100, 160)] * 2
    path = write_flat(tmp_path / "hd.mp4", colors, size=(1280, 720), options={"qp": "1"})
    assert np.abs(shown(path)[0] - rgb(120, 100, 160, 0.299, 0.114)).max() <= 2.5


@pytest.mark.parametrize(
    ("tag", "expected"), [("tv", (0, 255)), ("pc", (16, 235)), (None, (16, 235))]
)
@pytest.mark.parametrize(("pix_fmt", "scale"), [("gray", 1), ("gray10le", 4), ("gray16le", 256)])
def test_gray_has_the_range_that_it_states(
    pix_fmt: str, scale: int, tag: str | None, expected: tuple[int, int], tmp_path: Path
) -> None:
    options = {"color_range": tag} if tag else {}
    colors = [(16 * scale,), (235 * scale,)]
    path = write_flat(tmp_path / "gray.mkv", colors, pix_fmt=pix_fmt, codec="ffv1", options=options)
    black, white = shown(path)
    assert np.abs(black.astype(int) - expected[0]).max() <= 1
    assert np.abs(white.astype(int) - expected[1]).max() <= 1


def test_the_range_may_change_within_a_video(tmp_path: Path) -> None:
    path, pix_fmt = tmp_path / "changes.mp4", "yuv420p10le"  # its name does not say the range
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        (stream.width, stream.height), stream.pix_fmt = SIZE, pix_fmt
        for part, full in enumerate(("off", "on")):
            encoder = av.CodecContext.create("libx264", "w")
            (encoder.width, encoder.height), encoder.pix_fmt = SIZE, pix_fmt
            encoder.time_base = Fraction(1, 25)
            encoder.options = {"x264-params": f"fullrange={full}:bframes=0", "qp": "1"}
            frames = [flat((64, 512, 512), pix_fmt, SIZE, 10 * part + n) for n in range(10)]
            for packet in [p for frame in [*frames, None] for p in encoder.encode(frame)]:
                packet.stream, packet.time_base = stream, Fraction(1, 25)
                container.mux(packet)
    colors = shown(path)
    assert [int(color[0]) for color in colors] == [0] * 10 + [16] * 10


def test_more_than_8_bits_are_the_same_in_every_container(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    whole, copy = tmp_path / "deep.mp4", tmp_path / "deep.ts"
    with av.open(str(whole), "w") as container:
        options = {"x265-params": "log-level=0"}
        stream = container.add_stream("libx265", rate=25, options=options)
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p10le"
        for _ in range(10):
            pixels = noise.integers(0, 256, (*SIZE[::-1], 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(whole)) as source, av.open(str(copy), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux():
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    one, other = (decode(path, SAMPLING) for path in (whole, copy))
    assert np.array_equal(one.frames, other.frames)
