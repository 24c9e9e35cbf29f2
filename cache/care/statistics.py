"""Statistics of the stored features, which show a constant channel or a drifted scale."""

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask.base import compute
from dask.delayed import delayed

from ..layout import FEATURES
from ..store import FeatureStore

GROUP_SIZE = 256
"""Consecutive channels with common statistics: SlowFast's fast path makes the last 256."""

_ROWS_A_GRAPH = 256
"""Rows in one Dask graph, which bounds its size."""


def statistics(store: FeatureStore, sample: int) -> dict[str, Any]:
    """Compute statistics of the features of videos spread evenly over the store.

    Args:
        store: The store; its videos without features are left out.
        sample: The most videos to read.

    Returns:
        videos, the number read; then for spatial and for motion: mean, std, min, max, zeros (the
        share of values that are 0) over all values, and groups, the same for each 256 consecutive
        channels with their first and last channel. Where no video has features, only videos.

    Raises:
        StoreError: The row of one of the videos is damaged.
    """
    ok = [video for video, record in store.records().items() if record.status == "ok"]
    videos = [ok[index * len(ok) // sample] for index in range(sample)] if sample < len(ok) else ok
    if not videos:
        return {"videos": 0}
    sums: list[np.ndarray] = []
    for first in range(0, len(videos), _ROWS_A_GRAPH):
        part = _channel_sums(store, videos[first : first + _ROWS_A_GRAPH])
        sums = part if not sums else [_merged_sums(*pair) for pair in zip(sums, part, strict=True)]
    counts = [len(videos) * int(np.prod(store.layout.shapes[name][:-1])) for name in FEATURES]
    return {"videos": len(videos)} | {
        name: _described(channels, count)
        for name, channels, count in zip(FEATURES, sums, counts, strict=True)
    }


def _channel_sums(store: FeatureStore, videos: Sequence[str]) -> list[np.ndarray]:
    """Return (5, D) for spatial and motion: sum, sum of squares, zeros, minimum, maximum."""
    read = delayed(store.read, nout=2, pure=False)
    rows = [read(video) for video in videos]
    sums = []
    for place, name in enumerate(FEATURES):
        shape, dtype = store.layout.shapes[name], store.layout.float_dtype
        blocks = [da.from_delayed(row[place], shape, dtype).reshape(-1, shape[-1]) for row in rows]
        values = da.concatenate(blocks).astype(np.float64)
        sums.append(
            da.stack(
                [
                    values.sum(axis=0),
                    (values**2).sum(axis=0),
                    (values == 0).sum(axis=0),
                    values.min(axis=0),
                    values.max(axis=0),
                ]
            )
        )
    # Two rows at a time: a row in float64 takes 64 MB, and most of the time goes into reading.
    return list(compute(*sums, scheduler="threads", num_workers=2))


def _merged_sums(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Add up two results of `_channel_sums` for one kind of features."""
    low, high = np.minimum(one[3], two[3]), np.maximum(one[4], two[4])
    return np.stack([*(one[:3] + two[:3]), low, high])


def _described(channels: np.ndarray, count: int) -> dict[str, Any]:
    width = channels.shape[1]
    groups = []
    for first in range(0, width, GROUP_SIZE):
        group = channels[:, first : first + GROUP_SIZE]
        last = first + group.shape[1] - 1
        groups.append({"channels": [first, last]} | _moments(group, count))
    return _moments(channels, count) | {"groups": groups}


def _moments(channels: np.ndarray, count: int) -> dict[str, float]:
    total = count * channels.shape[1]
    mean = channels[0].sum() / total
    variance = max(0.0, channels[1].sum() / total - mean**2)
    found = {
        "mean": mean,
        "std": np.sqrt(variance),
        "min": channels[3].min(),
        "max": channels[4].max(),
        "zeros": channels[2].sum() / total,
    }
    return {name: float(f"{value:.6g}") for name, value in found.items()}
