"""Extraction on real clusters: nothing is lost, done twice or done differently."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from finevq.cache.store import FeatureStore
from finevq.cache.verify import verify
from finevq.config import Config, load_config
from finevq.dataset.videos import Dataset, load_dataset
from finevq.errors import ConfigError, IdentityMismatch
from finevq.extract import cluster, run
from finevq.extract.decode import decode
from finevq.extract.encoder import Encoder
from finevq.extract.run import extract
from finevq.extract.settings import ExtractSettings
from finevq.extract.tally import Tally
from finevq.extract.worker import Extractor

SMALL = (
    "dataset.name=made",
    "dataset.folder=dataset",
    "extract.device=cpu",
    "extract.spatial.frames=1",
    "extract.motion.clips=1",
    "extract.motion.size=32",
    "cache.path=features",
    "cache.rows_per_shard=1",
)


@pytest.fixture
def folder(tmp_path: Path, encode, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a dataset of five videos, of which c.mp4 is broken."""
    monkeypatch.chdir(tmp_path)
    Path("dataset").mkdir()
    for number, name in enumerate("abde"):
        encode(Path("dataset", f"{name}.mp4"), range(10 * number, 10 * number + 12))
    Path("dataset", "c.mp4").write_bytes(b"not a video")
    list_videos("abcde")
    return tmp_path


def list_videos(names: str) -> None:
    Path("dataset", "videos.csv").write_text("\n".join(["video", *(f"{n}.mp4" for n in names)]))


def configured(*changes: str) -> Config:
    return load_config(None, SMALL + changes)[0]


def extracted(*changes: str, **given: Any) -> Tally:
    config = configured(*changes)
    return extract(load_dataset(config.dataset), config.extract, config.cache, **given)


def files(path: str | Path) -> dict[str, bytes]:
    """Name -> bytes of every file below a folder."""
    return {str(p.relative_to(path)): p.read_bytes() for p in Path(path).rglob("*") if p.is_file()}


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("there is no work for a cluster")


@contextmanager
def in_this_process() -> Iterator[None]:
    """Shards are extracted here, one after another, by what a Dask worker has."""

    class Client:
        def register_plugin(self, extractor: Extractor, name: str) -> None:
            self.extractor = extractor

        def nthreads(self) -> dict[str, int]:
            return {"here": 1}

    @contextmanager
    def connect(settings: ExtractSettings) -> Iterator[Client]:
        yield Client()

    def run_all(client: Client, shards: Any, store: Any, paths: Any, settings: Any) -> Any:
        with set_up(client.extractor) as extractor:
            for shard in shards:
                videos = store.shard_rows(shard).values()
                yield extractor.extract_shard(shard, {v: paths.get(v) for v in videos})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "connect", connect)
        patch.setattr(run, "run_shards", run_all)
        yield


@contextmanager
def set_up(extractor: Extractor) -> Iterator[Extractor]:
    threads = torch.get_num_threads()
    extractor.setup(None)
    try:
        yield extractor
    finally:
        extractor.teardown(None)
        torch.set_num_threads(threads)


