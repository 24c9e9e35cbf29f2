"""Pixels by the decoder of the official code: where they are taken, and where they are not."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import pytest
from PIL import Image

from finevq.config import load_config
from finevq.errors import ConfigError, VideoError
from finevq.extract.decode import official
from finevq.extract.decode.official import DecordDoubt, check_decoder, official_pictures
from finevq.extract.decode.probe import probe
from finevq.extract.decode.reader import Reader
from finevq.extract.decode.video import Sampling, decode, decode_by_pyav

from ._remux import hole, remux

SAMPLING = Sampling(
    frames=4, frame_size=64, sampler="official", mode="frames8", clips=1, clip_size=48
)
OFFICIAL = replace(SAMPLING, decoder="decord")

Encode = Callable[..., Path]

TRUSTED: dict[str, dict[str, Any]] = {
    "h264": {"suffix": ".mp4", "options": {"x264-params": "bframes=3:b-adapt=0"}},
    "h265-open-gop": {
        "suffix": ".mkv",
        "codec": "libx265",
        "options": {"x265-params": "keyint=20:bframes=3:open-gop=1:log-level=0"},
    },
    "mpeg4-b-frames": {"suffix": ".avi", "codec": "mpeg4", "options": {"bf": "2"}},
}


@pytest.mark.parametrize("kind", TRUSTED)
def test_both_decoders_give_the_same_pixels(kind: str, tmp_path: Path, encode: Encode) -> None:
    case = dict(TRUSTED[kind])
    path = encode(tmp_path / f"video{case.pop('suffix')}", range(30), **case)
    theirs, ours = (
        [picture().copy() for picture in pictures]
        for pictures in (official_pictures(probe(path), 30), Reader(probe(path)))
    )
    assert np.array_equal(theirs, ours)
    assert decode(path, OFFICIAL).decoder == "decord"
    assert decode(path, SAMPLING).decoder == "pyav"


def test_ten_bits_are_those_of_the_official_code(tmp_path: Path) -> None:
    # The two decoders upsample such chroma in different ways.
    path, noise = tmp_path / "ten.mp4", np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"x265-params": "log-level=0"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        for _ in range(30):
            pixels = noise.integers(0, 256, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    reader = decord.VideoReader(str(path), num_threads=1)
    pictures = [reader.next().asnumpy() for _ in range(30)]
    expected = [
        np.asarray(Image.fromarray(pictures[index]).resize((64, 64), Image.Resampling.BICUBIC))
        for index in SAMPLING.middles(30)
    ]
    found = decode(path, OFFICIAL)
    assert found.decoder == "decord"
    assert np.array_equal(found.frames, np.array(expected))
    assert not np.array_equal(found.frames, decode(path, SAMPLING).frames)


@pytest.mark.parametrize(
    ("case", "defect"),
    [
        ({"suffix": ".ts"}, "transport stream"),
        ({"suffix": ".webm", "codec": "libvpx"}, "hidden frames"),
        ({"suffix": ".gif", "codec": "gif", "pix_fmt": "rgb8"}, "codec"),
        ({"suffix": ".mp4", "size": (48, 64)}, "narrow"),
        ({"suffix": ".mp4", "size": (129, 96), "pix_fmt": "yuv444p"}, "odd widths"),
        ({"suffix": ".mp4", "turn": (0, True)}, "mirrors none"),
    ],
)
def test_what_decord_gets_wrong_is_decoded_by_pyav(
    case: dict[str, Any], defect: str, tmp_path: Path, encode: Encode
) -> None:
    case = dict(case)
    path = encode(tmp_path / f"video{case.pop('suffix')}", range(20), **case)
    with pytest.raises(DecordDoubt, match=defect):
        list(official_pictures(probe(path), 20))
    found = decode(path, OFFICIAL)
    assert found.decoder == "pyav"
    assert np.array_equal(found.frames, decode(path, SAMPLING).frames)


def test_another_number_of_frames_is_a_doubt(tmp_path: Path, encode: Encode) -> None:
    whole = encode(tmp_path / "whole.avi", range(40), codec="mpeg4", options={"bf": "0"})
    skipped = b"\0\0\1\xb6" + int("010" + "1" + "10100" + "1" + "0" + "01111", 2).to_bytes(2, "big")
    path = remux(whole, tmp_path / "skip.avi", lambda p: [*p[:20], skipped, *p[21:]])
    found = decode(path, OFFICIAL)
    assert (found.decoder, found.frame_count) == ("pyav", 39)


class Faulty:
    """Decord's reader, with a fault at the fifth frame."""

    def __init__(self, path: str, **given: Any) -> None:
        self.reader = decord.VideoReader(path, **given)
        self.frames = self.numbered()

    def __len__(self) -> int:
        return len(self.reader)

    def numbered(self) -> Iterator[Any]:
        for number in range(len(self)):
            yield self.fault() if number == 4 else self.reader.next()

    def next(self) -> Any:
        return next(self.frames)

    def fault(self) -> Any:
        raise RuntimeError("lost")


class Printing(Faulty):
    def fault(self) -> Any:
        os.write(2, b"[h264 @ 0x1] error\n")
        return self.reader.next()


class Padded(Faulty):
    def fault(self) -> Any:
        return self.reader.get_batch([4])


@pytest.mark.parametrize("reader", [Faulty, Printing, Padded])
def test_whatever_goes_wrong_is_a_doubt(
    reader: type[Faulty],
    video: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    expected = decode(video, SAMPLING)
    monkeypatch.setattr(decord, "VideoReader", reader)
    with pytest.raises(DecordDoubt):
        list(official_pictures(probe(video), 40))
    found = decode(video, OFFICIAL)
    assert found.decoder == "pyav"
    assert np.array_equal(found.frames, expected.frames)
    assert capfd.readouterr().err == ""


def test_damage_that_decord_conceals_is_damage(
    tmp_path: Path, busy_video: Callable[[str], bytes]
) -> None:
    path = hole(busy_video(".avi"), tmp_path / "hole.avi")
    with pytest.raises(VideoError, match="is damaged"):
        decode(path, OFFICIAL)
    scored = decode(path, replace(OFFICIAL, damaged="score"))
    assert scored.decoder == "pyav"
    assert scored.concealed > 0


def test_the_second_try_is_by_pyav(video: Path) -> None:
    assert decode_by_pyav(video, OFFICIAL).decoder == "pyav"


def test_decord_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["extract.decode.decoder=decord"]
    settings = load_config(None, changes)[0].extract.decode
    check_decoder(settings)
    monkeypatch.setattr(official, "find_spec", lambda name: None)
    check_decoder(load_config(None, [])[0].extract.decode)
    with pytest.raises(ConfigError, match=r'^extract\.decode\.decoder = "decord": .* installed'):
        check_decoder(settings)
