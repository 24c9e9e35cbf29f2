"""The content of videos.parquet: which row of the arrays belongs to which video."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import pandas as pd

from ..errors import StoreError
from .files.folder import Folder

VIDEOS_PARQUET = "videos.parquet"
"""Name of the file, below the store's folder."""


@dataclass(frozen=True)
class Plan:
    """Which video each row is for; a planned row never changes.

    Attributes:
        videos: row -> video id; rows without a video are absent.
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
        """Return this plan with the videos that it lacks added, from a new shard on.

        Raises:
            StoreError: A video is named twice.
        """
        repeated = [video for video, times in Counter(videos).items() if times > 1]
        if repeated:
            raise StoreError(f"a video is named more than once: {', '.join(repeated[:3])}")
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


class PlanFile:
    """The plan of a store, read from its folder at the first use; an empty one without a file."""

    def __init__(self, folder: Folder, rows_per_shard: int) -> None:
        self._folder = folder
        self._rows_per_shard = rows_per_shard
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """The plan as it was last read or written here; raises StoreError if it is damaged."""
        return self.read_again() if self._plan is None else self._plan

    def read_again(self) -> Plan:
        """Read the plan, which another process may have written; raises as `plan`."""
        self._plan = None
        try:
            data = self._folder.read(VIDEOS_PARQUET)
        except FileNotFoundError:
            self._plan = Plan({}, self._rows_per_shard)
        else:
            where = f"{self._folder.url}/{VIDEOS_PARQUET}"
            self._plan = Plan.from_bytes(data, self._rows_per_shard, where)
        return self._plan

    def write(self, plan: Plan) -> None:
        """Replace the plan."""
        self._folder.write(VIDEOS_PARQUET, plan.to_bytes())
        self._plan = plan
