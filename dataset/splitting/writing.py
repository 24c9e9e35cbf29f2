"""The files of drawn splits: the parts with content hashes, and how they were drawn.

Videos of the same content always stay together.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from ...errors import DatasetError
from ..manifest import read_manifest, refuse_existing
from ..progress import Progress, no_progress
from ..splits import Part, split_path
from ..videos import Dataset
from .drawing import draw, groups_by_value, parse_ratio
from .fingerprints import content_hashes, near_duplicates, signatures


@dataclass(frozen=True)
class SplitRequest:
    """The splits that `write_splits` makes.

    Attributes:
        name: of the split's file; several rounds append 1, 2, ... to it.
        ratio: as `parse_ratio` takes it.
        rounds: how many independent splits are drawn.
        seed: of all of them.
        group: a column of the manifest: videos with the same value stay together; "" for none.
        stratify: whether each part gets its share of each band of MOS.
        near_duplicates: whether videos that look alike stay together.
    """

    name: str
    ratio: str
    rounds: int = 1
    seed: int = 0
    group: str = ""
    stratify: bool = False
    near_duplicates: bool = False


@dataclass
class WrittenSplits:
    """The splits that were made.

    Attributes:
        counts: videos of each part, by split.
        digests: SHA-256 of each split's file.
        notes: which groups were kept together, and which files are missing, a sentence each.
    """

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write_splits(
    dataset: Dataset, request: SplitRequest, progress: Progress = no_progress
) -> WrittenSplits:
    """Draw splits; write `splits/NAME.csv` with content hashes, and `NAME.json` with the request.

    Raises:
        DatasetError: the ratio is wrong, there is no such column, or the split exists.
    """
    ratio = parse_ratio(request.ratio)
    rounds = [str(number) for number in range(1, request.rounds + 1)]
    names = [request.name + number for number in ([""] if request.rounds == 1 else rounds)]
    for name in names:
        refuse_existing(split_path(dataset, name))
    paths = {video.id: video.path for video in dataset}
    by_path = content_hashes(paths.values(), progress)
    hashes = {name: by_path.get(path, "") for name, path in paths.items()}
    written = WrittenSplits()
    groups = _groups(dataset, request, hashes, progress, written)
    for index, name in enumerate(names):
        seed = (request.seed, index)
        parts = draw(dataset.videos, ratio, seed, groups=groups, stratify=request.stratify)
        written.digests[name] = _write(dataset, name, parts, hashes, request)
        sizes = Counter(parts.values())
        written.counts[name] = {part: sizes[part] for part in ratio}
    return written


def _groups(
    dataset: Dataset,
    request: SplitRequest,
    hashes: Mapping[str, str],
    progress: Progress,
    written: WrittenSplits,
) -> list[list[str]]:
    """The videos that stay together; why, and what is missing, is noted in `written`."""
    missing = sum(not sha256 for sha256 in hashes.values())
    if missing:
        written.notes.append(f"{missing} video files are missing; their content is not compared")
    groups = groups_by_value(hashes)
    if groups:
        written.notes.append(f"{len(groups)} contents with several names kept together")
    if request.group:
        path, table = read_manifest(dataset.settings.folder)
        if request.group not in table:
            raise DatasetError(
                f"{path}: no column {request.group!r}; the columns are {', '.join(table.columns)}"
            )
        by_column = groups_by_value(
            dict(zip(dataset.ids, table[request.group].astype(str), strict=True))
        )
        written.notes.append(f"{len(by_column)} groups of {request.group} kept together")
        groups += by_column
    if request.near_duplicates:
        ids = {video.path: video.id for video in dataset}
        found = signatures(ids, progress)
        pairs = near_duplicates({ids[path]: signature for path, signature in found.items()})
        written.notes.append(f"{len(pairs)} pairs of videos look alike; kept together")
        groups += [[one, other] for one, other, _ in pairs]
    return groups


def _write(
    dataset: Dataset,
    name: str,
    parts: Mapping[str, Part],
    hashes: Mapping[str, str],
    request: SplitRequest,
) -> str:
    """Write both files of a split; returns the SHA-256 of the first."""
    prefix = len(dataset.settings.name) + 1
    table = pd.DataFrame(
        [(v[prefix:], parts[v], hashes[v]) for v in dataset.ids],
        columns=["video", "part", "sha256"],
    )
    text = table.to_csv(index=False, lineterminator="\n")
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = split_path(dataset, name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8", newline="\n")
    made = {**vars(request), "split": name, "sha256": digest}
    path.with_suffix(".json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")
    return digest
