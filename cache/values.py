"""From a video's features to the stored values of its row, and back.

Features are cast to the store's dtype, found finite or recorded as a failure, and checksummed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import StoreError
from .arrays.quantise import dequantise, quantise
from .arrays.shard_file import StoredArray, StoredRow
from .layout import FEATURES, Layout
from .records import Failure, Features, RowRecord

_INFINITY = {2: 0x7C00, 4: 0x7F800000}
"""Size of a float in bytes -> the bits of infinity; without its sign, every NaN is larger."""


def stored_shard(
    layout: Layout, rows: Mapping[int, str], results: Mapping[str, Features | Failure]
) -> tuple[dict[int, StoredRow], dict[int, RowRecord]]:
    """Turn the results of a shard's videos into stored values and records.

    Args:
        layout: The store's.
        rows: row -> video of the shard.
        results: video -> its features, or why it has none.

    Returns:
        row -> its arrays, without the rows of failed videos; and row -> record, of all rows.

    Raises:
        StoreError: Features have another shape than the store's rows.
    """
    stored, records = {}, {}
    for row, video in rows.items():
        result = results[video]
        source = None if isinstance(result, Failure) else result.source
        values = result if isinstance(result, Failure) else _stored_row(video, result, layout)
        if isinstance(values, Failure):
            records[row] = RowRecord(video, "failed", values.reason, source, None)
        else:
            stored[row] = values
            records[row] = RowRecord(video, "ok", None, source, checksum(values))
    return stored, records


def checksum(row: StoredRow) -> str:
    """Return the CRC-32C of each of a row's arrays, in hex, joined by hyphens."""
    return joined([array.crc for array in row.values()])


def joined(crcs: Sequence[int]) -> str:
    """Return the CRC-32C of each of a row's arrays as a record has them."""
    return "-".join(f"{crc:08x}" for crc in crcs)


def restored(row: StoredRow, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Return the spatial (F, T, D) and motion (C, M) features of a row, in `float_dtype`."""
    spatial, motion = (row[name].values for name in FEATURES)
    if layout.dtype == "int8":
        spatial = dequantise(spatial, row["spatial_scale"].values)
    return spatial, motion


def as_read(features: Features, dtype: str) -> tuple[np.ndarray, np.ndarray] | Failure:
    """Return spatial and motion features as a store of that dtype gives them back, or why not."""
    cast = _cast(features, np.dtype("float16" if dtype == "int8" else dtype))
    if isinstance(cast, Failure):
        return cast
    spatial, motion = cast
    return dequantise(*quantise(features.spatial)) if dtype == "int8" else spatial, motion


def finite(values: np.ndarray) -> bool:
    """Tell whether no value of a stored array is NaN or infinite; integers never are."""
    if values.dtype.kind != "f":
        return True
    # By their bits: `np.isfinite` converts every float16 first and takes ten times as long. Read as
    # signed integers, negative floats are below the positive ones; as unsigned ones, above them.
    size = values.dtype.itemsize
    signed, unsigned = values.view(f"<i{size}"), values.view(f"<u{size}")
    sign = 1 << (8 * size - 1)
    return bool(signed.max() < _INFINITY[size] and unsigned.max() < sign + _INFINITY[size])


def _stored_row(video: str, features: Features, layout: Layout) -> StoredRow | Failure:
    """Cast one video's features to the stored dtypes; a Failure if they are not finite there."""
    for name, array in zip(FEATURES, (features.spatial, features.motion), strict=True):
        if array.shape != layout.shapes[name]:
            raise StoreError(
                f"{video}: {name} features have shape {array.shape}, the store holds "
                f"{layout.shapes[name]}; extract with the store's settings"
            )
    values = _cast(features, layout.float_dtype)
    if isinstance(values, Failure):
        return values
    arrays = dict(zip(FEATURES, values, strict=True))
    if layout.dtype == "int8":
        codes, scale = quantise(features.spatial)
        arrays |= {"spatial": codes, "spatial_scale": scale}
    return {name: StoredArray.of(arrays[name]) for name in layout.arrays}


def _cast(features: Features, dtype: np.dtype[Any]) -> list[np.ndarray] | Failure:
    values = []
    for name, array in zip(FEATURES, (features.spatial, features.motion), strict=True):
        with np.errstate(over="ignore"):  # `finite` finds the overflow
            cast = np.ascontiguousarray(array, dtype)
        if not finite(cast):
            return Failure(_why_not_finite(name, array, dtype.name))
        values.append(cast)
    return values


def _why_not_finite(name: str, array: np.ndarray, dtype: str) -> str:
    if np.isnan(array).any():
        return f"NaN in the features ({name})"
    if not np.isfinite(array).all():
        return f"infinity in the features ({name})"
    cure = ": store with cache.dtype = 'float32'" if dtype == "float16" else ""
    return f"{dtype} overflow{cure} ({name})"
