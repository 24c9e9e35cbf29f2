"""The five features, on pictures whose values are known."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from finevq.dataset.describe.features import (
    FEATURES,
    colorfulness,
    measure_features,
    spatial_information,
    video_features,
)
from finevq.errors import VideoError

from .._videos import scene, write_video


def grey(levels: list[int], size: tuple[int, int] = (32, 48)) -> np.ndarray:
    """Flat frames of these grey levels."""
    return np.stack([np.full((*size, 3), level, np.uint8) for level in levels])


def test_a_grey_picture_has_no_color() -> None:
    assert colorfulness(grey([90])[0]) == 0


def test_colorfulness_of_two_colors() -> None:
    """Half red, half blue: rg is 255 and 0, yb is 127.5 and -255."""
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :, 0], picture[2:, :, 2] = 255, 255
    spread = math.hypot(255 / 2, (127.5 + 255) / 2)
    mean = math.hypot(255 / 2, (127.5 - 255) / 2)
    assert colorfulness(picture) == pytest.approx(spread + 0.3 * mean)


def test_spatial_information_is_the_deviation_of_the_sobel_gradient() -> None:
    luma = np.random.default_rng(0).integers(16, 236, (20, 30)).astype(np.int16)
    across, down = (ndimage.sobel(luma.astype(float), axis) for axis in (0, 1))
    expected = np.hypot(across, down)[1:-1, 1:-1].std()
    assert spatial_information(luma) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(2, 9), (9, 2), (1, 1)])
def test_a_tiny_picture_has_no_spatial_information(shape: tuple[int, int]) -> None:
    assert spatial_information(np.arange(shape[0] * shape[1], dtype=np.int16).reshape(shape)) == 0


def test_brightness_is_luma_of_limited_range(tmp_path: Path) -> None:
    found = video_features(write_video(tmp_path / "a.mp4", grey([0, 0, 255, 255])))
    assert found["brightness"] == pytest.approx((16 + 235) / 2, abs=1.5)
    assert found["contrast"] == pytest.approx(0, abs=1)
    assert found["si"] == pytest.approx(0, abs=2)


def test_full_range_is_brought_to_limited_range(tmp_path: Path) -> None:
    frames = scene(0, count=4)
    limited = video_features(write_video(tmp_path / "a.mp4", frames, crf=1))
    full = video_features(write_video(tmp_path / "b.mp4", frames, crf=1, full=True))
    for name in ("brightness", "contrast", "si"):
        assert full[name] == pytest.approx(limited[name], rel=0.03, abs=1)


def test_ti_is_the_largest_change_anywhere(tmp_path: Path) -> None:
    """The lower half jumps once, by 219 levels: its deviation over the frame is half of that."""
    frames = grey([0] * 6)
    frames[3:, 16:] = 255
    found = video_features(write_video(tmp_path / "a.mp4", frames))
    assert found["ti"] == pytest.approx(219 / 2, rel=0.03)
    still = video_features(write_video(tmp_path / "b.mp4", grey([80] * 4)))
    assert still["ti"] == pytest.approx(0, abs=1)


def test_one_frame_has_a_ti_of_zero(tmp_path: Path) -> None:
    found = video_features(write_video(tmp_path / "a.mp4", scene(0, count=1)))
    assert found["ti"] == 0
    assert found["si"] > 1


def test_a_blurred_video_has_less_spatial_information(tmp_path: Path) -> None:
    sharp = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    soft = ndimage.gaussian_filter(sharp, (0, 2, 2, 0))
    one, other = (
        video_features(write_video(tmp_path / f"{i}.mp4", frames))["si"]
        for i, frames in enumerate((sharp, soft))
    )
    assert other < one / 2


@pytest.mark.parametrize("content", [b"", b"no video"], ids=["empty", "text"])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.mp4: InvalidDataError"):
        video_features(path)


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_videos_keep_their_row_and_say_why(tmp_path: Path, workers: int) -> None:
    good = write_video(tmp_path / "good.mp4", scene(1, count=3))
    steps = []
    table = measure_features(
        [tmp_path / "gone.mp4", good], lambda *step: steps.append(step), workers
    )
    assert table.loc[0, list(FEATURES)].isna().all()
    assert "gone.mp4: FileNotFoundError" in table.loc[0, "error"]
    assert table.loc[1, list(FEATURES)].to_dict() == video_features(good)
    assert table.loc[1, "error"] == ""
    assert steps == [(1, 2), (2, 2)]
