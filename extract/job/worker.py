"""What one worker does: decoding, the forward pass and writing, each while the others go on.

A task is one shard, and a worker has several of them at once, so that while one is written the next
is in the forward pass and the videos of the one after that are being decoded. Three rules keep this
in order and in bounds:

- One shard at a time hands its videos to the decoding processes, batch by batch; the next one
  follows at once, so that the decoders do not wait at the border of a shard.
- A single thread does every forward pass, first come, first served. It alone uses torch.
- A fixed number of videos is decoded or waits for the forward pass.
"""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import torch
from distributed import Worker, WorkerPlugin

from ...cache.records import Failure, Features
from ...cache.store import FeatureStore
from ...errors import ConfigError, DatasetError, VideoError
from ..decode.pool import DecodePool, Outcome
from ..encode.encoder import Encoder
from ..settings import ExtractSettings

TASKS = 3
"""Shards that a worker has at once: one being decoded, one in the forward pass, one written."""

ENOUGH = 2**20
"""Videos, of all tasks of a worker."""

GONE = Failure("was taken out of the manifest before it was extracted")


@dataclass(frozen=True)
class ShardReport:
    """What became of one shard.

    Attributes:
        shard: its number.
        videos: how many of it were to be extracted.
        failed: those without features, and why.
        frames: decoded for it, those that were only passed over included.
        bytes: of the stored features.
        decode_s: seconds that decoding processes were busy with it, added up.
        forward_s: seconds that the forward pass took.
        write_s: seconds that writing and committing took.
    """

    shard: int
    videos: int
    failed: Mapping[str, str]
    frames: int
    bytes: int
    decode_s: float
    forward_s: float
    write_s: float


@dataclass(frozen=True)
class _Encoded:
    """The results of one batch, in its order, and its part of a report; the pixels are gone."""

    results: Sequence[Features | Failure]
    frames: int
    decode_s: float
    forward_s: float


