"""Drawing splits: by ratio, in rounds, with groups kept together and MOS spread evenly.

Videos are dealt out one group at a time, each to the part that is furthest below its share, so a
split of single videos is exact to one video. Videos of one content always stay together.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ...errors import DatasetError
from ..manifest import refuse_existing
from ..splits import PARTS, Part, load_split, recorded_hashes, split_path
from ..videos import Dataset, Video, read_manifest
from .fingerprints import Progress, content_hashes, near_duplicates, signatures

STRATA = 10
"""Bands of MOS with equally many videos that a stratified split spreads over the parts."""

QUIET: Progress = lambda done, total: None  # noqa: E731


def parse_ratio(text: str) -> dict[Part, float]:
    """The share of each part: `4:1:1` is train, val, test; `4:1` is train, test.

    Raises:
        DatasetError: not two or three positive numbers with : or / between them.
    """
    numbers = [float(n) for n in re.split("[:/]", text) if re.fullmatch(r"\d+(\.\d+)?", n)]
    if (
        len(numbers) != len(re.split("[:/]", text))
        or len(numbers) not in (2, 3)
        or not all(numbers)
    ):
        raise DatasetError(
            f"the ratio {text!r} is not like 4:1 (train:test) or 4:1:1 (train:val:test)"
        )
    parts: Sequence[Part] = PARTS if len(numbers) == 3 else ("train", "test")
    return {part: n / sum(numbers) for part, n in zip(parts, numbers, strict=True)}


def draw(
    videos: Sequence[Video],
    ratio: Mapping[Part, float],
    seed: Sequence[int],
    *,
    groups: Iterable[Iterable[str]] = (),
    stratify: bool = False,
) -> dict[str, Part]:
    """The part of each video, by id.

    Args:
        videos: to be dealt out.
        ratio: the share of each part, what `parse_ratio` returned.
        seed: the same seed gives the same split, in whatever order the videos come.
        groups: ids that stay together; groups that share a video become one.
        stratify: whether each part gets its share of each band of MOS (the overall one, or the mean
            of those there are).
    """
    by_id = {video.id: video for video in videos}
    units = _units(sorted(by_id), groups)
    random = np.random.default_rng(list(seed))
    units = [units[i] for i in random.permutation(len(units))]
    if stratify:
        mos = np.array([_mos([by_id[name] for name in unit]) for unit in units])
        ranks = pd.Series(mos).rank(method="first").fillna(0).to_numpy()
        band = np.ceil(STRATA * ranks / max(len(units), 1))
        units = [units[i] for i in np.argsort(band, kind="stable")]
    filled = dict.fromkeys(ratio, 0)
    part_of: dict[str, Part] = {}
    for unit in units:
        total = sum(filled.values()) + len(unit)
        part = max(ratio, key=lambda p: ratio[p] * total - filled[p])
        filled[part] += len(unit)
        part_of.update(dict.fromkeys(unit, part))
    return part_of


def _units(ids: Sequence[str], groups: Iterable[Iterable[str]]) -> list[list[str]]:
    """The videos as groups that stay together; those of no group are groups of one."""
    leader = {name: name for name in ids}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for group in groups:
        first, *rest = [find(name) for name in group]
        for other in rest:
            leader[find(other)] = find(first)
    units: dict[str, list[str]] = {}
    for name in ids:
        units.setdefault(find(name), []).append(name)
    return list(units.values())


def _mos(videos: Sequence[Video]) -> float:
    values = [
        video.labels.get("overall", float(np.mean(list(video.labels.values()))))
        for video in videos
        if video.labels
    ]
    return float(np.mean(values)) if values else np.nan


@dataclass(frozen=True)
class SplitRequest:
    """What `write_splits` is to make.

    Attributes:
        name: of the split's file; rounds append 1, 2, ... to it.
        ratio: as `parse_ratio` takes it.
        rounds: independent splits.
        seed: of all of them.
        group: a column of the manifest whose equal values stay together, "" for none.
        stratify: by MOS.
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
class Written:
    """The splits that were made.

    Attributes:
        counts: videos of each part, by split.
        digests: SHA-256 of each split's file.
        notes: groups, missing files.
    """

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write_splits(dataset: Dataset, request: SplitRequest, progress: Progress = QUIET) -> Written:
    """Draw splits and write `splits/NAME.csv`, with content hashes, and how it was made beside it.

    Raises:
        DatasetError: a wrong ratio, no such column, or a split of that name.
    """
    ratio = parse_ratio(request.ratio)
    many = request.rounds > 1
    names = [f"{request.name}{i}" if many else request.name for i in range(1, request.rounds + 1)]
    for name in names:
        refuse_existing(split_path(dataset, name))
    paths = {video.id: video.path for video in dataset}
    by_path = content_hashes(paths.values(), progress)
    hashes = {name: by_path.get(path, "") for name, path in paths.items()}
    written = Written()
    groups = _groups(dataset, request, hashes, progress, written)
    for index, name in enumerate(names):
        seed = (request.seed, index)
        parts = draw(dataset.videos, ratio, seed, groups=groups, stratify=request.stratify)
        written.digests[name] = _write(dataset, name, parts, hashes, request)
        counted = pd.Series(list(parts.values())).value_counts()
        written.counts[name] = {part: int(counted.get(part, 0)) for part in ratio}
    return written


