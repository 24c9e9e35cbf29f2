"""Extraction on real clusters: nothing is lost, done twice or done differently."""

import dataclasses
import errno
import os
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np
import psutil
import pytest
import torch
from distributed import Client, LocalCluster
from distributed.scheduler import KilledWorker

from finevq.cache.care.verify import verify
from finevq.cache.files import folder as _files
from finevq.cache.files.space import DiskFull
from finevq.cache.records import Features
from finevq.cache.store import FeatureStore
from finevq.cli.main import main
from finevq.config import Config, load_config
from finevq.dataset.videos import Dataset, load_dataset
from finevq.errors import ConfigError, DatasetError, IdentityMismatch
from finevq.extract.decode.video import DecodedVideo, decode
from finevq.extract.encode.encoder import Encoder
from finevq.extract.job import cluster, dispatch, live, run, tally
from finevq.extract.job.dispatch import WorkersLost
from finevq.extract.job.live import ROUNDING, verify_live
from finevq.extract.job.run import extract
from finevq.extract.job.tally import Tally, TooManyFailures
from finevq.extract.job.worker import TASKS_PER_WORKER, Extractor, ShardReport
from finevq.extract.settings import ExtractSettings

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
    """Extract the shards here, one after another, with the extractor of a Dask worker."""

    class Client:
        id = "here"

        def register_plugin(self, extractor: Extractor, name: str) -> None:
            self.extractor = extractor

        def nthreads(self) -> dict[str, int]:
            return {"here": 1}

    @contextmanager
    def connect(settings: ExtractSettings) -> Iterator[Client]:
        yield Client()

    def run_all(client: Client, todo: Any, paths: Any, settings: Any, plugin: str) -> Any:
        with set_up(client.extractor) as extractor:
            for shard, videos in todo.items():
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
    reported: list[tuple[int, int]] = []

    def report_progress(tally: Tally) -> None:
        reported.append((tally.videos, tally.total))

    with socket.socket() as other:
        with suppress(OSError):  # then another cluster has Dask's usual port, which does as well
            other.bind(("", 8787))
            other.listen()
        summary = extracted(progress=report_progress)
    assert (summary.extracted, summary.present, list(summary.failed)) == (4, 0, ["made/c.mp4"])
    assert reported == [(done, 5) for done in range(6)]
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


def test_store_in_a_bucket_is_that_of_a_folder(folder: Path, bucket: Any) -> None:
    summary = extracted("cache.path=s3://features/store", "extract.cluster.workers=1")
    assert (summary.extracted, list(summary.failed)) == (4, ["made/c.mp4"])
    with in_this_process():
        assert extracted("cache.path=s3://features/store").present == 5
        extracted()
    found = {item.key: item.get()["Body"].read() for item in bucket.objects.all()}
    assert {name.removeprefix("store/"): data for name, data in found.items()} == files("features")


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
                stderr=subprocess.PIPE,
                start_new_session=True,
                # Tests that run in the background of a shell pass on that they ignore it.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        )
        return started[-1]

    yield start
    for process in started:
        kill(process)


def commits(store: Path) -> list[Path]:
    return list((store / "commits").glob("*.json"))


def wait_for_commits(process: "subprocess.Popen[bytes]", store: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(commits(store)) < count:
        assert process.poll() is None, "ended before it committed so many"
        assert time.monotonic() < deadline, "too few commits within two minutes"
        time.sleep(0.01)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL of the process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)


def test_killed_run_is_completed_to_the_bytes_of_an_undisturbed_one(
    folder: Path, run_command
) -> None:
    for name in "fghijklmnop":  # enough to be killed in the middle
        shutil.copy("dataset/a.mp4", f"dataset/{name}.mp4")
    list_videos("abcdefghijklmnop")
    process = run_command("cache.path=killed", "extract.cluster.workers=1")
    wait_for_commits(process, Path("killed"), 1)
    for child in psutil.Process(process.pid).children():
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()  # the worker; the job gets another
    wait_for_commits(process, Path("killed"), len(commits(Path("killed"))) + 1)
    kill(process)
    done = len(commits(Path("killed")))
    assert 2 <= done < 16, "killed too late to test anything"
    with in_this_process():
        assert extracted("cache.path=killed").present == done
        assert extracted("cache.path=whole").present == 0
    killed, whole = files("killed"), files("whole")
    assert killed.keys() == whole.keys()
    for name, data in whole.items():
        assert killed[name] == data, name


