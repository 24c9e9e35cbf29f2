"""The commits of a store: which shards are complete, and a record of each of their rows.

`commits/000012.json` holds the records of shard 12. It is written after the shard's arrays, and
has a digest of its own content.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic import TypeAdapter

from ..errors import StoreError
from .files.folder import Folder
from .identity import canonical_json
from .plan import PlanFiles
from .records import RowRecord

COMMITS = "commits"
"""Name of their folder, below the store's."""

_NAME = re.compile(r"(\d{6,})\.json")
_ROWS = TypeAdapter(dict[int, RowRecord])


def commit_name(shard: int) -> str:
    """Return the name of a shard's commit file below the store's folder."""
    return f"{COMMITS}/{shard:06}.json"


def committed_shards(folder: Folder) -> list[int]:
    """Return the shards that have a commit, planned or not."""
    matches = (_NAME.fullmatch(name) for name in folder.names(COMMITS))
    return sorted(int(match[1]) for match in matches if match)


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

    def __init__(self, folder: Folder, plan_files: PlanFiles) -> None:
        """Name the commits; nothing is read before it is used.

        Args:
            folder: The store's.
            plan_files: The store's, which tell the videos that a commit must name.
        """
        self._folder = folder
        self._plan_files = plan_files
        self._remembered: dict[int, dict[int, RowRecord]] = {}

    def shards(self) -> list[int]:
        """Return the shards that have a commit, planned or not."""
        return committed_shards(self._folder)

    def find(self, shard: int) -> bytes | None:
        """Return the content of a shard's commit file; None if there is none."""
        try:
            return self._folder.read(commit_name(shard))
        except FileNotFoundError:
            return None

    def content(self, shard: int) -> bytes:
        """Return the content of a shard's commit file; raises StoreError if there is none."""
        content = self.find(shard)
        if content is None:
            raise StoreError(f"shard {shard} of {self._folder.url} is not extracted yet")
        return content

    def videos(self) -> dict[int, dict[int, str]]:
        """Return shard -> row -> video as the commits name them, whatever the plan says.

        Damaged commits are left out.
        """
        found = {}
        for shard, content in self._contents(self.shards()).items():
            with suppress(StoreError):
                records = parse_commit(content, shard, self._where(shard))
                found[shard] = {row: record.video for row, record in records.items()}
        return found

    def records(self, shard: int) -> dict[int, RowRecord]:
        """Read row -> record of a committed shard.

        Raises:
            StoreError: The commit is missing or damaged.
            PlanDamaged: Its videos are not the planned ones.
        """
        return self.parsed(shard, self.content(shard))

    def parsed(self, shard: int, content: bytes) -> dict[int, RowRecord]:
        """Read row -> record out of a commit's content; raises as `records`."""
        records = parse_commit(content, shard, self._where(shard))
        self._plan_files.check(shard, {row: rec.video for row, rec in records.items()})
        return records

    def all_records(self) -> dict[int, RowRecord]:
        """Read row -> record of all planned and committed shards; raises as `records`."""
        planned = self._plan_files.plan.filled
        contents = self._contents([shard for shard in self.shards() if shard in planned])
        parsed = (self.parsed(*pair) for pair in contents.items())
        return {row: record for records in parsed for row, record in records.items()}

    def remembered(self, shard: int) -> dict[int, RowRecord]:
        """Return row -> record of a committed shard, read once; raises as `records`."""
        if shard not in self._remembered:
            self._remembered[shard] = self.records(shard)
        return self._remembered[shard]

    def remember(self, shard: int, records: dict[int, RowRecord]) -> None:
        """Replace what `remembered` returns."""
        self._remembered[shard] = records

    def write(self, shard: int, content: bytes) -> None:
        """Write or replace a shard's commit file."""
        self._folder.write(commit_name(shard), content)

    def withdraw(self, shard: int) -> None:
        """Delete a shard's commit, if there is one: the shard is pending again."""
        self._folder.delete(commit_name(shard))
        self._remembered.pop(shard, None)

    def _contents(self, shards: Sequence[int]) -> dict[int, bytes]:
        """Read the commit files of several shards; one that is withdrawn meanwhile is left out."""
        names = [commit_name(shard) for shard in shards]
        try:
            return dict(zip(shards, self._folder.read_many(names), strict=True))
        except FileNotFoundError:
            found = {shard: self.find(shard) for shard in shards}
            return {shard: content for shard, content in found.items() if content is not None}

    def _where(self, shard: int) -> str:
        return f"{self._folder.url}/{commit_name(shard)}"
