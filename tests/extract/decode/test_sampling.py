"""Which frames are chosen: always frames that exist, in order, over the whole video."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finevq.extract.decode.sampling import (
    CLIP_FRAMES,
    clip_windows,
    official_middles,
    official_whole,
    segment_middles,
)

counts = st.integers(1, 1_000_000)
small_counts = st.integers(1, 64)


def test_segment_middles_of_eighty_frames() -> None:
    assert segment_middles(80, 8) == [5, 15, 25, 35, 45, 55, 65, 75]


def test_as_many_segments_as_frames_take_every_frame() -> None:
    assert segment_middles(8, 8) == list(range(8))


def test_a_short_video_repeats_frames() -> None:
    assert segment_middles(3, 8) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert segment_middles(1, 4) == [0, 0, 0, 0]


@given(counts, small_counts)
def test_each_middle_lies_in_its_segment(count: int, segments: int) -> None:
    middles = segment_middles(count, segments)
    assert len(middles) == segments
    assert middles == sorted(middles)
    for k, middle in enumerate(middles):
        # In exact arithmetic, the frame that covers the segment's middle (2k + 1) / (2 segments).
        assert 2 * segments * middle <= (2 * k + 1) * count < 2 * segments * (middle + 1)


@given(counts, small_counts)
def test_middles_lie_alike_from_both_ends(count: int, segments: int) -> None:
    middles = segment_middles(count, segments)
    mirrored = [count - 1 - middle for middle in reversed(middles)]
    assert all(abs(a - b) <= 1 for a, b in zip(middles, mirrored, strict=True))


def test_official_middles_of_real_lengths() -> None:
    assert official_middles(240, 8) == [14, 44, 74, 104, 134, 163, 193, 223]
    assert official_middles(98, 8) == [6, 18, 30, 42, 54, 67, 79, 91]
    assert official_middles(250, 8) == [15, 46, 77, 108, 139, 171, 202, 233]


@given(counts, small_counts)
def test_official_middles_round_as_numpy(count: int, segments: int) -> None:
    length = float(count - 1) / segments
    expected = [int(0 + length / 2 + np.round(length * k)) for k in range(segments)]
    assert official_middles(count, segments) == expected
    assert expected == sorted(expected)
    assert 0 <= expected[0] <= expected[-1] < count


def test_halves_are_rounded_to_the_even_number() -> None:
    # Segments of 0.5, whose multiples 0.5, 1.5 and 2.5 are rounded to 0, 2 and 2.
    assert official_middles(5, 8) == [0, 0, 1, 2, 2, 2, 3, 4]


@given(st.integers(32, 2000))
def test_official_whole_leaves_out_the_last_frame_for_one_in_the_middle(count: int) -> None:
    whole = official_whole(count)
    assert len(whole) == count
    steps = [after - before for before, after in pairwise(whole)]
    assert (whole[0], whole[-1]) == (0, count - 2)
    assert sorted(set(whole)) == list(range(count - 1))
    assert sorted(steps) == [0, *[1] * (count - 2)]


@given(st.integers(1, 32))
def test_official_whole_has_at_least_a_clip_of_frames(count: int) -> None:
    whole = official_whole(count)
    assert len(whole) == CLIP_FRAMES
    assert whole == sorted(whole)
    assert set(whole) <= set(range(count))


def test_windows_reach_from_the_first_frame_to_the_last() -> None:
    first, second, third = clip_windows(100, 3)
    assert first == list(range(32))
    assert second == list(range(34, 66))
    assert third == list(range(68, 100))


def test_a_single_window_lies_in_the_middle() -> None:
    assert clip_windows(100, 1) == [list(range(34, 66))]


def test_a_short_video_repeats_its_last_frame() -> None:
    assert clip_windows(3, 2, length=5) == [[0, 1, 2, 2, 2]] * 2


@given(counts, small_counts, st.integers(1, 64))
def test_windows_are_consecutive_and_spread_evenly(count: int, clips: int, length: int) -> None:
    windows = clip_windows(count, clips, length)
    assert len(windows) == clips
    for window in windows:
        assert window == [min(window[0] + step, count - 1) for step in range(length)]
    starts = [window[0] for window in windows]
    gaps = [after - before for before, after in pairwise(starts)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    if count >= length and clips > 1:
        assert (starts[0], windows[-1][-1]) == (0, count - 1)


def test_a_clip_has_the_length_that_the_motion_encoder_expects() -> None:
    assert CLIP_FRAMES == 32


@pytest.mark.parametrize("sample", [segment_middles, official_middles, clip_windows])
@pytest.mark.parametrize(("count", "number"), [(0, 8), (10, 0), (-1, 1)])
def test_nothing_can_be_sampled_from_nothing(sample, count, number) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        sample(count, number)