@pytest.fixture
def shared_cluster() -> Iterator[Client]:
    """A cluster that runs already, with one worker, as others may use it too."""
    with (
        dask.config.set(cluster.DASK_CONFIG),
        LocalCluster(n_workers=1, **cluster.WORKER_OPTIONS, **cluster.NO_DASHBOARD) as started,
        Client(started) as client,
    ):
        yield client


def installed(client: Client) -> list[str]:
    """The extractors that workers have."""

    def names(dask_scheduler: Any) -> list[str]:
        return [
            name for name in dask_scheduler.worker_plugins if name.startswith(run.PLUGIN_PREFIX)
        ]

    return client.run_on_scheduler(names)  # type: ignore[no-any-return]


def test_jobs_on_one_scheduler_do_not_meet_and_leave_nothing_there(
    folder: Path, shared_cluster: Client, run_command
) -> None:
    for name in "fghijklmnop":
        shutil.copy("dataset/a.mp4", f"dataset/{name}.mp4")
    list_videos("abcdefghijklmnop")
    where = f"extract.cluster.scheduler={shared_cluster.scheduler.address}"
    killed = run_command(where, "cache.path=killed")
    wait_for_commits(killed, Path("killed"), 1)
    kill(killed)  # it leaves its extractor behind
    assert len(installed(shared_cluster)) == 1
    first = run_command(where, "cache.path=first")
    wait_for_commits(first, Path("first"), 1)
    second = run_command(where, "cache.path=second", "extract.spatial.frames=2")
    for process in (first, second):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    for name, frames in (("first", 1), ("second", 2)):
        store = FeatureStore.open(name)
        assert store.pending() == []
        assert len(store.records()) == 16
        assert store.failures().keys() == {"made/c.mp4"}
        assert store.read("made/a.mp4")[0].shape[0] == frames
    assert installed(shared_cluster) == []


@pytest.fixture
def worker(folder: Path) -> Iterator[tuple[Extractor, Dataset]]:
    """The extractor of a Dask worker, in this process, and its dataset."""
    config = configured("cache.rows_per_shard=8")
    dataset = load_dataset(config.dataset)
    encoder = Encoder(config.extract)
    store = FeatureStore.create("features", encoder.identity, encoder.shapes, config.cache)
    store.plan(dataset.ids)
    with set_up(Extractor(store, config.extract, dataset.root)) as extractor:
        yield extractor, dataset


def test_a_root_that_is_not_mounted_is_refused_before_the_work(folder: Path) -> None:
    with pytest.raises(DatasetError, match="there is no folder /nonexistent: mount it"):
        extracted("dataset.root=/nonexistent")
    assert not Path("features").exists()


def test_videos_whose_disk_goes_away_are_not_blamed(folder: Path) -> None:
    def unmount(tally: Tally) -> None:
        if tally.videos == 2 and Path("dataset").exists():
            Path("dataset").rename("elsewhere")

    with in_this_process(), pytest.raises(DatasetError, match="finds nothing in"):
        extracted(progress=unmount)
    store = FeatureStore.open("features")
    assert len(store.pending()) == 3
    assert store.failures() == {}


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


def test_failed_videos_are_tried_again_on_request(folder: Path) -> None:
    with in_this_process():
        extracted("cache.rows_per_shard=2")
        shutil.copy("dataset/a.mp4", "dataset/c.mp4")
        assert extracted("cache.rows_per_shard=2").total == 0
        before = FeatureStore.open("features").records()
        # A neighbour in its shard, and another one, whose files are no longer what they were.
        Path("dataset", "d.mp4").unlink()
        list_videos("abcd")
        tally = extracted("cache.rows_per_shard=2", retry_failed=True)
    assert (tally.total, tally.extracted, tally.present, tally.failed) == (1, 1, 3, {})
    store = FeatureStore.open("features")
    assert store.failures() == {}
    assert list(verify(store)) == []
    after = store.records()
    assert {v: after[v] for v in before if v != "made/c.mp4"} == {
        v: record for v, record in before.items() if v != "made/c.mp4"
    }


def test_failed_video_that_left_the_manifest_stays_as_it_is(folder: Path) -> None:
    with in_this_process():
        extracted("cache.rows_per_shard=2")
        before = files("features")
        list_videos("ab")
        tally = extracted("cache.rows_per_shard=2", retry_failed=True)
    assert (tally.total, tally.present) == (0, 2)
    assert files("features") == before


