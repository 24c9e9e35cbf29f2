"""Damage: what a decoder conceals or leaves out is found, and what only looks like it is not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from finevq.errors import VideoError
from finevq.extract.decode.probe import is_shown, probe
from finevq.extract.decode.reader import Reader, _Tally
from finevq.extract.decode.video import Sampling, decode

from ._remux import hole, lose, remux

SAMPLING = Sampling(frames=8, frame_size=64, sampler="middles", mode="clips", clips=3, clip_size=48)

Encode = Callable[..., Path]


def refuse(path: Path, reason: str) -> None:
    with pytest.raises(VideoError, match=reason) as caught:
        decode(path, SAMPLING)
    assert "\n" not in str(caught.value)


def test_frames_that_refer_to_a_lost_one_are_missing(tmp_path: Path, encode: Encode) -> None:
    options = {"x265-params": "keyint=60:bframes=0:log-level=0"}
    whole = encode(tmp_path / "whole.mp4", range(40), codec="libx265", options=options)
    refuse(remux(whole, tmp_path / "lost.mp4", lose(12)), "is damaged: 27 of 39 frames are missing")


def test_a_lost_key_frame_leaves_frames_out(tmp_path: Path, encode: Encode) -> None:
    options = {"x264-params": "keyint=10:scenecut=0:bframes=0"}
    whole = encode(tmp_path / "whole.mp4", range(40), options=options)
    refuse(remux(whole, tmp_path / "lost.mp4", lose(10)), r"\d of 39 frames are missing")


def test_a_first_frame_that_is_refused_takes_those_with_it_that_refer_to_it(
    tmp_path: Path, encode: Encode
) -> None:
    options = {"x264-params": "keyint=10:scenecut=0"}
    whole = encode(tmp_path / "whole.mp4", range(40), options=options)
    damaged = remux(whole, tmp_path / "damaged.mp4", lambda p: [bytes(len(p[0])), *p[1:]])
    refuse(damaged, "is damaged: 10 of 40 frames are missing")


def is_flagged(path: Path) -> bool:
    """Whether PyAV by itself flags a frame, or refuses a packet."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        try:
            return any(frame.is_corrupt for frame in container.decode(video=0))
        except av.FFmpegError:
            return True


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_what_is_flagged_is_never_accepted(
    suffix: str, tmp_path: Path, busy_video: Callable[[str], bytes]
) -> None:
    content, flagged = busy_video(suffix), 0
    for seed in range(25):
        flipped = bytearray(content)
        place = np.random.default_rng(seed).integers(len(content) // 4, len(content) * 3 // 4)
        flipped[place] ^= 0x10
        path = tmp_path / f"flipped{suffix}"
        path.write_bytes(flipped)
        if is_flagged(path):
            flagged += 1
            refuse(path, r"is damaged: \d+ of \d+ frames (cannot be decoded cleanly|are missing)")
    assert flagged > 3


def test_an_error_that_is_only_logged_is_damage(tmp_path: Path, encode: Encode) -> None:
    options = {"level": "3", "slices": "4", "slicecrc": "1"}
    whole = encode(tmp_path / "whole.mkv", range(20), codec="ffv1", options=options)
    assert decode(whole, SAMPLING).frame_count == 20

    def flip(packets: list[bytes]) -> list[bytes]:
        at = len(packets[7]) // 2
        return [*packets[:7], packets[7][:at] + b"\x55" + packets[7][at + 1 :], *packets[8:]]

    flipped = remux(whole, tmp_path / "flipped.mkv", flip)
    assert not is_flagged(flipped)
    refuse(flipped, "is damaged: 1 of 20 frames cannot be decoded cleanly")


# Damaged videos that are to be scored.

SCORED = replace(SAMPLING, damaged="score")


def test_a_player_shows_frames_that_refer_to_a_lost_one(
    tmp_path: Path, encode: Encode, index_of: Callable[[np.ndarray], int]
) -> None:
    options = {"x265-params": "keyint=60:bframes=0:log-level=0"}
    whole = encode(tmp_path / "whole.mp4", range(40), codec="libx265", options=options)
    decoded = decode(remux(whole, tmp_path / "lost.mp4", lose(12)), SCORED)
    assert (decoded.frame_count, decoded.concealed, decoded.missing) == (39, 27, 0)
    assert [index_of(frame) for frame in decoded.frames[:2]] == [2, 7]


def test_samples_are_spread_over_the_frames_that_are_there(
    tmp_path: Path, encode: Encode, index_of: Callable[[np.ndarray], int]
) -> None:
    whole = encode(tmp_path / "whole.avi", range(40), codec="mjpeg", pix_fmt="yuvj420p")
    damaged = remux(whole, tmp_path / "damaged.avi", lambda p: [*p[:20], *[b"no picture"] * 20])
    refuse(damaged, "is damaged: 20 of 40 frames are missing")
    decoded = decode(damaged, SCORED)
    assert (decoded.frame_count, decoded.concealed, decoded.missing) == (20, 0, 20)
    assert [index_of(frame) for frame in decoded.frames] == [1, 3, 6, 8, 11, 13, 16, 18]


def test_frames_that_are_not_clean_are_counted(
    tmp_path: Path, busy_video: Callable[[str], bytes]
) -> None:
    path = hole(busy_video(".avi"), tmp_path / "hole.avi")
    decoded = decode(path, SCORED)
    refuse(path, f"is damaged: {decoded.concealed} of .* frames cannot be decoded cleanly")


@pytest.mark.parametrize("late", [0, 3])
def test_a_sound_video_is_the_same_whatever_becomes_of_damaged_ones(
    late: int, tmp_path: Path, encode: Encode
) -> None:
    options = {"x264-params": "keyint=10:scenecut=0"}
    path = encode(tmp_path / "sound.ts", range(40), options=options, skip_packets=late)
    strict, scored = decode(path, SAMPLING), decode(path, SCORED)
    assert (scored.frame_count, scored.concealed, scored.missing) == (strict.frame_count, 0, 0)
    assert np.array_equal(scored.frames, strict.frames)
    assert np.array_equal(scored.clips, strict.clips)


def test_a_video_of_which_a_player_shows_nothing_has_failed(tmp_path: Path, encode: Encode) -> None:
    whole = encode(tmp_path / "whole.webm", range(20), codec="libvpx")
    nothing = remux(whole, tmp_path / "nothing.webm", lambda packets: [b"\x10" for _ in packets])
    for sampling in (SAMPLING, SCORED):
        with pytest.raises(VideoError, match="is damaged: none of its frames can be decoded"):
            decode(nothing, sampling)


# What is no damage.


def test_what_precedes_the_first_frame_is_not_missing(
    tmp_path: Path, encode: Encode, index_of: Callable[[np.ndarray], int]
) -> None:
    # Frames of an open GOP that are shown before its key frame refer to the GOP before it.
    options = {"x264-params": "open-gop=1:keyint=10:min-keyint=10:scenecut=0:bframes=3:b-adapt=0"}
    late = encode(tmp_path / "late.ts", range(40), options=options, skip_packets=3)
    decoded = decode(late, SAMPLING)
    assert 25 < decoded.frame_count < 37
    assert index_of(decoded.frames[-1]) > 35


def test_hidden_frames_of_vp8_are_not_missing(tmp_path: Path, encode: Encode) -> None:
    whole = encode(tmp_path / "whole.webm", range(40), codec="libvpx")

    def hide(packets: list[bytes]) -> list[bytes]:
        return [bytes([p[0] & ~0x10]) + p[1:] if n == 20 else p for n, p in enumerate(packets)]

    hidden = remux(whole, tmp_path / "hidden.webm", hide)
    assert probe(hidden).frames == 39
    assert decode(hidden, SAMPLING).frame_count == 39


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"\x86\0", True),  # profile 0, a frame that is shown
        (b"\x84\0", False),  # one that is not
        (b"\x88", True),  # one that was decoded before is shown now
        (b"\xb0\0", False),  # profile 3, which has one bit more, not shown
        (b"\x84\0\0\xc0\1\xc0", True),  # one that is not shown, and another one behind it
    ],
)
def test_hidden_frames_of_vp9_are_told_apart(data: bytes, shown: bool) -> None:
    assert is_shown(av.Packet(data), "vp9") == shown