def _groups(
    dataset: Dataset,
    request: SplitRequest,
    hashes: Mapping[str, str],
    progress: Progress,
    written: Written,
) -> list[list[str]]:
    missing = sum(not sha256 for sha256 in hashes.values())
    if missing:
        written.notes.append(f"{missing} video files are not there; their content is not compared")
    groups = _equal(hashes)
    if groups:
        written.notes.append(f"{len(groups)} contents stand under several names; kept together")
    if request.group:
        path, table = read_manifest(dataset.settings.folder)
        if request.group not in table:
            raise DatasetError(
                f"{path}: no column {request.group!r}; the columns are {', '.join(table.columns)}"
            )
        by_column = _equal(dict(zip(dataset.ids, table[request.group].astype(str), strict=True)))
        written.notes.append(f"{len(by_column)} groups of {request.group} kept together")
        groups += by_column
    if request.near_duplicates:
        ids = {video.path: video.id for video in dataset}
        found = signatures(ids, progress)
        pairs = near_duplicates({ids[path]: signature for path, signature in found.items()})
        written.notes.append(f"{len(pairs)} pairs of videos look alike; kept together")
        groups += [[one, other] for one, other, _ in pairs]
    return groups


def _equal(values: Mapping[str, str]) -> list[list[str]]:
    """The names that share a value, an empty one aside."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        if value:
            groups.setdefault(value, []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _write(
    dataset: Dataset,
    name: str,
    parts: Mapping[str, Part],
    hashes: Mapping[str, str],
    request: SplitRequest,
) -> str:
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


def check_split(
    dataset: Dataset, name: str, *, alike: bool = False, progress: Progress = QUIET
) -> list[str]:
    """What is wrong with a split; nothing, where its parts are disjoint by content.

    Reads every byte of its videos: two names of one content in two parts are found, and a file
    that changed since the split was made.

    Args:
        dataset: whose split.
        name: of the split.
        alike: whether to compare the pictures too.
        progress: called for each video.

    Raises:
        DatasetError: the split cannot be read, or its own hashes are in two parts.
    """
    split = load_split(dataset, name)
    part_of = {video.id: part for part, videos in split.items() for video in videos}
    paths = {video.path: video.id for videos in split.values() for video in videos}
    found = {paths[path]: sha256 for path, sha256 in content_hashes(paths, progress).items()}
    missing = [video for video in part_of if video not in found]
    problems = []
    if missing:
        problems.append(
            f"{len(missing)} of {len(part_of)} files are not there, such as {missing[0]}: their "
            "content is not proven"
        )
    problems += [
        f"{video}: the file is not the one that the split was made with"
        for video, sha256 in recorded_hashes(dataset, name).items()
        if found.get(video, sha256) != sha256
    ]
    for names in _equal(found):
        if len({part_of[video] for video in names}) > 1:
            where = ", ".join(f"{video} ({part_of[video]})" for video in names)
            problems.append(f"the same content in two parts: {where}")
    if alike:
        marked = signatures(paths, progress)
        pairs = near_duplicates({paths[path]: mark for path, mark in marked.items()})
        problems += [
            f"look alike ({share:.0%} of the bits differ) in two parts: "
            f"{one} ({part_of[one]}), {other} ({part_of[other]})"
            for one, other, share in pairs
            if part_of[one] != part_of[other]
        ]
    return problems
