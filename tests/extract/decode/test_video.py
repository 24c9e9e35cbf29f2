"""Decoding: the right frames of intact videos, and a reason for every other file."""

import dataclasses
import hashlib
import os
import struct
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from finevq.errors import VideoError
from finevq.extract.decode.probe import probe
from finevq.extract.decode.reader import Reader
from finevq.extract.decode.sampling import (
    clip_windows,
    official_middles,
    official_whole,
    segment_middles,
)
from finevq.extract.decode.video import Sampling, decode

SAMPLING = Sampling(frames=8, frame_size=64, sampler="middles", mode="clips", clips=3, clip_size=48)

INTACT = {
    "h264": {"suffix": ".mp4"},
    "h264-open-gop": {
        "suffix": ".mp4",
        "options": {"x264-params": "open-gop=1:keyint=10:bframes=3:b-pyramid=normal"},
    },
    "h265-open-gop": {
        "suffix": ".mkv",
        "codec": "libx265",
        "options": {"x265-params": "keyint=10:open-gop=1:log-level=0"},
    },
    "h265-10-bit": {
        "suffix": ".mp4",
        "codec": "libx265",
        "pix_fmt": "yuv420p10le",
        "options": {"x265-params": "log-level=0"},
    },
    "mpeg4-b-frames": {"suffix": ".avi", "codec": "mpeg4", "options": {"bf": "2"}},
    "prores": {"suffix": ".mov", "codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "fragmented": {
        "suffix": ".mp4",
        "options": {"x264-params": "keyint=10"},
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
    },
    "vp9": {
        "suffix": ".webm",
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "16"},
    },
    "av1": {
        "suffix": ".mp4",
        "codec": "libsvtav1",
        "options": {"preset": "8", "crf": "10"},
    },
    "mpeg2-ts": {"suffix": ".ts", "codec": "mpeg2video"},
    "gif": {"suffix": ".gif", "codec": "gif", "pix_fmt": "rgb8"},
    "narrow": {"suffix": ".mp4", "size": (48, 64)},
    "odd": {"suffix": ".mp4", "size": (129, 95), "pix_fmt": "yuv444p"},
}


def check_samples(decoded, count: int, index_of, shown=lambda index: index) -> None:
    """Every sampled picture shows the frame that belongs in its place."""
    middles, windows = segment_middles(count, SAMPLING.frames), clip_windows(count, SAMPLING.clips)
    assert decoded.frame_count == count
    assert [index_of(frame) for frame in decoded.frames] == [shown(i) for i in middles]
    assert [[index_of(frame) for frame in clip] for clip in decoded.clips] == [
        [shown(i) for i in window] for window in windows
    ]


@pytest.mark.parametrize("count", [1, 5, 32, 75])
@pytest.mark.parametrize("kind", INTACT)
def test_sampled_frames_are_the_right_ones(kind, count, tmp_path, encode, index_of) -> None:
    case = dict(INTACT[kind])
    suffix = case.pop("suffix")
    if (kind, count) == ("mpeg2-ts", 1):
        pytest.skip("FFmpeg needs more than a few packets to recognise a transport stream")
    path = encode(tmp_path / f"video{suffix}", range(count), **case)
    check_samples(decode(path, SAMPLING), count, index_of)


def test_result_is_described(video) -> None:
    decoded = decode(video, SAMPLING)
    assert (decoded.frames.shape, decoded.frames.dtype) == ((8, 64, 64, 3), np.uint8)
    assert (decoded.clips.shape, decoded.clips.dtype) == ((3, 32, 48, 48, 3), np.uint8)
    assert (decoded.frame_count, decoded.fps) == (40, 25.0)
    assert decoded.seconds == pytest.approx(1.6)
    assert decoded.sha256 == hashlib.sha256(video.read_bytes()).hexdigest()


def test_official_sampler_takes_its_own_frames(tmp_path, encode, index_of) -> None:
    sampling = dataclasses.replace(SAMPLING, sampler="official")
    decoded = decode(encode(tmp_path / "video.mp4", range(98)), sampling)
    assert [index_of(frame) for frame in decoded.frames] == official_middles(98, 8)
    assert official_middles(98, 8) != segment_middles(98, 8)


def test_mode_frames8_gives_the_frames_once_more(video) -> None:
    decoded = decode(video, dataclasses.replace(SAMPLING, mode="frames8"))
    assert np.array_equal(decoded.clips, decoded.frames[None])


@pytest.mark.parametrize("count", [1, 5, 32, 75])
def test_mode_all_gives_every_frame_as_one_clip(count, tmp_path, encode, index_of) -> None:
    decoded = decode(
        encode(tmp_path / "video.mp4", range(count)), dataclasses.replace(SAMPLING, mode="all")
    )
    assert decoded.clips.shape == (1, max(count, 32), 64, 64, 3)
    assert [index_of(frame) for frame in decoded.clips[0]] == official_whole(count)
    first = official_whole(count).index(segment_middles(count, 8)[0])
    assert np.array_equal(decoded.clips[0, first], decoded.frames[0])  # resized alike