def test_a_skipped_frame_of_mpeg4_is_not_missing(tmp_path: Path, encode: Encode) -> None:
    whole = encode(tmp_path / "whole.avi", range(40), codec="mpeg4", options={"bf": "0"})

    def skip(packets: list[bytes]) -> list[bytes]:
        # Start code, P, no whole second, marker, 5 bits of time, marker, "not coded", stuffing.
        bits = f"01{0}{1}{20 % 25:05b}{1}{0}01111"
        vop = b"\0\0\1\xb6" + int(bits, 2).to_bytes(2, "big")
        return [*packets[:20], vop, *packets[21:]]

    assert decode(remux(whole, tmp_path / "skip.avi", skip), SAMPLING).frame_count == 39


def test_an_error_beside_the_picture_is_no_damage(
    tmp_path: Path, encode: Encode, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = encode(tmp_path / "whole.ts", range(20), options={"x264-params": "bframes=0"})
    sei = b"\0\0\0\1\x06\x05\xff\x10\1\1\1\x80"  # a message that is longer than its unit
    noisy = remux(whole, tmp_path / "noisy.ts", lambda packets: [sei + p for p in packets])
    av.logging.restore_default_callback()
    try:
        is_flagged(noisy)
    finally:
        av.logging.set_level(None)
    assert "truncated" in capfd.readouterr().err
    assert decode(noisy, SAMPLING).frame_count == 20


@pytest.mark.parametrize(("gap", "missing"), [(1, 0), (2, 1)])
def test_the_second_field_of_a_frame_is_not_missing(gap: int, missing: int) -> None:
    # No encoder at hand writes the two fields of a frame as two packets, as camcorders do.
    tally = _Tally("h264")
    for time in (0, 2, 4, 8):
        first, second = av.Packet(b"first"), av.Packet(b"second")
        first.pts, second.pts = time, time + (gap if time == 4 else 1)
        number = tally.add(first).number
        tally.add(second)
        tally.receive(SimpleNamespace(pts=number, is_corrupt=False, interlaced_frame=True))
    assert tally.damage().missing == missing


def test_decoding_does_not_change_what_pyav_logs(
    video: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for _ in Reader(probe(video)):
        pass
    (tmp_path / "none.mp4").write_bytes(bytes(999))
    with pytest.raises(av.FFmpegError):
        av.open(str(tmp_path / "none.mp4"))
    assert capfd.readouterr().err == ""
