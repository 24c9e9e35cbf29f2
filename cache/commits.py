"""The commits of a store: which shards are complete, and a record of each of their rows.

`commits/000012.json` holds the records of shard 12. It is written after the shard's arrays, and
has a digest of its own content.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from ..errors import StoreError
from .files.folder import Folder
from .identity import canonical_json
from .plan import VIDEOS_PARQUET, PlanFile
from .records import RowRecord

COMMITS = "commits"
"""Name of their folder, below the store's."""

_NAME = re.compile(r"(\d{6,})\.json")
_ROWS = TypeAdapter(dict[int, RowRecord])


def commit_name(shard: int) -> str:
    """Return the name of a shard's commit file below the store's folder."""
    return f"{COMMITS}/{shard:06}.json"


def commit_bytes(shard: int, rows: Mapping[int, RowRecord]) -> bytes:
    """Return the content of a shard's commit file; the same records give the same bytes."""
    body: dict[str, Any] = {
        "shard": shard,
        "rows": {str(row): dataclasses.asdict(rows[row]) for row in sorted(rows)},
    }
    return (json.dumps(body | {"digest": _digest(body)}, indent=1) + "\n").encode()


def parse_commit(data: bytes, shard: int, where: str) -> dict[int, RowRecord]:
    """Read a commit file back.

    Args:
        data: The file's bytes.
        shard: The shard, as the file is named.
        where: The file's path or URL, for the message.

    Raises:
        StoreError: The file is damaged or belongs to another shard.
    """
    try:
        body = json.loads(data)
        if body.pop("digest") != _digest(body):
            raise ValueError("its digest does not match")
        if body["shard"] != shard:
            raise ValueError(f"it belongs to shard {body['shard']}")
        return _ROWS.validate_json(json.dumps(body["rows"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        why = " ".join(str(error).split())
        raise StoreError(
            f"{where} is damaged ({why}): delete it and extract again, which redoes its shard"
        ) from error


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.blake2b(canonical_json(body).encode(), digest_size=16).hexdigest()


class Commits:
    """The commits of one store."""

    def __init__(self, folder: Folder, plan_file: PlanFile) -> None:
        """Name the commits; nothing is read before it is used.

        Args:
            folder: The store's.
            plan_file: The store's, which tells the videos that a commit must name.
        """
        self._folder = folder
        self._plan_file = plan_file
        self._remembered: dict[int, dict[int, RowRecord]] = {}

    def shards(self) -> list[int]:
        """Return the shards that have a commit, planned or not."""
        matches = (_NAME.fullmatch(name) for name in self._folder.names(COMMITS))
        return sorted(int(match[1]) for match in matches if match)

    def content(self, shard: int) -> bytes:
        """Return the content of a shard's commit file; raises StoreError if there is none."""
        try:
            return self._folder.read(commit_name(shard))
        except FileNotFoundError as error:
            raise StoreError(f"shard {shard} of {self._folder.url} is not extracted yet") from error

    def records(self, shard: int) -> dict[int, RowRecord]:
        """Read row -> record of a committed shard.

        Raises:
            StoreError: The commit is missing or damaged, or its videos are not the planned ones.
        """
        return self._parsed(shard, self.content(shard))

    def all_records(self) -> dict[int, RowRecord]:
        """Read row -> record of all planned and committed shards; raises as `records`."""
        planned = self._plan_file.plan.shards
        shards = [shard for shard in self.shards() if shard in planned]
        contents = self._folder.read_many([commit_name(shard) for shard in shards])
        parsed = (self._parsed(*pair) for pair in zip(shards, contents, strict=True))
        return {row: record for records in parsed for row, record in records.items()}

    def remembered(self, shard: int) -> dict[int, RowRecord]:
        """Return row -> record of a committed shard, read once; raises as `records`."""
        if shard not in self._remembered:
            self._remembered[shard] = self.records(shard)
        return self._remembered[shard]

    def remember(self, shard: int, records: dict[int, RowRecord]) -> None:
        """Replace what `remembered` returns."""
        self._remembered[shard] = records

    def exists(self, shard: int) -> bool:
        """Tell whether a shard has a commit."""
        return self._folder.exists(commit_name(shard))

    def write(self, shard: int, content: bytes) -> None:
        """Write or replace a shard's commit file."""
        self._folder.write(commit_name(shard), content)

    def withdraw(self, shard: int) -> None:
        """Delete a shard's commit, if there is one: the shard is pending again."""
        self._folder.delete(commit_name(shard))
        self._remembered.pop(shard, None)

    def _parsed(self, shard: int, content: bytes) -> dict[int, RowRecord]:
        where = f"{self._folder.url}/{commit_name(shard)}"
        records = parse_commit(content, shard, where)
        videos = {row: record.video for row, record in records.items()}
        if videos != self._plan_file.plan.shard_rows(shard):
            raise StoreError(
                f"{where} names other videos than {VIDEOS_PARQUET}: delete it and extract again"
            )
        return records
