"""Running stage one: every pending shard of the store is one Dask task.

A task decodes, encodes, writes and commits one shard (see `worker`). Killed at any moment it leaves
a committed shard or none, and the next run does what is left. A video that cannot be decoded is a
recorded failure, never a failing task.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from distributed import Client, as_completed, get_worker
from distributed.scheduler import KilledWorker

from ...cache.files.space import Space
from ...cache.settings import CacheSettings
from ...cache.store import FeatureStore
from ...dataset.videos import Dataset
from ...errors import FineVQError, StoreUnavailable
from ..device import check_device
from ..encode.encoder import encoder_on_cpu
from ..settings import ExtractSettings
from .cluster import connect, joined
from .tally import Tally
from .worker import TASKS, Extractor, ShardReport

Progress = Callable[[Tally], None]
"""Told of the plan before the work starts, and of every finished shard."""

Paths = Mapping[str, str | None]
"""Video id to file, for the videos of a shard that are to be extracted; None for one that left the
manifest."""

PLUGIN = "finevq-"
"""What the names of the workers' plugins begin with; the rest is the client's, one a job."""

log = logging.getLogger(__name__)

WORKERS_COUNTED_S = 5.0
"""How often a job looks how many workers there are."""


class WorkersLost(FineVQError):
    """A shard's workers were lost again and again."""


def extract(
    dataset: Dataset,
    settings: ExtractSettings,
    cache: CacheSettings,
    *,
    shards: range | None = None,
    retry_failed: bool = False,
    progress: Progress = lambda tally: None,
) -> Tally:
    """Store the features of all videos of a dataset that the store does not have yet.

    Args:
        dataset: the videos; new ones extend a store that exists.
        settings: backbones, sampling, decoding and the cluster.
        cache: where the store is and how it is laid out.
        shards: only these; several jobs may share a store.
        retry_failed: also try failed videos again; the others of their shards keep their features.
        progress: told of the plan and of every finished shard.

    Raises:
        DatasetError: none of the videos is there, or a worker does not see their root.
        IdentityMismatch: the store holds features made with other settings or weights.
        DiskFull: there is no room for the features; what is finished is kept.
        StoreError: the store is damaged.
        ConfigError: a model, device or scheduler that is not there.
        WorkersLost: a shard's workers were lost again and again.
    """
    if settings.cluster.scheduler == "local":
        check_device(settings)
    dataset.check_files()
    encoder = encoder_on_cpu(settings)
    store = FeatureStore.open_or_create(cache.path, encoder.identity, encoder.shapes, cache)
    del encoder  # the workers have their own
    store.plan(dataset.ids)
    paths = {video.id: str(video.path.absolute()) for video in dataset}
    todo = to_do(store, paths, shards, retry_failed=retry_failed)
    total = sum(map(len, todo.values()))
    undone = {video for videos in todo.values() for video in videos}
    undone.update(v for shard in store.pending() for v in store.shard_rows(shard).values())
    tally = Tally(
        total=total,
        present=sum(video not in undone for video in paths),
        space=Space(total * store.layout.row_bytes, store.space(range(0)).free),
        processes=settings.decode.processes,
    )
    progress(tally)
    if todo:
        extractor = Extractor(store, settings, dataset.root.absolute())
        with connect(settings) as client, _installed(client, extractor, settings) as plugin:
            workers = len(client.nthreads())
            if not workers:
                log.info("waiting for workers to join %s", settings.cluster.scheduler)
            tally.start(workers)
            for report in run_shards(client, todo, paths, settings, plugin):
                tally.add(report)
                tally.count_workers(len(client.nthreads()))
                progress(tally)
            tally.stop()
    return tally


@contextmanager
def _installed(client: Client, extractor: Extractor, settings: ExtractSettings) -> Iterator[str]:
    """Give every worker the extractor of this job, under a name of its own, while it runs.

    The workers of a cluster that others use too keep what they are given. So it is taken back at
    the end, and those of jobs whose client is gone, which had no time for that, are as well.
    """
    name = PLUGIN + client.id
    if not joined(settings):
        client.register_plugin(extractor, name=name)
        yield name
        return
    for orphan in client.run_on_scheduler(_orphans):
        client.unregister_worker_plugin(orphan)
    client.register_plugin(extractor, name=name)
    try:
        yield name
    finally:
        client.unregister_worker_plugin(name)


