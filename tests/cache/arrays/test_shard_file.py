"""The shard files are Zarr's: what one writes the other reads, byte for byte."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec

from finevq.cache.arrays.shard_file import StoredArray, encode, read_row
from finevq.cache.files.folder import Folder
from finevq.errors import StoreError

ROWS = 5
SHAPE = (2, 3)
FILLED = [
    pytest.param(set(range(ROWS)), id="all"),
    pytest.param({1, 4}, id="some"),
    pytest.param(set(), id="none"),
]


def rows_of(filled: set[int], dtype: str) -> list[np.ndarray | None]:
    rng = np.random.default_rng(0)
    values = (10 * rng.normal(size=(ROWS, *SHAPE)) + 1).astype(dtype)
    return [values[number] if number in filled else None for number in range(ROWS)]


def by_zarr(path: Path, rows: list[np.ndarray | None], dtype: str) -> bytes:
    """The file that zarr makes of the rows."""
    array = zarr.create_array(
        str(path),
        shape=(ROWS, *SHAPE),
        chunks=(1, *SHAPE),
        shards=(ROWS, *SHAPE),
        dtype=np.dtype(dtype),
        filters=None,
        compressors=[Crc32cCodec()],
        fill_value=float("nan") if "f" in dtype else 0,
        config={"write_empty_chunks": False},
    )
    block = np.full((ROWS, *SHAPE), array.fill_value, dtype)
    for number, row in enumerate(rows):
        block[number] = array.fill_value if row is None else row
    array[:] = block
    return (path / "c/0/0/0").read_bytes()


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "|i1"])
@pytest.mark.parametrize("filled", FILLED[:2])
def test_a_shard_is_the_file_that_zarr_writes(tmp_path: Path, dtype: str, filled: set[int]) -> None:
    rows = rows_of(filled, dtype)
    ours = b"".join(encode([None if row is None else StoredArray.of(row) for row in rows]))
    assert ours == by_zarr(tmp_path, rows, dtype)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "|i1"])
@pytest.mark.parametrize("filled", FILLED)
def test_rows_come_back(tmp_path: Path, dtype: str, filled: set[int]) -> None:
    rows = rows_of(filled, dtype)
    folder = Folder(str(tmp_path))
    folder.write("shard", *encode([None if row is None else StoredArray.of(row) for row in rows]))
    for number, row in enumerate(rows):
        stored = read(folder, number, dtype=dtype)
        assert (stored is None) == (row is None)
        if stored is not None and row is not None:
            np.testing.assert_array_equal(stored.values, row)
            assert stored.values.flags.writeable
            assert stored.crc == StoredArray.of(row).crc


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="shard is missing"):
        read(Folder(str(tmp_path)), 0)


def test_a_file_of_other_rows_is_refused(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write("shard", *encode([StoredArray.of(np.zeros(7, "<f4"))] * ROWS))
    with pytest.raises(StoreError, match="its index gives the row 32 bytes"):
        read(folder, 0)


def read(folder: Folder, number: int, dtype: str = "<f4") -> StoredArray | None:
    return read_row(folder, "shard", number, rows=ROWS, shape=SHAPE, dtype=np.dtype(dtype))
