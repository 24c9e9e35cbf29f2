"""What the feature store costs beside plain files: reading random rows, writing with fsync.

    .venv/bin/python benchmarks/store_reading.py [--folder FOLDER] [--rows N]

Rows have the paper's shapes, 8 x 256 x 4096 and 8 x 2304 in float16, with values that cannot be
compressed; as many as fill 1 GB. All ways hold the same values and take turns in each round; the
order changes from round to round. Reading is measured twice: from memory, which shows the reader's
own cost, and from the disk, with the files' pages dropped before each turn, as in a store larger
than memory. Every way returns arrays that the caller owns. The store checks every byte. Of the
others, those called "checked" do so too: with a CRC-32C over what `numpy.load` returns, and with
HDF5's own checksum.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import zarr
from numcodecs.zstd import Zstd

from finevq.cache.arrays.shard_file import crc32c
from finevq.cache.care.hdf5 import export_hdf5
from finevq.cache.identity import Identity
from finevq.cache.records import Features, Source
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore

SHAPES = {"spatial": (8, 256, 4096), "motion": (8, 2304)}
ROWS_PER_SHARD = 8
READ_ROUNDS = 31
DISK_ROUNDS = 9
READS = 8
WRITE_ROUNDS = 9
SOURCE = Source("a" * 64, 240, 30.0, 8.0, "decord")

Ways = Mapping[str, Callable[[], object]]


def row(rng: np.random.Generator) -> Features:
    """Normal noise, like a layer's normalised output; its 11 mantissa bits cannot be compressed."""
    spatial, motion = (
        rng.standard_normal(shape, dtype=np.float32).astype(np.float16) for shape in SHAPES.values()
    )
    return Features(spatial, motion, SOURCE)


def timed(
    ways: Ways, rounds: int, before: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Seconds of each way in each round; the first round warms up and is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        names = list(ways)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            before()
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}


def speeds(seconds: dict[str, list[float]], size: int) -> dict[str, object]:
    """Speed of the store over that of each other way, round by round.

    On a busy machine a single round says little, so the fastest rounds of both are compared too.
    """
    found: dict[str, object] = {
        "GB_per_s": {name: size / statistics.median(s) / 1e9 for name, s in seconds.items()}
    }
    for name, times in seconds.items():
        if name != "store":
            ratios = [other / own for own, other in zip(seconds["store"], times, strict=True)]
            found[f"store_over_{name}"] = {
                "median": statistics.median(ratios),
                "min": min(ratios),
                "max": max(ratios),
                "of_fastest_rounds": min(times) / min(seconds["store"]),
            }
    return found


def made_store(folder: Path, rows: int) -> FeatureStore:
    settings = CacheSettings(
        path=str(folder), stage="", rows_per_shard=ROWS_PER_SHARD, dtype="float16"
    )
    store = FeatureStore.create(str(folder), Identity({}), SHAPES, settings)
    store.plan([f"{number}.mp4" for number in range(rows)])
    rng = np.random.default_rng(0)
    for shard in store.shards:
        store.write_shard(shard, {v: row(rng) for v in store.shard_rows(shard).values()})
    return store


def reading(folder: Path, rows: int) -> dict[str, object]:
    """Both arrays of random rows."""
    store = made_store(folder / "store", rows)
    for number in range(rows):
        for name, values in zip(SHAPES, store.read(f"{number}.mp4"), strict=True):
            values.tofile(folder / f"{number}.{name}.bin")
            np.save(folder / f"{number}.{name}.npy", values)
    export_hdf5(store, folder / "store.h5")
    file, checked = h5py.File(folder / "store.h5"), h5py.File(folder / "checked.h5", "w")
    for name in SHAPES:
        one = (1, *file[name].shape[1:])
        checked.create_dataset(name, data=file[name], chunks=one, fletcher32=True)
    checked.flush()
    group = zarr.open_group(f"{store.url}/tokens.zarr", mode="r")
    rng = np.random.default_rng(1)

    def each(read: Callable[[int, str], np.ndarray]) -> Callable[[], object]:
        return lambda: [[read(n, name) for name in SHAPES] for n in rng.integers(0, rows, READS)]

    ways: Ways = {
        "store": lambda: [store.read(f"{n}.mp4") for n in rng.integers(0, rows, READS)],
        "fromfile": each(lambda n, name: np.fromfile(folder / f"{n}.{name}.bin", "<f2")),
        "npy": each(lambda n, name: np.load(folder / f"{n}.{name}.npy")),
        "npy_checked": each(lambda n, name: checksummed(np.load(folder / f"{n}.{name}.npy"))),
        "hdf5": each(lambda n, name: file[name][n]),
        "hdf5_checked": each(lambda n, name: checked[name][n]),
        "zarr": each(lambda n, name: np.asarray(group[name][n])),
    }
    os.sync()  # only pages that the disk has can be dropped
    size = READS * sum(2 * int(np.prod(shape)) for shape in SHAPES.values())
    found = {
        "memory": speeds(timed(ways, READ_ROUNDS), size),
        "disk": speeds(timed(ways, DISK_ROUNDS, lambda: drop_pages(folder)), size),
    }
    file.close()
    checked.close()
    return found


def checksummed(values: np.ndarray) -> np.ndarray:
    """Compute the values' checksum, as one would to compare it with a stored one."""
    crc32c(values)
    return values


def drop_pages(folder: Path) -> None:
    """Let the kernel forget the pages of all files."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def writing(folder: Path) -> dict[str, object]:
    """One shard; plain files are one a video and array, each with fsync."""
    rng = np.random.default_rng(2)
    settings = CacheSettings(path=".", stage="", rows_per_shard=ROWS_PER_SHARD, dtype="float16")
    store = FeatureStore.create(str(folder / "written"), Identity({}), SHAPES, settings)
    store.plan([f"{number}.mp4" for number in range(ROWS_PER_SHARD)])
    results = {video: row(rng) for video in store.shard_rows(0).values()}

    def plain() -> None:
        for video, features in results.items():
            for name in SHAPES:
                with open(folder / f"{video}.{name}", "wb") as file:
                    getattr(features, name).tofile(file)
                    file.flush()
                    os.fsync(file.fileno())

    seconds = timed({"store": lambda: store.write_shard(0, results), "plain": plain}, WRITE_ROUNDS)
    size = ROWS_PER_SHARD * sum(2 * int(np.prod(shape)) for shape in SHAPES.values())
    return speeds(seconds, size)


def compression() -> dict[str, float]:
    """Why the store does not compress: what zstd would save here, and how fast it decodes."""
    values, zstd = row(np.random.default_rng(3)).spatial, Zstd(level=1)
    packed = zstd.encode(values)
    start = time.perf_counter()
    zstd.decode(packed)
    speed = values.nbytes / (time.perf_counter() - start) / 1e9
    return {"ratio": values.nbytes / len(packed), "decoding_GB_per_s": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--rows", type=int, default=56, help="16.8 MB each; default 56: 0.94 GB")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="store_reading", dir=given.folder))
    try:
        result = {
            "rows": given.rows,
            "reading": reading(folder, given.rows),
            "writing": writing(folder),
            "zstd": compression(),
        }
    finally:
        shutil.rmtree(folder)
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("store_reading.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
