"""What the tests of training and evaluation share: small datasets, stores and checkpoints.

Features are drawn at random in small shapes: no test here needs them to mean anything. PyTorch is
imported only when a fixture that needs it is used.
"""

import hashlib
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from finevq.cache.identity import Identity
from finevq.cache.records import Failure, Features, Source
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.dataset.settings import DatasetSettings
from finevq.dataset.videos import DIMENSIONS, Dataset, load_dataset

if TYPE_CHECKING:
    from finevq.train.model.checkpoint import CheckpointInfo

# Read when torch is imported. The models here are tiny: on a busy machine several threads spend
# five times as long waiting for each other as one needs for the work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHAPES: dict[str, tuple[int, ...]] = {"spatial": (2, 4, 64), "motion": (1, 32)}
IDENTITY = {
    "spatial": {"weights": "5" * 64, "frames": 2, "sampler": "middles of equal segments"},
    "motion": {"weights": "7" * 64},
}

YES_NO = "Is there any noise in the video? If not, please answer [No]. If so, please answer [Yes]."
LETTERS = "Which one exists, choose from the following options{A:[None], B:[Noise], C:[Blur]}"

MakeDataset = Callable[..., Dataset]
MakeStore = Callable[..., FeatureStore]


def dataset_in(
    folder: Path,
    parts: Mapping[str, int],
    *,
    labels: Mapping[str, Mapping[str, float]] | None = None,
    questions: Iterable[tuple[str, str, str]] | None = None,
) -> Dataset:
    """Write the files of a dataset without videos.

    Args:
        folder: where to; files that are there are replaced.
        parts: number of videos in each part; their names are train0.mp4, ..., test0.mp4, ...
        labels: MOS by video and dimension; drawn at random, from 0 to 100, if not given.
        questions: video, text and answer; one of each kind for every other video if not given.
    """
    names = [f"{part}{index}.mp4" for part, count in parts.items() for index in range(count)]
    if labels is None:
        rng = np.random.default_rng(0)
        labels = {
            n: dict(zip(DIMENSIONS, rng.uniform(0, 100, 6).round(2), strict=True)) for n in names
        }
    if questions is None:
        questions = [
            entry for name in names[::2] for entry in ((name, YES_NO, "Yes"), (name, LETTERS, "B"))
        ]
    (folder / "splits").mkdir(parents=True, exist_ok=True)
    rows = [
        [name, *(str(labels.get(name, {}).get(dimension, "")) for dimension in DIMENSIONS)]
        for name in names
    ]
    _write_csv(folder / "videos.csv", ["video", *DIMENSIONS], rows)
    split = [[name, name.removesuffix(".mp4").rstrip("0123456789")] for name in names]
    _write_csv(folder / "splits" / "parts.csv", ["video", "part"], split)
    lines = [
        {
            "video": video,
            "conversations": [
                {"from": "human", "value": f"<|video|>{text}"},
                {"from": "ai", "value": answer},
            ],
        }
        for video, text, answer in questions
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return load_dataset(
        DatasetSettings(
            name="made", folder=folder, root=Path(), mos_range=(0.0, 100.0), split="parts"
        )
    )


def _write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    path.write_text("".join(",".join(row) + "\n" for row in [header, *rows]), "utf-8")


def made_features(video: str, sha256: str | None = None) -> Features:
    """Features that are always the same for the same video."""
    sha256 = sha256 or hashlib.sha256(video.encode()).hexdigest()
    rng = np.random.default_rng(zlib.crc32(video.encode()))
    spatial, motion = (rng.normal(size=shape).astype(np.float32) for shape in SHAPES.values())
    return Features(spatial, motion, Source(sha256, 40, 25.0, 1.6, "pyav"))


def store_in(
    folder: Path,
    videos: Iterable[str],
    *,
    failed: Iterable[str] = (),
    content: dict[str, Any] | None = None,
    sha256: Mapping[str, str] = MappingProxyType({}),
) -> FeatureStore:
    """Make or extend a store with features of videos, by id; `sha256` of some of the files."""
    settings = CacheSettings(path=str(folder), stage="", rows_per_shard=4, dtype="float16")
    identity = Identity(content or IDENTITY)
    store = FeatureStore.open_or_create(str(folder), identity, SHAPES, settings)
    store.plan(list(videos))
    gone = set(failed)
    for shard in store.pending():
        results = {
            v: Failure("no frames") if v in gone else made_features(v, sha256.get(v))
            for v in store.shard_rows(shard).values()
        }
        store.write_shard(shard, results)
    return store


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """`dataset_in` a folder of this test."""
    return lambda parts, **given: dataset_in(tmp_path / "dataset", parts, **given)


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """`store_in` a folder of this test."""
    return lambda videos, **given: store_in(tmp_path / "features", videos, **given)


@pytest.fixture(scope="session")
def made_info() -> "CheckpointInfo":
    """What the checkpoint.json of a model of the made features says."""
    from finevq.train.base.language_model import load_base
    from finevq.train.model.checkpoint import CheckpointInfo

    return CheckpointInfo(
        base="embedded",
        base_hash=load_base("embedded", "float32").hash,
        lora={"rank": 4, "alpha": 8, "dropout": 0.05},
        features=Identity(IDENTITY).content,
        shapes=SHAPES,
        dtype="float16",
        mos_range=(0.0, 100.0),
        extract={},
        score_weight=1.0,
        run={},
    )


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """A real S3 server, a process of its own on the loopback, with a port that it chose itself."""
    command = [sys.executable, "-u", "-c", _SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.terminate()


_SERVER = """
from logging import getLogger
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
getLogger("werkzeug").setLevel("ERROR")
app = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket `features`, found as a user's would be: through the AWS configuration."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    import boto3

    bucket = boto3.resource("s3").Bucket("features")
    bucket.create()
    yield bucket
    bucket.objects.delete()
    bucket.delete()
