"""The plan of a store: which row of the arrays belongs to which video.

    videos.parquet         the plan, replaced whenever it grows
    plan/000012.parquet    the rows that were planned from shard 12 on; never replaced

Two planners at once cannot give one row to two videos: both would have to create the same file
below `plan/`, which the file system lets only one of them do. The other reads that file, and goes
on behind it. So a planner that dies before it has replaced videos.parquet, or replaces it late,
costs nothing: the plan is videos.parquet and the segments that follow it.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import pandas as pd

from ..errors import StoreError
from .files.folder import Folder

VIDEOS_PARQUET = "videos.parquet"
"""Name of the file, below the store's folder."""

SEGMENTS = "plan"
"""Name of the segments' folder, below the store's."""

_SEGMENT = re.compile(r"(\d{6,})\.parquet")

_CURE = "`finevq cache repair` makes the plan again from the commits"


class PlanDamaged(StoreError):
    """The plan is missing, damaged or contradicts the commits, from which it can be made again.

    What the commits vouch for may be whole: this is no reason to withdraw any of them.
    """


def segment_name(shard: int) -> str:
    """Return the name of the file with the rows that were planned from a shard on."""
    return f"{SEGMENTS}/{shard:06}.parquet"


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
    def filled(self) -> frozenset[int]:
        """The shards that have videos; the plan made from commits may have gaps between them."""
        return frozenset(row // self.rows_per_shard for row in self.videos)

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

    def part(self, first: int, end: int) -> "Plan":
        """Return the rows of the shards from `first` to before `end`."""
        size = self.rows_per_shard
        rows = {r: video for r, video in self.videos.items() if first * size <= r < end * size}
        return Plan(rows, size)

    def corrected(self, committed: Mapping[int, Mapping[int, str]]) -> "Plan":
        """Return this plan with the rows of committed shards taken from their commits.

        Args:
            committed: Shard -> row -> video, as the commits name them.

        Raises:
            StoreError: Two commits name one video, or a commit names a row of another shard.
        """
        videos: dict[int, str] = {}
        shard_of: dict[str, int] = {}
        for shard, rows in sorted(committed.items()):
            for row, video in sorted(rows.items()):
                if row // self.rows_per_shard != shard:
                    raise StoreError(
                        f"the commit of shard {shard} names row {row}, a shard has "
                        f"{self.rows_per_shard} rows: restore the store.json that belongs here"
                    )
                if shard_of.setdefault(video, shard) != shard:
                    raise StoreError(
                        f"the commits of shards {shard_of[video]} and {shard} both name {video}: "
                        f"delete the commit that is wrong, then run the same command again"
                    )
                videos[row] = video
        planned = {
            row: video
            for row, video in self.videos.items()
            if row // self.rows_per_shard not in committed and video not in shard_of
        }
        return Plan(dict(sorted((planned | videos).items())), self.rows_per_shard)

    def to_bytes(self) -> bytes:
        """Return the content of videos.parquet, or of a segment."""
        buffer = BytesIO()
        frame = pd.DataFrame({"row": list(self.videos), "video": list(self.videos.values())})
        frame.to_parquet(buffer, index=False, write_page_checksum=True)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, rows_per_shard: int, where: str) -> "Plan":
        """Read videos.parquet or a segment; `where` is its path or URL.

        Raises:
            PlanDamaged: The file is damaged.
        """
        try:
            frame = pd.read_parquet(BytesIO(data), page_checksum_verification=True)
            pairs = zip(frame["row"], frame["video"], strict=True)
            videos = {int(row): str(video) for row, video in pairs}
        except Exception as error:  # pyarrow raises ten unrelated classes on damaged bytes
            why = " ".join(str(error).split())
            raise PlanDamaged(f"{where} is damaged ({why}): {_CURE}") from error
        if not len(frame) == len(videos) == len(set(videos.values())):
            raise PlanDamaged(f"{where} names a row or a video twice: {_CURE}")
        return cls(videos, rows_per_shard)


