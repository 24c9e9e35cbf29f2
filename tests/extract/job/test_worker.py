"""A worker's pipeline, with stand-ins for decoders, backbones and store: what overlaps."""

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finevq.cache.records import Failure
from finevq.config import load_config
from finevq.errors import DatasetError, VideoError
from finevq.extract.job.worker import Extractor

PROCESSES, BATCH = 1, 2
SECONDS = 20  # until something that waits is taken for stuck


class Store:
    """Keeps what is written; `before_write` is called first, with the shard's number."""

    def __init__(self) -> None:
        self.layout = SimpleNamespace(row_bytes=100)
        self.before_write: Callable[[int], object] = lambda shard: None
        self.written: dict[int, dict[str, Any]] = {}

    def write_shard(self, shard: int, results: Mapping[str, Any]) -> dict[int, Any]:
        self.before_write(shard)
        self.written[shard] = dict(results)
        return {
            row: SimpleNamespace(
                video=video,
                status="failed" if isinstance(result, Failure) else "ok",
                reason=getattr(result, "reason", None),
            )
            for row, (video, result) in enumerate(results.items())
        }


class Backbones:
    """The features of a video are its file's name; keeps the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.before: Callable[[list[str]], object] = lambda names: None

    def encode_all(self, videos: list[Any]) -> list[str]:
        names = [video.name for video in videos]
        self.before(names)
        self.batches.append(names)
        return [f"features of {name}" for name in names]


class Decoders:
    """Decode at once; a file called "bad" is damaged, one called "bug" breaks our own code."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.ended = False

    def __exit__(self, *given: Any) -> None:
        self.ended = True

    def submit(self, file: str) -> Future[Any]:
        if self.ended:
            raise RuntimeError("the pool is not active")
        self.submitted.append(file)
        future: Future[Any] = Future()
        if file == "bug":
            future.set_exception(KeyError(file))
        elif file == "bad":
            damaged = VideoError("is damaged")
            damaged.decoding_s = 0.25
            future.set_result(damaged)
        else:
            future.set_result(SimpleNamespace(name=file, frame_count=10, decoding_s=0.5))
        return future


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "another.mp4").touch()
    settings = load_config(None, [f"extract.decode.processes={PROCESSES}"])[0].extract
    made: Any = Extractor(Store(), settings, tmp_path / "videos")  # type: ignore[arg-type]
    made.forward_thread = ThreadPoolExecutor(1)
    made.encoder, made.pool, made.batch_size = Backbones(), Decoders(), BATCH
    made.free_slots = threading.Semaphore(PROCESSES + 2 * BATCH)
    made.submit_lock = threading.Lock()
    yield made
    made.forward_thread.shutdown()


def shard_of(*files: str | None) -> dict[str, str | None]:
    return {f"made/{number}": file for number, file in enumerate(files)}


def test_results_go_to_their_videos_and_add_up(worker) -> None:
    report = worker.extract_shard(3, shard_of("a", "bad", None, "b", "c", "d"))
    assert list(worker.store.written[3].values()) == [
        "features of a",
        Failure("is damaged"),
        Failure("was taken out of the manifest before it was extracted"),
        "features of b",
        "features of c",
        "features of d",
    ]
    assert worker.encoder.batches == [["a"], ["b", "c"], ["d"]]  # of the files, two by two
    assert (report.shard, report.videos, report.frames, report.bytes) == (3, 6, 40, 400)
    assert report.failed.keys() == {"made/1", "made/2"}
    assert report.decode_s == 2.25


def unmounted(root: Path) -> None:
    shutil.rmtree(root)


def emptied(root: Path) -> None:
    unmounted(root)
    root.mkdir()


@pytest.mark.parametrize("lose", [unmounted, emptied])
def test_a_worker_that_does_not_see_the_videos_blames_none(
    worker, lose: Callable[[Path], object]
) -> None:
    lose(worker.root)
    with pytest.raises(DatasetError, match=f"the worker there finds nothing in {worker.root}"):
        worker.extract_shard(0, shard_of("bad", "a"))
    assert worker.store.written == {}


def test_next_shard_is_encoded_while_one_is_written(worker) -> None:
    encoded = threading.Event()

    def see(names: list[str]) -> None:
        if names == ["b"]:
            encoded.set()

    def write(shard: int) -> None:
        assert shard == 1 or encoded.wait(SECONDS), "writing holds up the forward pass"

    worker.encoder.before, worker.store.before_write = see, write
    with ThreadPoolExecutor(2) as tasks:
        first = tasks.submit(worker.extract_shard, 0, shard_of("a"))
        second = tasks.submit(worker.extract_shard, 1, shard_of("b"))
        assert (first.result().shard, second.result().shard) == (0, 1)


def test_next_shard_is_decoded_while_one_is_encoded(worker) -> None:
    def wait(names: list[str]) -> None:
        if names == ["a"]:
            for _ in range(100 * SECONDS):
                if "b" in worker.pool.submitted:
                    return
                threading.Event().wait(0.01)
            pytest.fail("the forward pass holds up the decoders")

    worker.encoder.before = wait
    with ThreadPoolExecutor(2) as tasks:
        shards = [
            tasks.submit(worker.extract_shard, shard, shard_of(file))
            for shard, file in enumerate("ab")
        ]
        assert [shard.result().shard for shard in shards] == [0, 1]


def test_a_fixed_number_of_videos_waits_for_the_forward_pass(worker) -> None:
    go = threading.Event()
    worker.encoder.before = lambda names: go.wait(SECONDS)
    with ThreadPoolExecutor(3) as tasks:
        shards = [
            tasks.submit(worker.extract_shard, shard, shard_of(*"abcdefgh")) for shard in range(3)
        ]
        threading.Event().wait(0.3)
        # The batch in the forward pass has given its places back.
        assert len(worker.pool.submitted) <= PROCESSES + 3 * BATCH
        go.set()
        assert sorted(shard.result().videos for shard in shards) == [8, 8, 8]


def test_a_bug_leaves_no_place_taken(worker) -> None:
    for _ in range(10):  # more than there are places
        with pytest.raises(KeyError):
            worker.extract_shard(0, shard_of("a", "bug", "b"))
    assert worker.extract_shard(0, shard_of("a", "b", "c")).videos == 3


def test_teardown_frees_the_tasks_that_wait(worker) -> None:
    go = threading.Event()
    worker.encoder.before = lambda names: go.wait(SECONDS)
    with ThreadPoolExecutor(4) as tasks:
        shards = [
            tasks.submit(worker.extract_shard, shard, shard_of(*"abcdefgh")) for shard in range(3)
        ]
        threading.Event().wait(0.3)
        end = tasks.submit(worker.teardown, None)
        threading.Event().wait(0.1)
        go.set()  # the forward pass that runs is not cut short
        end.result(SECONDS)
        for shard in shards:
            assert shard.exception(SECONDS) is not None
