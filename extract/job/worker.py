"""What one worker does: decoding, the forward pass and writing, all at the same time.

A task is one shard. A worker runs several tasks at once: while one shard is written, the next is in
the forward pass, and the videos of the one after that are being decoded. Three rules bound this:

- One shard at a time hands its videos to the decoding processes, batch by batch. The next shard
  follows at once, so that the decoders do not wait between shards.
- A single thread does every forward pass, in the order in which batches were handed over. It alone
  uses torch.
- The number of videos that are being decoded or wait for the forward pass is limited.
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

TASKS_PER_WORKER = 3
"""Shards that a worker has at once: one being decoded, one in the forward pass, one written."""

UNLIMITED = 2**20
"""More videos than all tasks of a worker have."""

LEFT_MANIFEST = Failure("was taken out of the manifest before it was extracted")


@dataclass(frozen=True)
class ShardReport:
    """What became of one shard.

    Attributes:
        shard: its number.
        videos: number of its videos that were to be extracted.
        failed: video id -> reason, for those without features.
        frames: number of decoded frames, those that were not sampled included.
        bytes: of the stored features.
        decode_s: seconds of work of the decoding processes, added up.
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
class _EncodedBatch:
    """The results of one batch, in the order of its videos, and its part of the report."""

    results: Sequence[Features | Failure]
    frames: int
    decode_s: float
    forward_s: float


class Extractor(WorkerPlugin):
    """What a worker keeps from task to task: the backbones, the decoding processes, the store."""

    def __init__(self, store: FeatureStore, settings: ExtractSettings, root: Path) -> None:
        """Keep what a worker needs to know; `setup` starts the work, on the worker.

        Args:
            store: where the features go.
            settings: the backbones, sampling and decoding.
            root: the folder below which the videos are, on every worker.
        """
        self.store = store
        self.settings = settings
        self.root = root

    def setup(self, worker: Worker | None) -> None:
        """Load the backbones and start the decoding processes; called once on each worker.

        Raises:
            ConfigError: the worker does not have the device, or may not start processes.
        """
        if multiprocessing.current_process().daemon:
            raise ConfigError(
                f"extract.cluster.scheduler = {self.settings.cluster.scheduler!r}: its workers may "
                "not start decoding processes; start them with "
                "DASK_DISTRIBUTED__WORKER__DAEMON=False in their environment"
            )
        if worker is not None and threading.current_thread() is threading.main_thread():
            # Ctrl-C in a terminal reaches the workers too, but only the job is to end them.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        threads = self.settings.cluster.threads
        gpu = self._own_gpu(worker)

        def set_up_thread() -> None:  # both are settings of the calling thread
            torch.set_num_threads(threads)
            if gpu is not None:
                torch.cuda.set_device(gpu)

        self.forward_thread = ThreadPoolExecutor(1, "forward", set_up_thread)
        self.pool = DecodePool(None, self.settings.decode)
        started = self.pool.start()
        try:
            self.encoder = self.forward_thread.submit(Encoder, self.settings).result()
            wait(started)
        except BaseException:
            self.pool.__exit__(None, None, None)
            raise
        self.pool.sampling = self.encoder.sampling
        self.batch_size = self.encoder.videos_per_batch
        # Each process decodes a video; one batch is in the forward pass, and one waits for it.
        self.free_slots = threading.Semaphore(self.settings.decode.processes + 2 * self.batch_size)
        self.submit_lock = threading.Lock()

    def teardown(self, worker: Worker | None) -> None:
        """End the decoding processes, and let the threads of unfinished tasks end."""
        self.pool.__exit__(None, None, None)
        self.forward_thread.shutdown(cancel_futures=True)
        self.free_slots.release(UNLIMITED)  # tasks that wait for a slot go on, and fail at the pool

    def extract_shard(self, shard: int, paths: Mapping[str, str | None]) -> ShardReport:
        """Decode, encode, write and commit one shard.

        Args:
            shard: its number.
            paths: video id -> file, for the videos that are to be extracted: all videos of a shard
                without a commit. None for a video that is no longer in the manifest.

        Raises:
            DatasetError: this worker does not see the videos' root, because a disk is not mounted;
                then nothing is written, and no video has failed.
            DiskFull: there is no room for the features.
            StoreError: the store is damaged.
        """
        present = {video: path for video, path in paths.items() if path is not None}
        batches = self._encode_files(list(present.values()))
        results: dict[str, Features | Failure] = dict.fromkeys(paths, LEFT_MANIFEST)
        results |= zip(present, (r for batch in batches for r in batch.results), strict=True)
        failed_files = [f for video, f in present.items() if isinstance(results[video], Failure)]
        if not all(map(os.path.exists, failed_files)) and not _has_files(self.root):
            raise DatasetError(
                f"{socket.gethostname()}: the worker there finds nothing in {self.root} "
                "(dataset.root): mount it there, then run the same command again"
            )
        began = time.perf_counter()
        records = self.store.write_shard(shard, results)
        write_s = time.perf_counter() - began
        # Of the records, because features that are not finite in the store's dtype failed as well.
        failed = {
            record.video: record.reason or ""
            for record in records.values()
            if record.status == "failed" and record.video in paths
        }
        return ShardReport(
            shard=shard,
            videos=len(paths),
            failed=failed,
            frames=sum(batch.frames for batch in batches),
            bytes=(len(paths) - len(failed)) * self.store.layout.row_bytes,
            decode_s=sum(batch.decode_s for batch in batches),
            forward_s=sum(batch.forward_s for batch in batches),
            write_s=write_s,
        )

    def _encode_files(self, files: Sequence[str]) -> list[_EncodedBatch]:
        batches = [files[at : at + self.batch_size] for at in range(0, len(files), self.batch_size)]
        with self.submit_lock:
            futures = [self.forward_thread.submit(self._encode, self._decode(b)) for b in batches]
        return [future.result() for future in futures]

    def _decode(self, files: Sequence[str]) -> list[Future[Outcome]]:
        """Hand a batch to the decoding processes, each file as soon as a slot is free."""
        decoding = []
        for file in files:
            self.free_slots.acquire()
            decoding.append(self.pool.submit(file))
        return decoding

    def _encode(self, decoding: Sequence[Future[Outcome]]) -> _EncodedBatch:
        """Wait for the decoded videos of a batch and encode them; runs in the forward thread."""
        try:
            outcomes = [future.result() for future in decoding]
        finally:
            self.free_slots.release(len(decoding))
        videos = [outcome for outcome in outcomes if not isinstance(outcome, VideoError)]
        began = time.perf_counter()
        features = iter(self.encoder.encode_all(videos))
        return _EncodedBatch(
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
    """Whether a folder is there and not empty, as a mount point is without its disk."""
    return root.is_dir() and any(root.iterdir())