@pytest.fixture
def returned(folder: Path) -> None:
    """Two shards, c and d in the second; d was not in the manifest when that was extracted."""
    with in_this_process():
        list_videos("abcd")
        extracted("cache.rows_per_shard=2", shards=range(1))
        list_videos("abc")
        failed = extracted("cache.rows_per_shard=2").failed
    assert "taken out of the manifest" in failed["made/d.mp4"]
    list_videos("abcd")


@pytest.mark.usefixtures("returned")
def test_video_that_comes_back_to_the_manifest_is_extracted() -> None:
    with in_this_process():
        tally = extracted("cache.rows_per_shard=2")
    assert (tally.total, tally.extracted, tally.present) == (1, 1, 3)
    store = FeatureStore.open("features")
    assert store.failures().keys() == {"made/c.mp4"}  # which is broken, is not tried again
    assert list(verify(store)) == []


@pytest.mark.usefixtures("returned")
def test_video_that_comes_back_outside_the_range_is_left_alone() -> None:
    with in_this_process():
        assert extracted("cache.rows_per_shard=2", shards=range(1)).total == 0
        assert extracted("cache.rows_per_shard=2", shards=range(1, 2)).total == 1


def test_damaged_commit_keeps_no_other_shard_from_being_extracted(folder: Path) -> None:
    with in_this_process():
        extracted(shards=range(2))
        Path("features/commits/000000.json").write_text("torn")
        assert extracted().total == 3


def test_failed_videos_outside_the_range_are_left_alone(folder: Path) -> None:
    with in_this_process():
        extracted()
        assert extracted(retry_failed=True, shards=range(2)).total == 0
        assert extracted(retry_failed=True, shards=range(2, 3)).total == 1


def test_disjoint_ranges_make_the_store_of_one_job(folder: Path) -> None:
    with in_this_process():
        extracted("cache.path=whole")
        first = extracted(shards=range(2))
        assert (first.total, first.present) == (2, 0)
        assert FeatureStore.open("features").pending() == [2, 3, 4]
        assert extracted(shards=range(2, 100)).total == 3
    assert files("features") == files("whole")


def test_the_plan_is_told_before_the_work(folder: Path) -> None:
    reported: list[tuple[int, int, bool]] = []

    def report_progress(tally: Tally) -> None:
        reported.append((tally.videos, tally.space.needed, tally.space.enough))

    with in_this_process():
        tally = extracted(progress=report_progress)
    row = FeatureStore.open("features").layout.row_bytes
    assert reported[0] == (0, 5 * row, True)
    assert tally.bytes == 4 * row


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A cluster in this process, two tasks at a time."""
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2}
    # Port 0 is any free one; None would be 8787, which another test's cluster may hold.
    with Client(**options, dashboard_address="127.0.0.1:0") as made:
        yield made


def report(shard: int) -> ShardReport:
    return ShardReport(shard, 1, {}, 0, 0, 0.0, 0.0, 0.0)


class Planned(Mapping[int, list[str]]):
    """Shards of one video each; keeps the numbers of the shards that were looked up."""

    def __init__(self, shards: int) -> None:
        self.shards = range(shards)
        self.looked_up: list[int] = []

    def __len__(self) -> int:
        return len(self.shards)

    def __iter__(self) -> Iterator[int]:
        return iter(self.shards)

    def __getitem__(self, shard: int) -> list[str]:
        self.looked_up.append(shard)
        return [f"video{shard}"]


def run_tasks(client: Client, todo: Planned, task: Any) -> Iterator[ShardReport]:
    return dispatch.run_shards(client, todo, {}, configured().extract, "plugin", task)


class Log:
    """What tasks have done, kept in a file, because each task runs a copy of this object."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "log"
        self.file.touch()

    def add(self, shard: int) -> None:
        with self.file.open("a") as file:
            file.write(f"{shard}\n")

    def read(self) -> list[int]:
        return list(map(int, self.file.read_text().split()))


def test_every_shard_runs_once_with_few_in_flight(client: Client, tmp_path: Path) -> None:
    started = Log(tmp_path)

    def task(shard: int, paths: Any, plugin: str) -> ShardReport:
        assert paths == {f"video{shard}": None}
        started.add(shard)
        return report(shard)

    planned = Planned(60)
    done = []
    for each in run_tasks(client, planned, task):
        done.append(each.shard)
        assert len(planned.looked_up) - len(done) <= 2 * (
            TASKS_PER_WORKER + 1
        )  # workers of the default settings
    assert sorted(done) == sorted(started.read()) == list(range(60))


