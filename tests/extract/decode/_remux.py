"""Videos with damage: copies whose packets are lost or have other bytes, or that have a hole."""

from collections.abc import Callable, Iterable
from pathlib import Path

import av


def remux(source: Path, target: Path, change: Callable[[list[bytes]], Iterable[bytes]]) -> Path:
    """Copy a video, with the bytes of its packets changed; an empty packet is left out.

    Times stay as they are, so a packet that is left out is one that was lost on its way.
    """
    with av.open(str(source)) as whole, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(whole.streams.video[0])
        packets = [packet for packet in whole.demux() if packet.size]
        for packet, data in zip(packets, change([bytes(p) for p in packets]), strict=True):
            if data:
                changed = av.Packet(data)
                changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
                changed.time_base, changed.stream = packet.time_base, stream
                changed.is_keyframe = packet.is_keyframe
                copy.mux(changed)
    return target


def lose(*numbers: int) -> Callable[[list[bytes]], list[bytes]]:
    """For `remux`: packets that are lost."""
    return lambda packets: [b"" if n in numbers else p for n, p in enumerate(packets)]


def hole(content: bytes, target: Path) -> Path:
    """Write a video's bytes with 200 zeros in their middle."""
    middle = len(content) // 2
    target.write_bytes(content[:middle] + bytes(200) + content[middle + 200 :])
    return target
