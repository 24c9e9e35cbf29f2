"""The frames that descriptions and near-duplicates look at."""

from fractions import Fraction
from pathlib import Path

import av

from finevq.dataset.splitting.frames import decode_frames


def test_of_several_streams_the_one_that_extraction_takes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for size in ((64, 48), (160, 96)):
            stream = container.add_stream("libx264", rate=25)
            (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
            streams.append(stream)
        for stream, count in zip(streams, (1, 20), strict=True):
            for number in range(count):
                frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    frames = list(decode_frames(path))
    assert {(frame.width, frame.height) for frame in frames} == {(160, 96)}
    assert len(frames) == 20