def test_error_that_no_attempt_can_mend_stops_the_job_at_once(
    client: Client, tmp_path: Path
) -> None:
    attempts = Log(tmp_path)

    def task(shard: int, paths: Any, plugin: str) -> Any:
        attempts.add(shard)
        return DiskFull("no room") if shard == 1 else report(shard)

    with pytest.raises(DiskFull, match="no room"):
        list(run_tasks(client, Planned(50), task))
    assert attempts.read().count(1) == 1
    assert len(attempts.read()) < 50


def test_other_errors_get_more_attempts(client: Client, tmp_path: Path) -> None:
    attempts = Log(tmp_path)

    def task(shard: int, paths: Any, plugin: str) -> ShardReport:
        attempts.add(shard)
        if len(attempts.read()) < 3:
            raise ConnectionError("the object store is away")
        return report(shard)

    assert [each.shard for each in run_tasks(client, Planned(1), task)] == [0]
    assert attempts.read() == [0, 0, 0]


def killed(shard: int) -> KilledWorker:
    return KilledWorker(f"extract_shard-{shard}", SimpleNamespace(address="tcp://a"), 2)


def test_shard_that_loses_its_workers_is_named_and_the_others_are_done(
    client: Client, tmp_path: Path
) -> None:
    attempts = Log(tmp_path)

    def task(shard: int, paths: Any, plugin: str) -> ShardReport:
        attempts.add(shard)
        # Shard 4 was lost with the worker of shard 3, and does its work when it is alone.
        if shard == 3 or (shard == 4 and len(set(attempts.read())) < 12):
            raise killed(shard)
        return report(shard)

    done: list[int] = []
    with pytest.raises(WorkersLost, match=r"^shard 3: .* \(all others are finished\)") as caught:
        done.extend(each.shard for each in run_tasks(client, Planned(12), task))
    assert sorted(done) == [0, 1, 2, *range(4, 12)]
    assert done[-1] == 4
    assert "\n" not in str(caught.value)


def test_every_shard_that_was_lost_is_tried_alone(client: Client, tmp_path: Path) -> None:
    attempts = Log(tmp_path)

    def task(shard: int, paths: Any, plugin: str) -> ShardReport:
        attempts.add(shard)
        if shard in (3, 5, 7) or (shard == 9 and len(set(attempts.read())) < 12):
            raise killed(shard)
        return report(shard)

    done: list[int] = []
    with pytest.raises(WorkersLost, match=r"^shards 3, 5, 7: .* \(all others are finished\)"):
        done.extend(each.shard for each in run_tasks(client, Planned(12), task))
    assert sorted(done) == [0, 1, 2, 4, 6, 8, 9, 10, 11]


def test_job_ends_where_all_workers_are_lost(client: Client) -> None:
    def task(shard: int, paths: Any, plugin: str) -> ShardReport:
        raise killed(shard)

    planned = Planned(1000)
    with pytest.raises(WorkersLost, match=r"the job gave up"):
        list(run_tasks(client, planned, task))
    assert len(planned.looked_up) < 50


def test_job_of_which_too_many_fail_stops_and_keeps_what_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "COUNTED_FROM", 1)
    with pytest.raises(TooManyFailures, match=r"1 of . videos failed, .* = 0\.1 allows: 1 x 'is "):
        extracted("extract.max_failures=0.1")
    assert FeatureStore.open("features").failures().keys() == {"made/c.mp4"}
    extracted("extract.max_failures=0.1", retry_failed=True)
    assert FeatureStore.open("features").pending() == []


