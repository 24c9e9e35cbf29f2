"""What a job has done so far: counts, rates, what holds it up, and how long it will take."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...cache.files.space import Space
from .worker import ShardReport


@dataclass
class Tally:
    """A running account of a job.

    Attributes:
        total: videos that are to be extracted.
        present: videos that the store had before, failures included.
        failed_before: of these, those without features; known when the job is done.
        space: what they will take on disk, and what is free.
        processes: decoding processes a worker.
        workers: in the cluster, as of late.
        videos: finished, failed ones included.
        failed: videos without features, and why.
        frames: decoded.
        bytes: of features, stored.
        busy_s: seconds of work of all workers, by stage: decode, forward and write. Decoding is
            that of one process, so that a stage whose share of the time is 1 is at its limit.
    """

    total: int
    present: int
    space: Space
    processes: int
    workers: int = 1
    failed_before: int = 0
    videos: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    frames: int = 0
    bytes: int = 0
    busy_s: dict[str, float] = field(
        default_factory=lambda: {"decode": 0.0, "forward": 0.0, "write": 0.0}
    )
    _began: float = field(default_factory=time.monotonic, repr=False)
    _counted: float = field(default_factory=time.monotonic, repr=False)
    _worker_s: float = field(default=0.0, repr=False)
    _ended: float | None = field(default=None, repr=False)

    def start(self, workers: int) -> None:
        """The cluster is there: from here on time counts."""
        self.workers = max(1, workers)
        self._began = self._counted = time.monotonic()

    def count_workers(self, workers: int) -> None:
        """Workers have come or gone: until now there were as many as before."""
        self._worker_s = self._seconds_of_workers()
        self._counted = time.monotonic()
        self.workers = max(1, workers)

    def add(self, report: ShardReport) -> None:
        """Count a finished shard."""
        self.videos += report.videos
        self.failed |= report.failed
        self.frames += report.frames
        self.bytes += report.bytes
        self.busy_s["decode"] += report.decode_s / self.processes
        self.busy_s["forward"] += report.forward_s
        self.busy_s["write"] += report.write_s

    def stop(self) -> None:
        """The last shard is done."""
        self._ended = time.monotonic()

    @property
    def extracted(self) -> int:
        """Videos whose features were stored."""
        return self.videos - len(self.failed)

    @property
    def seconds(self) -> float:
        """Since the cluster was there."""
        return (self._ended or time.monotonic()) - self._began

    @property
    def videos_per_s(self) -> float:
        """On average, failed ones included."""
        return self.videos / max(self.seconds, 1e-9)

    @property
    def frames_per_s(self) -> float:
        """Decoded frames, on average."""
        return self.frames / max(self.seconds, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at this rate; None before the first shard."""
        return (self.total - self.videos) / self.videos_per_s if self.videos else None

    @property
    def shares(self) -> Mapping[str, float]:
        """The share of the time that each stage was busy, a worker's average."""
        time_of_all = max(self._seconds_of_workers(), 1e-9)
        return {stage: busy / time_of_all for stage, busy in self.busy_s.items()}

    def _seconds_of_workers(self) -> float:
        since = (self._ended or time.monotonic()) - self._counted
        return self._worker_s + since * self.workers

    @property
    def bottleneck(self) -> str | None:
        """The busiest stage, which sets the pace; None before the first shard."""
        return max(self.busy_s, key=self.busy_s.__getitem__) if self.videos else None

    def to_json(self) -> dict[str, Any]:
        """The account as plain values, rounded to what can be measured."""
        return {
            "videos": {
                "extracted": self.extracted,
                "failed": len(self.failed),
                "present": self.present,
                "failed_before": self.failed_before,
                "left": self.total - self.videos,
            },
            "seconds": round(self.seconds, 3),
            "workers": self.workers,
            "videos_per_s": round(self.videos_per_s, 3),
            "frames_per_s": round(self.frames_per_s, 1),
            "gigabytes": round(self.bytes / 1e9, 6),
            "busy": {stage: round(share, 3) for stage, share in self.shares.items()},
            "bottleneck": self.bottleneck,
            "failures": dict(self.failed),
        }