def test_mode_all_refuses_what_does_not_fit_in_memory(video, monkeypatch) -> None:
    sampling = dataclasses.replace(SAMPLING, mode="all")
    monkeypatch.setattr("finevq.extract.decode.video.WHOLE_LIMIT", 40)
    assert decode(video, sampling).clips.shape[1] == 40
    monkeypatch.setattr("finevq.extract.decode.video.WHOLE_LIMIT", 39)
    with pytest.raises(VideoError, match=r"has 40 frames, .* at most 39 .* extract\.motion\.mode"):
        decode(video, sampling)
    assert decode(video, SAMPLING).frame_count == 40


def test_same_video_gives_same_bytes(video) -> None:
    first, second = decode(video, SAMPLING), decode(video, SAMPLING)
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.clips, second.clips)


def test_hdr10_is_not_tone_mapped(tmp_path, encode, index_of) -> None:
    hdr10 = (
        "hdr10=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    )
    frames = {}
    for name, more in {"plain": "", "hdr10": f":{hdr10}"}.items():
        options = {"x265-params": f"log-level=0{more}"}
        path = tmp_path / f"{name}.mp4"
        encode(path, range(40), codec="libx265", pix_fmt="yuv420p10le", options=options)
        with av.open(str(path)) as container:
            pq = container.streams.video[0].codec_context.color_trc == 16  # SMPTE ST 2084
        assert pq == (name == "hdr10")
        decoded = decode(path, SAMPLING)
        check_samples(decoded, 40, index_of)
        frames[name] = decoded.frames
    assert frames["hdr10"].dtype == np.uint8
    # Black and white stay what they are, where a tone mapper would darken 10,000 nits.
    assert np.abs(frames["hdr10"].astype(int) - frames["plain"]).max() <= 2


def test_variable_frame_rate_samples_by_frame_number(tmp_path, encode, index_of) -> None:
    times = [k * k // 8 + k for k in range(60)]
    decoded = decode(encode(tmp_path / "vfr.mp4", range(60), times=times), SAMPLING)
    check_samples(decoded, 60, index_of)
    assert decoded.seconds == pytest.approx(times[-1] / 25, rel=0.1)


@pytest.mark.parametrize("name", ["名前 with space.mp4", "a:b%03d.mp4", os.fsdecode(b"\xff.mp4")])
def test_any_file_name_will_do(name, tmp_path, video, index_of, monkeypatch) -> None:
    video.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)  # a relative name must not be taken for a protocol or a pattern
    check_samples(decode(name, SAMPLING), 40, index_of)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_are_turned_upright(degrees, mirrored, tmp_path, encode) -> None:
    plain = encode(tmp_path / "plain.mp4", [0b00010011] * 3)
    turned = encode(tmp_path / "turned.mp4", [0b00010011] * 3, turn=(degrees, mirrored))
    stored = next(iter(Reader(probe(plain))))()
    shown = next(iter(Reader(probe(turned))))()
    expected = np.rot90(stored, degrees // 90)
    assert np.array_equal(shown, np.fliplr(expected) if mirrored else expected)
    assert decode(turned, SAMPLING).frame_count == 3


def test_frames_before_the_first_key_frame_do_not_count(tmp_path, encode, index_of) -> None:
    # A receiver that tuned in late: packets without a picture make the real count smaller.
    options = {"x264-params": "keyint=10:scenecut=0:bframes=0"}
    path = encode(tmp_path / "late.ts", range(40), options=options, skip_packets=3)
    source, decoded = probe(path), decode(path, SAMPLING)
    assert source.frames == 37
    check_samples(decoded, 30, index_of, shown=lambda index: index + 10)


def test_joined_transport_streams_are_no_damage(tmp_path, encode, index_of) -> None:
    part = encode(tmp_path / "part.ts", range(20), codec="mpeg2video").read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part + part)
    check_samples(decode(joined, SAMPLING), 40, index_of, shown=lambda index: index % 20)


def test_resolution_may_change(tmp_path, encode, index_of) -> None:
    options = {"tune": "zerolatency"}
    small = encode(tmp_path / "small.ts", range(20), size=(128, 96), options=options)
    large = encode(tmp_path / "large.ts", range(20, 40), size=(256, 128), options=options)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    check_samples(decode(joined, SAMPLING), 40, index_of)


def test_cover_art_is_not_taken_for_the_video(tmp_path, video, index_of) -> None:
    path = tmp_path / "cover.mkv"
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        cover = target.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        copy = target.add_stream_from_template(source.streams.video[0])
        blank = av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), format="rgb24")
        target.mux([*cover.encode(blank), *cover.encode()])
        for packet in source.demux():
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    check_samples(decode(path, SAMPLING), 40, index_of)


def test_standard_error_is_given_back(video, capfd) -> None:
    decode(video, SAMPLING)
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


def test_threads_may_decode_at_the_same_time(video) -> None:
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(decode(video, SAMPLING))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.frame_count for result in results] == [40] * 3


# Files that are no intact videos. Each must end in a VideoError that says why, in one line.