class Extractor(WorkerPlugin):
    """What a worker keeps from task to task: the backbones, the decoding processes, the store."""

    def __init__(self, store: FeatureStore, settings: ExtractSettings, root: Path) -> None:
        """Say what is to be extracted how; the work begins with `setup`, on the worker.

        Args:
            store: where the features go.
            settings: the backbones, sampling and decoding.
            root: the folder below which the videos are, on every worker.
        """
        self.store = store
        self.settings = settings
        self.root = root

    def setup(self, worker: Worker | None) -> None:
        """Load the backbones; called once on each worker.

        Raises:
            ConfigError: the worker has no such device, or may not start processes.
        """
        if multiprocessing.current_process().daemon:
            raise ConfigError(
                "extract.cluster.scheduler: a worker there may not start decoding processes: start "
                "the workers with DASK_DISTRIBUTED__WORKER__DAEMON=False in their environment"
            )
        if worker is not None and threading.current_thread() is threading.main_thread():
            # Ctrl-C reaches the workers of a terminal too; ending them is left to the job.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        threads = self.settings.cluster.threads
        gpu = self._own_gpu(worker)

        def prepare() -> None:  # both are settings of a thread
            torch.set_num_threads(threads)
            if gpu is not None:
                torch.cuda.set_device(gpu)

        self.forward = ThreadPoolExecutor(1, "forward", prepare)
        self.pool = DecodePool(None, self.settings.decode)
        started = self.pool.start()
        try:
            self.encoder = self.forward.submit(Encoder, self.settings).result()
            wait(started)
        except BaseException:
            self.pool.__exit__(None, None, None)
            raise
        self.pool.sampling = self.encoder.sampling
        self.batch = self.encoder.videos_per_batch
        # One batch waits decoded while another is encoded and the processes work on a third.
        self.room = threading.Semaphore(self.settings.decode.processes + 2 * self.batch)
        self.submitting = threading.Lock()

    def teardown(self, worker: Worker | None) -> None:
        """End the decoding processes, and free the threads of tasks that nobody waits for now."""
        self.pool.__exit__(None, None, None)
        self.forward.shutdown(cancel_futures=True)
        self.room.release(ENOUGH)  # those that go on find the pool ended

    def extract_shard(self, shard: int, paths: Mapping[str, str | None]) -> ShardReport:
        """Decode, encode, write and commit one shard.

        Args:
            shard: its number.
            paths: video id to file, for the videos that are to be extracted, all of a shard without
                a commit; None for one that was planned but is no longer in the manifest.

        Raises:
            DatasetError: this worker does not see the videos' root, as of a disk that is not
                mounted; nothing is written, and no video is blamed.
            DiskFull: there is no room for the features.
            StoreError: the store is damaged.
        """
        present = {video: path for video, path in paths.items() if path is not None}
        encoded = self._encode_files(list(present.values()))
        results: dict[str, Features | Failure] = dict.fromkeys(paths, GONE)
        results |= zip(present, (r for batch in encoded for r in batch.results), strict=True)
        unread = [file for video, file in present.items() if isinstance(results[video], Failure)]
        if not all(map(os.path.exists, unread)) and not _has_files(self.root):
            raise DatasetError(
                f"{socket.gethostname()}: the worker there finds nothing in {self.root} "
                "(dataset.root): mount it there, then run the same command again"
            )
        began = time.perf_counter()
        self.store.write_shard(shard, results)
        write_s = time.perf_counter() - began
        # Read back: features that are not finite in the store's dtype have failed as well.
        records = [r for r in self.store.shard_records(shard).values() if r.video in paths]
        failed = {r.video: r.reason or "" for r in records if r.status == "failed"}
        return ShardReport(
            shard=shard,
            videos=len(paths),
            failed=failed,
            frames=sum(batch.frames for batch in encoded),
            bytes=(len(paths) - len(failed)) * self.store.layout.row_bytes,
            decode_s=sum(batch.decode_s for batch in encoded),
            forward_s=sum(batch.forward_s for batch in encoded),
            write_s=write_s,
        )

    def _encode_files(self, files: Sequence[str]) -> list[_Encoded]:
        batches = [files[at : at + self.batch] for at in range(0, len(files), self.batch)]
        with self.submitting:
            encoding = [self.forward.submit(self._encode, self._decode(b)) for b in batches]
        return [future.result() for future in encoding]

    def _decode(self, files: Sequence[str]) -> list[Future[Outcome]]:
        """Hand a batch to the decoding processes, each file as soon as there is room for it."""
        decoding = []
        for file in files:
            self.room.acquire()
            decoding.append(self.pool.submit(file))
        return decoding

    def _encode(self, decoding: Sequence[Future[Outcome]]) -> _Encoded:
        """Wait for the decoded videos of a batch and encode them, in the forward thread."""
        try:
            outcomes = [future.result() for future in decoding]
        finally:
            self.room.release(len(decoding))
        videos = [outcome for outcome in outcomes if not isinstance(outcome, VideoError)]
        began = time.perf_counter()
        features = iter(self.encoder.encode_all(videos))
        return _Encoded(
            results=[
                Failure(str(outcome)) if isinstance(outcome, VideoError) else next(features)
                for outcome in outcomes
            ],
            frames=sum(video.frame_count for video in videos),
            decode_s=sum(outcome.decoding_s for outcome in outcomes),
            forward_s=time.perf_counter() - began,
        )

    def _own_gpu(self, worker: Worker | None) -> int | None:
        """The GPU of a local cluster's worker; the other clusters show a worker only its own."""
        gpus = torch.cuda.device_count()
        if worker is None or self.settings.cluster.scheduler != "local" or gpus < 2:
            return None
        return int(worker.name) % gpus


def _has_files(root: Path) -> bool:
    """False for a folder that is not there, and for the empty one of a disk that is not mounted."""
    return root.is_dir() and any(root.iterdir())
