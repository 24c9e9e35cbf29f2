"""Makes `store_v1/`: small feature stores that every later version has to read.

They were written by the code of commit 1c936f8 (version 0.1.0, store.json says format 2), one
store for each dtype. They show that today's code reads data that earlier code wrote, so they must
not be made again by newer code. To have the same values again, check that commit out, install it,
and run

    python make_store_v1.py FOLDER

with this file. A new format gets a folder and a script of its own beside these.

Values are computed from whole numbers, never drawn: no version of NumPy changes them, and every
one of them is exact in float16.
"""

import hashlib
import sys

import numpy as np

from finevq.cache.identity import Identity
from finevq.cache.records import Failure, Features, Source
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore

DTYPES = ("float16", "float32", "int8")
SHAPES = {"spatial": (2, 3, 8), "motion": (2, 5)}
ROWS_PER_SHARD = 4
IDENTITY = {
    "spatial": {"weights": "3fa2c1" + "0" * 58, "frames": 2, "size": (448, 448)},
    "motion": {"weights": "77aa00" + "0" * 58, "mode": "clips"},
    "code": 1,
}
VIDEOS = [f"demo/{number}.mp4" for number in range(10)]  # shards of 4, 4 and 2 videos
UNDECODABLE = "demo/2.mp4"
NOT_FINITE = "demo/5.mp4"
FAILURES = {UNDECODABLE: "no frames", NOT_FINITE: "NaN in the features (motion)"}


def number_of(video: str) -> int:
    """The number in a video's name."""
    return int(video.removeprefix("demo/").removesuffix(".mp4"))


def array(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Multiples of 1/16 from -4 to 4; each token has its own largest magnitude."""
    steps = (np.arange(np.prod(shape)) * 37 + seed * 11) % 129 - 64
    return (steps / 16).astype(np.float32).reshape(shape)


def source(video: str) -> Source:
    """What a commit says about the file of a video."""
    digest = hashlib.sha256(video.encode()).hexdigest()
    even = number_of(video) % 2 == 0
    return Source(digest, 240 + number_of(video), 29.97 if even else None, 8.0, "pyav")


def features(video: str) -> Features:
    """The features that were written for a video."""
    seed = number_of(video)
    motion = array(SHAPES["motion"], 1000 + seed)
    if video == NOT_FINITE:
        motion[1, 2] = np.nan
    return Features(array(SHAPES["spatial"], seed), motion, source(video))


def result(video: str) -> Features | Failure:
    """What became of a video."""
    if video == UNDECODABLE:
        return Failure(FAILURES[video])
    return features(video)


def make(folder: str) -> None:
    """Write the store of each dtype."""
    for dtype in DTYPES:
        url = f"{folder}/{dtype}"
        settings = CacheSettings(path=url, stage="", rows_per_shard=ROWS_PER_SHARD, dtype=dtype)
        store = FeatureStore.create(url, Identity(IDENTITY), SHAPES, settings)
        store.plan(VIDEOS)
        for shard in store.pending():
            videos = store.shard_rows(shard).values()
            store.write_shard(shard, {video: result(video) for video in videos})


if __name__ == "__main__":
    make(sys.argv[1])