def test_job_in_which_everything_failed_does_not_end_well(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_videos("c")
    assert main(["extract", *[word for change in SMALL for word in ("--set", change)]]) == 2
    said = capsys.readouterr()
    assert "  failed: made/c.mp4: is " in said.out
    assert "finevq: none of the 1 videos has features: 1 x 'is " in said.err


def test_full_disk_is_one_line_and_a_later_run_resumes(
    worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, dataset = worker
    paths: dict[str, str | None] = {video.id: str(video.path) for video in dataset}

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_files, "replace_file", full)
        with pytest.raises(DiskFull, match=r"disk full at .*: make room, or move the store"):
            extractor.extract_shard(0, paths)
    assert extractor.store.pending() == [0]
    assert extractor.extract_shard(0, paths).videos == 5
    assert extractor.store.pending() == []


def test_stop_keeps_what_is_finished(folder: Path, run_command) -> None:
    names = string.ascii_letters  # so many that one worker is far from the end when it is stopped
    for name in names[5:]:
        shutil.copy("dataset/a.mp4", f"dataset/{name}.mp4")
    list_videos(names)
    process = run_command("extract.cluster.workers=1")
    wait_for_commits(process, Path("features"), 1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.decode().splitlines()[-1].startswith("finevq: stopped; ")
    assert "Traceback" not in said.decode()
    store = FeatureStore.open("features")
    assert 1 <= len(store.committed()) < len(names)
    assert list(verify(store)) == []


def test_stop_while_the_workers_start_is_one_line(folder: Path, run_command) -> None:
    process = run_command()
    assert b"videos need" in process.stderr.readline()
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said.decode().splitlines()) == (
        130,
        ["finevq: stopped; run the same command again to go on"],
    )


def test_features_can_be_made_again(worker) -> None:
    extractor, dataset = worker
    extractor.extract_shard(0, {video.id: str(video.path) for video in dataset})
    found = list(verify_live(extractor.store, dataset, extractor.settings, 3))
    assert [each.video for each in found] == ["made/a.mp4", "made/d.mp4", "made/e.mp4"]
    for each in found:
        assert each.problem is None
        assert 0 < max(each.spatial, each.motion) < 1e-3  # half precision rounds

    shutil.copy("dataset/b.mp4", "dataset/a.mp4")
    Path("dataset", "e.mp4").write_bytes(b"not a video")
    problems = {
        e.video: e.problem for e in verify_live(extractor.store, dataset, extractor.settings, 9)
    }
    assert problems["made/a.mp4"] == "the file is not the one that was extracted"
    assert problems["made/e.mp4"] is not None
    assert problems["made/b.mp4"] is problems["made/d.mp4"] is None
    other = configured("extract.spatial.frames=2").extract
    with pytest.raises(IdentityMismatch, match=r"spatial\.frames: 1 in the store, 2 asked"):
        list(verify_live(extractor.store, dataset, other, 1))


@pytest.mark.parametrize(
    ("precision", "problems"), [("float32", True), ("bfloat16", False), ("float16", True)]
)
def test_what_is_rounding_depends_on_the_precision(
    worker, monkeypatch: pytest.MonkeyPatch, precision: str, problems: bool
) -> None:
    # Two kernels of bfloat16 differ by up to 3.6 % of the largest value, and less in the norm.
    extractor, dataset = worker
    extractor.extract_shard(0, {video.id: str(video.path) for video in dataset})
    encode = Encoder.encode

    def rounded_otherwise(self: Encoder, video: DecodedVideo) -> Features:
        found = encode(self, video)
        noise = np.random.default_rng(0).standard_normal(found.spatial.shape)
        share = 0.02 * np.linalg.norm(found.spatial) / np.linalg.norm(noise)
        return dataclasses.replace(found, spatial=(found.spatial + share * noise).astype("f4"))

    monkeypatch.setattr(Encoder, "encode", rounded_otherwise)
    settings = extractor.settings.model_copy(update={"precision": precision})
    monkeypatch.setattr(live, "Encoder", lambda settings: Encoder(extractor.settings))
    found = list(verify_live(extractor.store, dataset, settings, 1))
    assert [each.problem is not None for each in found] == [problems]
    assert found[0].spatial == pytest.approx(0.02, rel=0.05)


def test_features_that_come_out_otherwise_are_a_problem(
    worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, dataset = worker
    extractor.extract_shard(0, {video.id: str(video.path) for video in dataset})
    encode = Encoder.encode

    def a_little_brighter(self: Encoder, video: DecodedVideo) -> Features:
        brighter = np.minimum(video.frames, 240) + np.uint8(15)
        return encode(self, dataclasses.replace(video, frames=brighter))

    monkeypatch.setattr(Encoder, "encode", a_little_brighter)
    (found,) = verify_live(extractor.store, dataset, extractor.settings, 1)
    assert found.problem == "features made again are not those that are stored"
    assert found.spatial > 10 * ROUNDING["float32"] > found.motion
