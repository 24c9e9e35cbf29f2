"""Which frames of a video the two backbones see: arithmetic over frame indices.

`count` must be the number of frames that were really decoded; what a container declares is often
wrong.
"""

CLIP_FRAMES = 32
"""Consecutive frames in one clip of the motion encoder."""


def segment_middles(count: int, segments: int) -> list[int]:
    """The middle frame of each of `segments` equal segments of a video.

    Segment k covers the frames from k * count / segments to (k + 1) * count / segments; its middle
    is floor((2k + 1) * count / (2 * segments)). A video with fewer frames than segments repeats
    indices.

    Args:
        count: Frames of the video, at least 1.
        segments: Number of segments, at least 1.

    Returns:
        `segments` indices in [0, count), never decreasing.

    Raises:
        ValueError: An argument is below 1.
    """
    _check_positive(count=count, segments=segments)
    return [(2 * k + 1) * count // (2 * segments) for k in range(segments)]


def official_middles(count: int, segments: int) -> list[int]:
    """The middle frames by the formula of the official code.

    With a segment length s = (count - 1) / segments, the k-th frame is int(s / 2 + round(s * k)),
    where round() takes halves to the even number. So it lies a little earlier than the middle by
    `segment_middles`.

    Args:
        count: Frames of the video, at least 1.
        segments: Number of segments, at least 1.

    Returns:
        `segments` indices in [0, count), never decreasing.

    Raises:
        ValueError: An argument is below 1.
    """
    _check_positive(count=count, segments=segments)
    length = (count - 1) / segments
    return [int(length / 2 + round(length * k)) for k in range(segments)]


def official_whole(count: int) -> list[int]:
    """All frames of a video as the official evaluation takes them.

    These are the official middles of as many segments as there are frames, at least 32. Their
    rounding takes one frame in the middle of the video twice, and leaves the last frame out.

    Args:
        count: Frames of the video, at least 1.

    Returns:
        max(count, 32) indices in [0, count), never decreasing.

    Raises:
        ValueError: The count is below 1.
    """
    return official_middles(count, max(count, CLIP_FRAMES))


def clip_windows(count: int, clips: int, length: int = CLIP_FRAMES) -> list[list[int]]:
    """`clips` windows of consecutive frames, spread evenly over the whole video.

    Clip k starts at floor(k * (count - length) / (clips - 1)): the first at frame 0, and the last
    ends on the last frame; a single clip lies in the middle. Where the video is shorter than a
    clip, its last frame is repeated to the clip's end.

    Args:
        count: Frames of the video, at least 1.
        clips: Number of windows, at least 1.
        length: Frames in a window, at least 1.

    Returns:
        `clips` lists of `length` indices in [0, count), never decreasing within a list.

    Raises:
        ValueError: An argument is below 1.
    """
    _check_positive(count=count, clips=clips, length=length)
    last_start = max(count - length, 0)
    if clips == 1:
        starts = [last_start // 2]
    else:
        starts = [k * last_start // (clips - 1) for k in range(clips)]
    return [[min(start + step, count - 1) for step in range(length)] for start in starts]


def _check_positive(**arguments: int) -> None:
    for name, value in arguments.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