def _orphans(dask_scheduler: Any) -> list[str]:
    """Names of the plugins on a scheduler whose jobs are gone."""
    plugins = (name for name in dask_scheduler.worker_plugins if name.startswith(PLUGIN))
    return [name for name in plugins if name.removeprefix(PLUGIN) not in dask_scheduler.clients]


def to_do(
    store: FeatureStore, paths: Mapping[str, str], among: range | None, *, retry_failed: bool
) -> dict[int, list[str]]:
    """Shard -> the videos of it that are to be extracted, of this dataset's shards alone.

    A store may serve several datasets, but no shard has videos of two.
    """
    todo = {}
    for shard in store.pending(among):
        videos = list(store.shard_rows(shard).values())
        if any(video in paths for video in videos):
            todo[shard] = videos
    if retry_failed:
        failed = store.failures().keys() & paths.keys()
        for shard in store.shards:
            videos = [video for video in store.shard_rows(shard).values() if video in failed]
            if videos and (among is None or shard in among):
                todo[shard] = videos
    return dict(sorted(todo.items()))


def extract_shard(shard: int, paths: Paths, plugin: str) -> ShardReport | FineVQError:
    """The task; an error that a second attempt cannot mend is returned, not raised."""
    extractor = get_worker().plugins[plugin]
    assert isinstance(extractor, Extractor)
    try:
        return extractor.extract_shard(shard, paths)
    except StoreUnavailable:
        raise  # it may be there again in a moment
    except FineVQError as error:
        return error


def run_shards(
    client: Client,
    todo: Mapping[int, Sequence[str]],
    paths: Mapping[str, str],
    settings: ExtractSettings,
    plugin: str,
    task: Callable[[int, Paths, str], ShardReport | FineVQError] = extract_shard,
) -> Iterator[ShardReport]:
    """Run the shards with a few in flight, so that a million videos make no million-node graph.

    Args:
        client: of the cluster.
        todo: shard -> its videos that are to be extracted, in the order in which they are started.
        paths: video id to file.
        settings: of the cluster.
        plugin: the name under which the workers have the extractor.
        task: what is run for a shard.
    """
    numbers: dict[Any, int] = {}  # by the key of the future
    waiting = iter(todo)

    def submit(shard: int) -> Any:
        files = {video: paths.get(video) for video in todo[shard]}
        # Not pure: a repaired shard must run again although its arguments are the same.
        future = client.submit(task, shard, files, plugin, pure=False, retries=2)
        numbers[future.key] = shard
        return future

    window, counted = 0, -WORKERS_COUNTED_S
    running = as_completed()
    while True:
        if time.monotonic() - counted >= WORKERS_COUNTED_S:
            window, counted = _window(client, settings), time.monotonic()
        for shard in islice(waiting, max(0, window - len(numbers))):
            running.add(submit(shard))
        if not numbers:
            return
        future = next(running)
        yield _report(future, numbers.pop(future.key))
        future.release()


def _window(client: Client, settings: ExtractSettings) -> int:
    """Shards in flight: those that the workers run, and one more for each that waits there."""
    nthreads: list[int] = list(client.nthreads().values())
    # Workers that are still to come, which an adaptive cluster starts only when work waits.
    ours = 0 if joined(settings) else settings.cluster.workers
    return max(1, sum(nthreads) + len(nthreads), ours * (TASKS + 1))


def _report(future: Any, shard: int) -> ShardReport:
    try:
        result = future.result()
    except KilledWorker as error:
        raise WorkersLost(
            f"shard {shard}: its worker was lost {error.allowed_failures + 1} times, which says "
            "nothing about its videos: find the reason in the workers' logs, such as too little "
            "memory, then run the same command again"
        ) from None
    if isinstance(result, FineVQError):
        raise result
    assert isinstance(result, ShardReport)
    return result