class PlanFiles:
    """The plan of a store, read from its folder at the first use; an empty one in a new store."""

    def __init__(
        self, folder: Folder, rows_per_shard: int, committed: Callable[[], Sequence[int]]
    ) -> None:
        """Name the files; nothing is read before it is used.

        Args:
            folder: The store's.
            rows_per_shard: Rows in one shard.
            committed: Returns the shards that have a commit.
        """
        self._folder = folder
        self._rows_per_shard = rows_per_shard
        self._committed = committed
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """The plan as it was last read or written here; raises as `read_again`."""
        return self.read_again() if self._plan is None else self._plan

    def read_again(self) -> Plan:
        """Read the plan, which another process may have written.

        Raises:
            PlanDamaged: A file is damaged, or missing although there are commits.
        """
        self._plan = None
        plan = self._read(VIDEOS_PARQUET) or Plan({}, self._rows_per_shard)
        while segment := self._read(segment_name(len(plan.shards))):
            plan = self._joined(plan, segment)
        if not plan.videos and self._committed():
            raise PlanDamaged(f"{self._folder.url}/{VIDEOS_PARQUET} is missing: {_CURE}")
        self._plan = plan
        return plan

    def check(self, shard: int, rows: Mapping[int, str]) -> None:
        """Check that the plan has the videos in a shard that its commit names.

        Where it lacks the shard, the rows would be given to other videos; where it has others
        there, the committed ones would get a second row.

        Args:
            shard: A shard that has a commit.
            rows: row -> video, as the commit names them.

        Raises:
            PlanDamaged: It has not.
        """
        if shard not in self.plan.filled:
            self.read_again()  # another process may have planned since
        if rows != (self.plan.shard_rows(shard) if shard in self.plan.shards else {}):
            raise PlanDamaged(
                f"{self._folder.url}/{VIDEOS_PARQUET} has other videos in shard {shard} than its "
                f"commit: {_CURE}"
            )

    def add(self, known: Plan, plan: Plan) -> bool:
        """Extend the plan, unless another process has extended it meanwhile.

        Args:
            known: The plan as it was read.
            plan: The same with more rows, all of them in new shards.

        Returns:
            Whether it was extended. If not, read it again.
        """
        first = len(known.shards)
        segment = plan.part(first, len(plan.shards)).to_bytes()
        if not self._folder.create(segment_name(first), segment):
            return False
        self._folder.write(VIDEOS_PARQUET, plan.to_bytes())
        self._plan = plan
        return True

    def segments(self) -> list[int]:
        """Return the first shard of each segment that is there."""
        matches = (_SEGMENT.fullmatch(name) for name in self._folder.names(SEGMENTS))
        return sorted(int(match[1]) for match in matches if match)

    def correct(self, committed: Mapping[int, Mapping[int, str]]) -> bool:
        """Make the plan again from all that can be read of it, and from the commits.

        Where they disagree, the commits are right. Of a plan that is lost, videos without a commit
        are lost too; they are planned anew when they are next asked for.

        Args:
            committed: See `Plan.corrected`.

        Returns:
            Whether anything had to be written.

        Raises:
            StoreError: As `Plan.corrected`.
        """
        firsts = self.segments()
        segments = {first: self._read_if_sound(segment_name(first)) for first in firsts}
        written = self._read_if_sound(VIDEOS_PARQUET) or Plan({}, self._rows_per_shard)
        rows: dict[str, int] = {}
        for part in [written, *(segments[n] for n in firsts if n >= len(written.shards))]:
            for row, video in part.videos.items() if part else ():
                rows.setdefault(video, row)
        known = Plan({row: video for video, row in rows.items()}, self._rows_per_shard)
        plan = known.corrected(committed)
        changed = plan.videos != written.videos
        if changed:
            self._folder.write(VIDEOS_PARQUET, plan.to_bytes())
        for first, segment in segments.items():
            # Now that videos.parquet has their rows, none may stand where the plan goes on.
            if segment is None or first >= len(plan.shards):
                self._folder.delete(segment_name(first))
                changed = True
        self._plan = plan
        return changed

    def _read(self, name: str) -> Plan | None:
        """Read one file; None if there is none. Raises PlanDamaged."""
        where = f"{self._folder.url}/{name}"
        try:
            data = self._folder.read(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PlanDamaged(f"{where} cannot be read ({error.strerror}): {_CURE}") from error
        return Plan.from_bytes(data, self._rows_per_shard, where)

    def _read_if_sound(self, name: str) -> Plan | None:
        try:
            return self._read(name)
        except PlanDamaged:
            return None

    def _joined(self, plan: Plan, segment: Plan) -> Plan:
        """Return a plan and the segment behind it; raises PlanDamaged."""
        first = len(plan.shards) * self._rows_per_shard
        repeated = segment.rows.keys() & plan.rows.keys()
        if repeated or min(segment.videos, default=-1) != first:
            raise PlanDamaged(
                f"{self._folder.url}/{segment_name(len(plan.shards))} does not follow the plan "
                f"before it: {_CURE}"
            )
        return Plan(plan.videos | segment.videos, self._rows_per_shard)
