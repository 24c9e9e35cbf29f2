"""What a job has done so far: counts, rates, the slowest stage and the time left."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...cache.files.space import Space
from ...errors import FineVQError
from .worker import LEFT_MANIFEST, ShardReport

COUNTED_FROM = 100
"""Finished videos from which on the share of failed ones says something."""

REASONS_NAMED = 3
"""How many of the most frequent reasons an error names."""


class TooManyFailures(FineVQError):
    """So many videos failed that the reason is hardly theirs."""


@dataclass
class Tally:
    """A running account of a job.

    Attributes:
        total: number of videos that are to be extracted.
        present: number of videos that the store had before, failed ones included.
        space: bytes on disk that the features will need, and that are free.
        processes: number of decoding processes of a worker.
        workers: number of workers in the cluster, as last counted.
        failed_before: of the `present` videos, those without features; set when the job is done.
        videos: number of finished videos, failed ones included.
        failed: video id -> reason, for the videos that failed in this job.
        frames: number of decoded frames.
        bytes: of the stored features.
        busy_s: seconds of work of all workers, by stage: decode, forward and write. Those of decode
            are divided by `processes`, so that every stage is at its limit when it is busy all the
            time.
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
    _started_at: float = field(default_factory=time.monotonic, repr=False)
    _counted_at: float = field(default_factory=time.monotonic, repr=False)
    _worker_seconds: float = field(default=0.0, repr=False)
    _stopped_at: float | None = field(default=None, repr=False)

    def start(self, workers: int) -> None:
        """Start the clock, when the cluster is there."""
        self.workers = max(1, workers)
        self._started_at = self._counted_at = time.monotonic()

    def count_workers(self, workers: int) -> None:
        """Note how many workers there are from now on."""
        self._worker_seconds = self._total_worker_seconds()
        self._counted_at = time.monotonic()
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
        """Stop the clock, when the last shard is done."""
        self._stopped_at = time.monotonic()

    @property
    def extracted(self) -> int:
        """Videos whose features were stored."""
        return self.videos - len(self.failed)

    @property
    def seconds(self) -> float:
        """Seconds since `start`, until `stop`."""
        return (self._stopped_at or time.monotonic()) - self._started_at

    @property
    def videos_per_s(self) -> float:
        """Finished videos a second, on average, failed ones included."""
        return self.videos / max(self.seconds, 1e-9)

    @property
    def frames_per_s(self) -> float:
        """Decoded frames a second, on average."""
        return self.frames / max(self.seconds, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at this rate; None before the first shard."""
        return (self.total - self.videos) / self.videos_per_s if self.videos else None

    @property
    def shares(self) -> Mapping[str, float]:
        """Stage -> the share of the time that it was busy, on average over the workers."""
        total = max(self._total_worker_seconds(), 1e-9)
        return {stage: busy / total for stage, busy in self.busy_s.items()}

    def _total_worker_seconds(self) -> float:
        since_count = (self._stopped_at or time.monotonic()) - self._counted_at
        return self._worker_seconds + since_count * self.workers

    @property
    def bottleneck(self) -> str | None:
        """The busiest stage, which sets the pace; None before the first shard."""
        return max(self.busy_s, key=self.busy_s.__getitem__) if self.videos else None

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values, rounded to what can be measured."""
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


def check_failures(tally: Tally, limit: float) -> None:
    """Stop a job of which too many videos fail: a mount is missing, or a disk, or a codec.

    Videos that are no longer in the manifest are not counted.

    Args:
        tally: of the job.
        limit: share of the finished videos, from 0 to 1.

    Raises:
        TooManyFailures: with the most frequent reasons.
    """
    reasons = [reason for reason in tally.failed.values() if reason != LEFT_MANIFEST.reason]
    if tally.videos >= COUNTED_FROM and len(reasons) > limit * tally.videos:
        raise TooManyFailures(
            f"{len(reasons)} of {tally.videos} videos failed, more than extract.max_failures = "
            f"{limit:g} allows: {most_frequent(reasons)}. Find what they have in common, then run "
            "the same command again with --retry-failed, or with a larger extract.max_failures"
        )


def most_frequent(reasons: Iterable[str]) -> str:
    """The most frequent reasons, each with its count; those alike but for numbers are one."""
    kinds: dict[str, list[str]] = {}
    for reason in reasons:
        kinds.setdefault(re.sub(r"\d+", "0", reason), []).append(reason)
    counts = Counter({alike[0]: len(alike) for alike in kinds.values()})
    named = [f"{count} x {reason!r}" for reason, count in counts.most_common(REASONS_NAMED)]
    more = len(counts) - len(named)
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
