"""Running stage one: every pending shard of the store is one Dask task.

A task decodes the videos of one shard in child processes, encodes each while the next ones are
decoded, writes the shard and commits it. Killed at any moment it leaves a committed shard or none,
and the next run does what is left. A video that cannot be decoded is a recorded failure, never a
failing task.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import dask
import torch
from distributed import Client, LocalCluster, Worker, WorkerPlugin, as_completed, get_worker

from ..cache.records import Failure, Features
from ..cache.settings import CacheSettings
from ..cache.store import FeatureStore
from ..dataset.videos import Dataset
from ..errors import ConfigError, VideoError
from .decode_pool import DecodePool
from .encoder import Encoder
from .settings import ClusterSettings, ExtractSettings

Progress = Callable[[int, int], None]
"""Called with the number of finished videos and their total."""

PLUGIN = "finevq-extractor"


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        extracted: videos whose features this run stored.
        failed: videos that this run could not decode, and why.
        present: videos that were in the store before, failures included.
    """

    extracted: int
    failed: Mapping[str, str]
    present: int


def extract(
    dataset: Dataset,
    settings: ExtractSettings,
    cache: CacheSettings,
    progress: Progress = lambda done, total: None,
) -> Summary:
    """Store the features of all videos of a dataset that the store does not have yet.

    Args:
        dataset: the videos; new ones extend a store that exists.
        settings: backbones, sampling, decoding and the cluster.
        cache: where the store is and how it is laid out.
        progress: told of every finished shard.

    Raises:
        IdentityMismatch: the store holds features made with other settings or weights.
        StoreError: the store is damaged.
        ConfigError: a model, device or scheduler that is not there.
    """
    encoder = Encoder(settings)
    store = FeatureStore.open_or_create(cache.path, encoder.identity, encoder.shapes, cache)
    del encoder  # the workers have their own
    store.plan(dataset.ids)
    paths = {video.id: str(video.path.absolute()) for video in dataset}
    tasks = {shard: list(store.shard_rows(shard).values()) for shard in store.pending()}
    # A store may serve several datasets; no shard has videos of two, so others' are left alone.
    tasks = {
        shard: videos for shard, videos in tasks.items() if not paths.keys().isdisjoint(videos)
    }
    total = sum(len(videos) for videos in tasks.values())
    failed: dict[str, str] = {}
    done = 0
    if tasks:
        progress(0, total)
        with _cluster(settings.cluster) as client:
            client.register_plugin(Extractor(store, settings), name=PLUGIN)
            for shard, failures in _run(client, tasks, paths):
                failed |= failures
                done += len(tasks[shard])
                progress(done, total)
    return Summary(extracted=total - len(failed), failed=failed, present=len(dataset) - total)


class Extractor(WorkerPlugin):
    """What a worker keeps from task to task: the backbones, the decoding processes, the store."""

    def __init__(self, store: FeatureStore, settings: ExtractSettings) -> None:
        self.store = store
        self.settings = settings

    def setup(self, worker: Worker) -> None:
        """Load the backbones; called once on each worker."""
        torch.set_num_threads(self.settings.cluster.threads)
        self.encoder = Encoder(self.settings)
        self.pool = DecodePool(self.encoder.sampling, self.settings.decode)

    def teardown(self, worker: Worker) -> None:
        """End the decoding processes."""
        self.pool.__exit__(None, None, None)

    def extract_shard(self, shard: int, paths: Mapping[str, str | None]) -> dict[str, str]:
        """Decode, encode, write and commit one shard.

        Args:
            shard: its number.
            paths: video id to file, for all planned videos of the shard; None for one that was
                planned but is no longer in the manifest.

        Returns:
            The videos that failed, and why.
        """
        gone = Failure("was taken out of the manifest before it was extracted")
        results: dict[str, Features | Failure] = dict.fromkeys(paths, gone)
        present = {video: path for video, path in paths.items() if path is not None}
        outcomes = self.pool.decode_all(present.values())
        for video, outcome in zip(present, outcomes, strict=True):
            if isinstance(outcome, VideoError):
                results[video] = Failure(str(outcome))
            else:
                results[video] = self.encoder.encode(outcome)
        self.store.write_shard(shard, results)
        records = self.store.shard_records(shard).values()
        return {r.video: r.reason or "" for r in records if r.status == "failed"}


def _extract_shard(shard: int, paths: Mapping[str, str | None]) -> tuple[int, dict[str, str]]:
    extractor = get_worker().plugins[PLUGIN]
    assert isinstance(extractor, Extractor)
    return shard, extractor.extract_shard(shard, paths)


def _run(
    client: Client, tasks: Mapping[int, list[str]], paths: Mapping[str, str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Run the tasks with a few in flight, so that a million videos make no million-node graph."""

    def submit(shard: int) -> Any:
        # Not pure: a repaired shard must run again although its arguments are the same.
        videos = {video: paths.get(video) for video in tasks[shard]}
        return client.submit(_extract_shard, shard, videos, pure=False, retries=2)

    waiting = iter(tasks)
    window = 2 * max(1, len(client.scheduler_info()["workers"]))
    running = as_completed([submit(shard) for shard in islice(waiting, window)])
    for future in running:
        yield future.result()
        future.release()
        for shard in islice(waiting, 1):
            running.add(submit(shard))


@contextmanager
def _cluster(settings: ClusterSettings) -> Iterator[Client]:
    """A client of the cluster: one started here, or one that runs already."""
    if settings.scheduler != "local":
        try:
            with Client(settings.scheduler, timeout="30s") as client:
                yield client
        except OSError as error:
            raise ConfigError(
                f"extract.cluster.scheduler = {settings.scheduler!r}: no scheduler answers there; "
                'start it, or set "local"'
            ) from error
        return
    logging.getLogger("distributed").setLevel(logging.WARNING)
    # A daemonic process may not have children, and every worker has decoding processes.
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        LocalCluster(
            n_workers=settings.workers,
            threads_per_worker=1,  # one shard at a time; the backbones bring their own threads
            memory_limit=0,  # features and frames are bounded; killing at a guess would lose work
            # Its HTTP server cannot be left out; on a fixed port two runs would get in each
            # other's way.
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
