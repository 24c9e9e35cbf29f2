"""The content of videos.parquet: which row of the arrays belongs to which video."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import pandas as pd

from ..errors import StoreError


@dataclass(frozen=True)
class Plan:
    """Rows and their videos; a row once planned never changes.

    Attributes:
        videos: row -> video id; rows that no video has are absent.
        rows_per_shard: Rows in one shard.
    """

    videos: dict[int, str]
    rows_per_shard: int

    @cached_property
    def shards(self) -> range:
        """The planned shards."""
        return range(-(-(max(self.videos, default=-1) + 1) // self.rows_per_shard))

    @cached_property
    def rows(self) -> dict[str, int]:
        """Video id -> row."""
        return {video: row for row, video in self.videos.items()}

    def shard_rows(self, shard: int) -> dict[int, str]:
        """Return row -> video of one shard, in the order of rows; raises StoreError."""
        if shard not in self.shards:
            raise StoreError(f"shard {shard} is not planned: the store has {len(self.shards)}")
        first = shard * self.rows_per_shard
        rows = range(first, first + self.rows_per_shard)
        return {row: self.videos[row] for row in rows if row in self.videos}

    def extended(self, videos: Sequence[str]) -> "Plan":
        """Return a plan with the new ones of these videos added from a fresh shard on.

        Raises:
            StoreError: A video is named twice.
        """
        twice = [video for video, times in Counter(videos).items() if times > 1]
        if twice:
            raise StoreError(f"a video is named more than once: {', '.join(twice[:3])}")
        new = [video for video in videos if video not in self.rows]
        first = len(self.shards) * self.rows_per_shard
        return Plan(self.videos | dict(enumerate(new, first)), self.rows_per_shard)

    def to_bytes(self) -> bytes:
        """Return the content of videos.parquet."""
        buffer = BytesIO()
        frame = pd.DataFrame({"row": list(self.videos), "video": list(self.videos.values())})
        frame.to_parquet(buffer, index=False, write_page_checksum=True)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, rows_per_shard: int, where: str) -> "Plan":
        """Read videos.parquet; `where` is its path or URL.

        Raises:
            StoreError: The file is damaged.
        """
        try:
            frame = pd.read_parquet(BytesIO(data), page_checksum_verification=True)
            pairs = zip(frame["row"], frame["video"], strict=True)
            videos = {int(row): str(video) for row, video in pairs}
        except Exception as error:  # pyarrow raises ten unrelated classes on damaged bytes
            raise StoreError(
                f"{where} is damaged ({error}): restore it from a copy, or extract to another "
                f"cache.path"
            ) from error
        if not len(frame) == len(videos) == len(set(videos.values())):
            raise StoreError(f"{where} names a row or a video twice: restore it from a copy")
        return cls(videos, rows_per_shard)
