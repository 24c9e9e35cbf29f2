"""From the networks' output to the values of a shard: cast, judged, checksummed."""

import hashlib
from collections.abc import Mapping

import numpy as np

from ..errors import StoreError
from .layout import ARRAYS, Layout
from .records import Failure, Features, RowRecord


def filled_shard(
    layout: Layout, rows: Mapping[int, str], results: Mapping[str, Features | Failure]
) -> tuple[dict[str, np.ndarray], dict[int, RowRecord]]:
    """Lay out the results of a shard's videos.

    Args:
        layout: The store's.
        rows: row -> video of the shard.
        results: video -> what became of it.

    Returns:
        The values to store, name -> (rows a shard, *row shape), NaN in the rows of failed and
        absent videos; and row -> record.

    Raises:
        StoreError: Features have another shape than the store's rows.
    """
    size, dtype, shapes = layout.rows_per_shard, layout.stored_dtype, layout.shapes
    blocks = {name: np.full((size, *shapes[name]), np.nan, dtype) for name in ARRAYS}
    records = {}
    for row, video in rows.items():
        result = results[video]
        source = None if isinstance(result, Failure) else result.source
        values = result if isinstance(result, Failure) else _stored_values(video, result, layout)
        if isinstance(values, Failure):
            records[row] = RowRecord(video, "failed", values.reason, source, None)
            continue
        for name, array in zip(ARRAYS, values, strict=True):
            blocks[name][row % size] = array
        records[row] = RowRecord(video, "ok", None, source, checksum(*values))
    return blocks, records


def checksum(spatial: np.ndarray, motion: np.ndarray) -> str:
    """Return BLAKE2b with 16 bytes, in hex, of the spatial, then the motion bytes."""
    state = hashlib.blake2b(digest_size=16)
    for array in (spatial, motion):
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def _stored_values(video: str, features: Features, layout: Layout) -> list[np.ndarray] | Failure:
    """Cast one video's features to the store's dtype, or say why they are not finite in it."""
    values = []
    for name, array in zip(ARRAYS, (features.spatial, features.motion), strict=True):
        if array.shape != layout.shapes[name]:
            raise StoreError(
                f"{video}: {name} features have shape {array.shape}, the store holds "
                f"{layout.shapes[name]}; extract with the store's settings"
            )
        with np.errstate(over="ignore"):  # the overflow is looked for below
            cast = array.astype(layout.stored_dtype)
        if not np.isfinite(cast).all():
            return Failure(_why_not_finite(name, array, layout.dtype))
        values.append(cast)
    return values


def _why_not_finite(name: str, array: np.ndarray, dtype: str) -> str:
    if np.isnan(array).any():
        return f"NaN in the features ({name})"
    if not np.isfinite(array).all():
        return f"infinity in the features ({name})"
    cure = ": store with cache.dtype = 'float32'" if dtype == "float16" else ""
    return f"{dtype} overflow{cure} ({name})"
