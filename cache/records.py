"""What goes into a shard for each video, and what its commit file keeps about it."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from ..errors import StoreError
from .identity import canonical_json

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@checked_dataclass(frozen=True, config=_STRICT)
class Source:
    """The video file that features were made from.

    Attributes:
        sha256: Hash of the file's bytes, in hex.
        frames: Number of frames decoded.
        fps: Frames a second, None where the file does not say.
        seconds: Duration, None where the file does not say.
        decoder: Name of the decoder that read it.
    """

    sha256: str
    frames: int
    fps: float | None
    seconds: float | None
    decoder: str


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """The features of one video, of any float type; the store casts them to its own.

    Attributes:
        spatial: (F, T, D), tokens of F frames.
        motion: (C, M), one vector a clip.
        source: The file that they were made from.
    """

    spatial: np.ndarray
    motion: np.ndarray
    source: Source


@dataclasses.dataclass(frozen=True)
class Failure:
    """A video without features, and why."""

    reason: str


@checked_dataclass(frozen=True, config=_STRICT)
class RowRecord:
    """What a commit says about one row.

    Attributes:
        video: The video's id.
        status: "ok" if the row holds features, "failed" if it is empty.
        reason: Why it failed; None if ok.
        source: The file, known for every video that could be decoded; never None if ok.
        checksum: CRC-32C, in hex, of each stored array's bytes (C order, little endian), joined by
            hyphens in the order of `Layout.arrays`; None if failed.
    """

    video: str
    status: Literal["ok", "failed"]
    reason: str | None
    source: Source | None
    checksum: str | None

    def __post_init__(self) -> None:
        if self.status == "ok":
            complete = self.reason is None and None not in (self.source, self.checksum)
        else:
            complete = self.reason is not None and self.checksum is None
        if not complete:
            raise ValueError(f"the record of {self.video} contradicts its status {self.status!r}")


_ROWS = TypeAdapter(dict[int, RowRecord])


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
        shard: The shard that the file's name says.
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