def refuse(path: Path, reason: str) -> None:
    with pytest.raises(VideoError, match=reason) as caught:
        decode(path, SAMPLING)
    assert "\n" not in str(caught.value)


def test_missing_empty_and_odd_files(tmp_path) -> None:
    refuse(tmp_path / "nowhere.mp4", "cannot be read: No such file")
    refuse(tmp_path, "is not a file")
    (tmp_path / "empty.mp4").touch()
    refuse(tmp_path / "empty.mp4", "is empty")
    os.mkfifo(tmp_path / "pipe.mp4")
    refuse(tmp_path / "pipe.mp4", "is not a file")


@pytest.mark.parametrize("name", ["text.mp4", "text.txt", "text.srt"])
def test_text(name, tmp_path) -> None:
    (tmp_path / name).write_text("This is not a video.\n" * 50)
    refuse(tmp_path / name, "is not a video|holds no video")


@pytest.mark.parametrize("content", [bytes(65536), bytes(range(256)) * 256])
def test_meaningless_bytes(content, tmp_path) -> None:
    (tmp_path / "bytes.mp4").write_bytes(content)
    refuse(tmp_path / "bytes.mp4", "is not a video")


@pytest.mark.parametrize("name", ["still.png", "png.mp4", "still.jpg", "jpeg.mp4", "still.webp"])
def test_still_image(name, tmp_path) -> None:
    kind = next(kind for kind in ("png", "webp", "jpeg") if kind in name.replace("jpg", "jpeg"))
    Image.new("RGB", (64, 48), "red").save(tmp_path / name, format=kind)
    refuse(tmp_path / name, "is not a video, but an image")


def test_animated_webp(tmp_path) -> None:
    pages = [Image.new("RGB", (64, 48), colour) for colour in ("red", "green", "blue")]
    pages[0].save(tmp_path / "moving.webp", save_all=True, append_images=pages[1:])
    refuse(tmp_path / "moving.webp", "is not a video, but an image")


@pytest.mark.parametrize("cover", [False, True])
def test_sound_only(cover, tmp_path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        if cover:
            picture = container.add_stream("mjpeg", rate=25)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            red = av.VideoFrame.from_image(Image.new("RGB", (64, 48), "red"))
            container.mux([*picture.encode(red), *picture.encode()])
        container.mux([*sound.encode(frame), *sound.encode()])
    refuse(path, "only picture is cover art" if cover else "holds no video stream")


def test_playlist_opens_nothing_else(tmp_path, video) -> None:
    playlist = tmp_path / "playlist.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {video.name}\n")
    refuse(playlist, "is not a video")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.77, 0.9, 0.96])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".ts"])
def test_truncated(suffix, share, tmp_path, busy_video) -> None:
    content = busy_video(suffix)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    refuse(path, "damaged|ends early")


@pytest.mark.parametrize("keep", [0.4, 0.95])
def test_truncated_with_the_index_in_front(keep, tmp_path, busy_video) -> None:
    # What a broken download leaves of a file made for the web.
    content = busy_video(".mp4")
    whole = tmp_path / "whole.mp4"
    whole.write_bytes(moov_first(content))
    assert decode(whole, SAMPLING).frame_count == 60
    for cut in (int(len(content) * keep), last_sample(whole)):  # also between two frames
        path = tmp_path / "cut.mp4"
        path.write_bytes(whole.read_bytes()[:cut])
        refuse(path, "damaged|ends early")


def moov_first(content: bytes) -> bytes:
    """The same mp4 with its index before its data."""
    boxes, at = {}, 0
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        boxes[kind], at = (at, content[at : at + size]), at + size
    (_, moov), (old, mdat) = boxes[b"moov"], boxes[b"mdat"]
    head = boxes[b"ftyp"][1]
    table = moov.index(b"stco")
    (entries,) = struct.unpack(">I", moov[table + 8 : table + 12])
    offsets = struct.unpack(f">{entries}I", moov[table + 12 : table + 12 + 4 * entries])
    shift = len(head) + len(moov) - old
    moved = struct.pack(f">{entries}I", *(offset + shift for offset in offsets))
    return head + moov[: table + 12] + moved + moov[table + 12 + 4 * entries :] + mdat


def last_sample(path: Path) -> int:
    with av.open(str(path)) as container:
        return max(entry.pos for entry in container.streams.video[0].index_entries)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".ts"])
def test_flipped_bits(suffix, tmp_path, busy_video) -> None:
    content = bytearray(busy_video(suffix))
    places = np.random.default_rng(1).integers(len(content) // 4, len(content) * 3 // 4, 200)
    for place in places:
        content[place] ^= 0x55
    path = tmp_path / f"flipped{suffix}"
    path.write_bytes(content)
    refuse(path, r"is damaged: \d+ of \d+ frames cannot be decoded cleanly")


def test_no_key_frame_at_all(tmp_path, encode) -> None:
    options = {"x264-params": "keyint=infinite:bframes=0"}
    path = encode(tmp_path / "late.ts", range(30), options=options, skip_packets=1)
    refuse(path, "is damaged")
