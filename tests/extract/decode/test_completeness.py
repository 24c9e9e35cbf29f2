"""Whether a file is as long as its container declares, where the container is an odd one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from finevq.errors import VideoError
from finevq.extract.decode.probe import probe

TRANSPORT = {
    "discs": lambda packet: b"time" + packet,
    "parity": lambda packet: packet + bytes(16),
}
"""How each packet of 188 bytes becomes one of 192 or 204."""


@pytest.fixture(params=TRANSPORT)
def transport(request: pytest.FixtureRequest, busy_video: Callable[[str], bytes]) -> bytes:
    """An intact transport stream whose packets are longer than 188 bytes."""
    plain = busy_video(".ts")
    packets = [plain[at : at + 188] for at in range(0, len(plain), 188)]
    return b"".join(map(TRANSPORT[request.param], packets))


def test_long_transport_packets_are_read(transport: bytes, tmp_path: Path) -> None:
    (tmp_path / "video.m2ts").write_bytes(transport)
    assert probe(tmp_path / "video.m2ts").frames == 60


def test_missing_bytes_of_a_transport_packet_are_counted(transport: bytes, tmp_path: Path) -> None:
    (tmp_path / "video.m2ts").write_bytes(transport[:-20])
    with pytest.raises(VideoError, match="ends early: at least 20 bytes are missing"):
        probe(tmp_path / "video.m2ts")


def test_a_size_beyond_any_file_system_is_a_failure(tmp_path: Path, video: Path, encode) -> None:
    content = encode(tmp_path / "whole.mkv", range(20)).read_bytes()
    size = content.index(b"\x18\x53\x80\x67") + 4
    declared = b"\x01" + (2**56 - 2).to_bytes(7, "big")
    (tmp_path / "huge.mkv").write_bytes(content[:size] + declared + content[size + 8 :])
    with pytest.raises(VideoError, match=r"ends early: at least 72\d{15} bytes are missing"):
        probe(tmp_path / "huge.mkv")
