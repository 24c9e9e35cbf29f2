"""Dealing videos out to the parts of a split, with groups kept together and MOS spread evenly.

Videos are dealt out one group at a time, each group to the part that is furthest below its share.
If every group is a single video, each part has its share to within one video.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ...errors import DatasetError
from ..splits import PARTS, Part
from ..videos import Video

STRATA = 10
"""A stratified split gives each part its share of so many bands of MOS, equal in size."""


def parse_ratio(text: str) -> dict[Part, float]:
    """The share of each part: `4:1:1` is train, val, test; `4:1` is train, test.

    Raises:
        DatasetError: not two or three positive numbers with : or / between them.
    """
    fields = re.split("[:/]", text)
    numbers = [float(field) for field in fields if re.fullmatch(r"\d+(\.\d+)?", field)]
    if len(numbers) != len(fields) or len(numbers) not in (2, 3) or not all(numbers):
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
        videos: of the dataset, in any order.
        ratio: the share of each part, what `parse_ratio` returned.
        seed: the same seed gives the same split.
        groups: ids that stay together; groups that share a video become one.
        stratify: whether each part gets its share of each band of MOS: the overall one, or the mean
            of the others where there is none.
    """
    by_id = {video.id: video for video in videos}
    units = _units(sorted(by_id), groups)
    rng = np.random.default_rng(list(seed))
    units = [units[i] for i in rng.permutation(len(units))]
    if stratify:
        mos = np.array([_mos([by_id[name] for name in unit]) for unit in units])
        ranks = pd.Series(mos).rank(method="first").fillna(0).to_numpy()
        band = np.ceil(STRATA * ranks / max(len(units), 1))
        units = [units[i] for i in np.argsort(band, kind="stable")]
    sizes = dict.fromkeys(ratio, 0)
    part_of: dict[str, Part] = {}
    for unit in units:
        total = sum(sizes.values()) + len(unit)
        part = max(ratio, key=lambda p: ratio[p] * total - sizes[p])
        sizes[part] += len(unit)
        part_of.update(dict.fromkeys(unit, part))
    return part_of


def _units(ids: Sequence[str], groups: Iterable[Iterable[str]]) -> list[list[str]]:
    """The groups after those that share a video are joined; other videos are groups of one."""
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
    """The mean MOS of videos that stay together, NaN where none is labelled."""
    values = [
        video.labels.get("overall", float(np.mean(list(video.labels.values()))))
        for video in videos
        if video.labels
    ]
    return float(np.mean(values)) if values else np.nan


def groups_by_value(values: Mapping[str, str]) -> list[list[str]]:
    """The names that share a value, in groups of two or more; an empty value makes no group."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        if value:
            groups.setdefault(value, []).append(name)
    return [names for names in groups.values() if len(names) > 1]