def test_store_is_complete_then_left_alone_then_extended(
    folder: Path, encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []

    def tell(tally: Tally) -> None:
        told.append((tally.videos, tally.total))

    with socket.socket() as other:
        with suppress(OSError):  # then another cluster has Dask's usual port, which does as well
            other.bind(("", 8787))
            other.listen()
        summary = extracted(progress=tell)
    assert (summary.extracted, summary.present, list(summary.failed)) == (4, 0, ["made/c.mp4"])
    assert told == [(done, 5) for done in range(6)]
    store = FeatureStore.open("features")
    assert list(verify(store)) == []
    info = store.info()
    assert (info["ok"], info["failed"], info["pending"]) == (4, 1, 0)
    assert store.failures() == summary.failed
    assert summary.failed["made/c.mp4"]
    assert store.read("made/a.mp4")[0].shape == (1, *store.layout.shapes["spatial"][1:])

    before = files("features")
    with monkeypatch.context() as patch:
        patch.setattr(run, "connect", refuse)
        again = extracted()
        assert (again.extracted, again.present, again.failed, again.total) == (0, 5, {}, 0)
        with pytest.raises(IdentityMismatch, match=r"spatial\.frames: 1 in the store, 2 asked"):
            extracted("extract.spatial.frames=2")
    assert files("features") == before

    encode(Path("dataset", "f.mp4"), range(100, 112))
    list_videos("fabcde")  # in front: rows go by when a video came, not by where it stands
    with in_this_process():
        assert extracted().extracted == 1
    after = files("features")
    commits = {name: data for name, data in before.items() if name.startswith("commits/")}
    assert len(commits) == 5
    assert {name: after[name] for name in commits} == commits
    chunks = {n: data for n, data in before.items() if "/c/" in n}
    assert {name: after[name] for name in chunks} == chunks
    assert FeatureStore.open("features").info()["ok"] == 5


@pytest.fixture
def run_command() -> Iterator[Any]:
    """Starts `finevq extract` in a session of its own; whatever is left of it is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*changes: str) -> subprocess.Popen[bytes]:
        sets = [word for change in SMALL + changes for word in ("--set", change)]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "finevq", "extract", *sets],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL of the process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)


def test_killed_run_is_completed_to_the_bytes_of_an_undisturbed_one(
    folder: Path, run_command
) -> None:
    for name in "fghij":  # enough to be killed in the middle
        shutil.copy("dataset/a.mp4", f"dataset/{name}.mp4")
    list_videos("abcdefghij")
    process = run_command("cache.path=killed", "extract.cluster.workers=1")
    commits = Path("killed", "commits")
    deadline = time.monotonic() + 120
    while not list(commits.glob("*.json")):
        assert process.poll() is None, "ended before it committed anything"
        assert time.monotonic() < deadline, "no commit within two minutes"
        time.sleep(0.01)
    kill(process)
    done = len(list(commits.glob("*.json")))
    assert 1 <= done < 10, "killed too late to test anything"
    with in_this_process():
        assert extracted("cache.path=killed").present == done
        assert extracted("cache.path=whole").present == 0
    killed, whole = files("killed"), files("whole")
    leftovers = {name for name in killed if name.endswith(".partial")}
    assert killed.keys() - leftovers == whole.keys()
    for name, data in whole.items():
        assert killed[name] == data, name


@pytest.fixture
def worker(folder: Path) -> Iterator[tuple[Extractor, Dataset]]:
    """What a Dask worker does, in this process."""
    config = configured("cache.rows_per_shard=8")
    dataset = load_dataset(config.dataset)
    encoder = Encoder(config.extract)
    store = FeatureStore.create("features", encoder.identity, encoder.shapes, config.cache)
    store.plan(dataset.ids)
    with set_up(Extractor(store, config.extract)) as extractor:
        yield extractor, dataset


def test_video_taken_out_of_the_manifest_is_a_recorded_failure(worker) -> None:
    extractor, dataset = worker
    paths: dict[str, str | None] = {video.id: str(video.path) for video in dataset}
    paths["made/b.mp4"] = None
    failed = extractor.extract_shard(0, paths).failed
    assert failed.keys() == {"made/b.mp4", "made/c.mp4"}
    assert "taken out of the manifest" in failed["made/b.mp4"]
    assert extractor.store.failures() == failed
    # The videos behind the two keep their own features.
    encoder = extractor.encoder
    spatial, motion = extractor.store.read("made/e.mp4")
    expected = encoder.encode(decode("dataset/e.mp4", encoder.sampling))
    assert (spatial == expected.spatial.astype("float16")).all()
    assert (motion == expected.motion.astype("float16")).all()


def test_scheduler_that_does_not_answer_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(address: str, timeout: str) -> Any:
        assert address == "tcp://127.0.0.1:9"
        raise OSError("timed out")

    monkeypatch.setattr(cluster, "Client", absent)
    with pytest.raises(ConfigError, match="no scheduler answers there; start it"):
        extracted("extract.cluster.scheduler=tcp://127.0.0.1:9")


def test_videos_of_another_dataset_are_left_alone(folder: Path) -> None:
    config = configured()
    encoder = Encoder(config.extract)
    store = FeatureStore.create("features", encoder.identity, encoder.shapes, config.cache)
    store.plan(["other/a.mp4"])
    with in_this_process():
        assert extracted().extracted == 4
    store = FeatureStore.open("features")
    assert store.pending() == [0]
    assert store.records().keys() == {f"made/{name}.mp4" for name in "abcde"}
