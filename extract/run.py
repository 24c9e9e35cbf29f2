"""Running stage one: every pending shard of the store is one Dask task.

A task decodes, encodes, writes and commits one shard (see `worker`). Killed at any moment it leaves
a committed shard or none, and the next run does what is left. A video that cannot be decoded is a
recorded failure, never a failing task.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from distributed import Client, as_completed, get_worker
from distributed.scheduler import KilledWorker

from ..cache.settings import CacheSettings
from ..cache.space import Space
from ..cache.store import FeatureStore
from ..dataset.videos import Dataset
from ..errors import FineVQError
from .cluster import connect
from .encoder import check_device, identify
from .settings import ExtractSettings
from .tally import Tally
from .worker import TASKS, Extractor, ShardReport

Progress = Callable[[Tally], None]
"""Told of the plan before the work starts, and of every finished shard."""

Paths = Mapping[str, str | None]
"""Video id to file, for the planned videos of a shard; None for one that left the manifest."""

PLUGIN = "finevq-extractor"

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
        retry_failed: also redo the shards that hold failed videos; their other videos keep their
            features, which come out the same.
        progress: told of the plan and of every finished shard.

    Raises:
        IdentityMismatch: the store holds features made with other settings or weights.
        DiskFull: there is no room for the features; what is finished is kept.
        StoreError: the store is damaged.
        ConfigError: a model, device or scheduler that is not there.
        WorkersLost: a shard's workers were lost again and again.
    """
    if settings.cluster.scheduler == "local":
        check_device(settings)
    encoder = identify(settings)
    store = FeatureStore.open_or_create(cache.path, encoder.identity, encoder.shapes, cache)
    del encoder  # the workers have their own
    store.plan(dataset.ids)
    paths = {video.id: str(video.path.absolute()) for video in dataset}
    todo = _shards_to_do(store, paths, shards, retry_failed=retry_failed)
    total = _videos(store, todo)
    others = set(_of_dataset(store, paths, store.pending())).difference(todo)
    tally = Tally(
        total=total,
        present=len(dataset) - total - _videos(store, others),
        space=Space(total * store.layout.row_bytes, store.space(range(0)).free),
        processes=settings.decode.processes,
    )
    progress(tally)
    if todo:
        with connect(settings) as client:
            client.register_plugin(Extractor(store, settings), name=PLUGIN)
            workers = len(client.nthreads())
            if not workers:
                log.info("waiting for workers to join %s", settings.cluster.scheduler)
            tally.start(workers)
            for report in run_shards(client, todo, store, paths, settings):
                tally.add(report)
                progress(tally)
            tally.stop()
    return tally


def _shards_to_do(
    store: FeatureStore, paths: Mapping[str, str], among: range | None, *, retry_failed: bool
) -> list[int]:
    todo = set(store.pending(among))
    if retry_failed:
        failed = store.failures().keys()
        todo |= {
            shard
            for shard in store.shards
            if (among is None or shard in among)
            and not failed.isdisjoint(store.shard_rows(shard).values())
        }
    return _of_dataset(store, paths, sorted(todo))


def _of_dataset(store: FeatureStore, paths: Mapping[str, str], shards: Iterable[int]) -> list[int]:
    """Those of a dataset: a store may serve several, but no shard has videos of two."""
    return [s for s in shards if not paths.keys().isdisjoint(store.shard_rows(s).values())]


def _videos(store: FeatureStore, shards: Iterable[int]) -> int:
    return sum(len(store.shard_rows(shard)) for shard in shards)


def extract_shard(shard: int, paths: Paths) -> ShardReport | FineVQError:
    """The task; an error that a second attempt cannot mend is returned, not raised."""
    extractor = get_worker().plugins[PLUGIN]
    assert isinstance(extractor, Extractor)
    try:
        return extractor.extract_shard(shard, paths)
    except FineVQError as error:
        return error


def run_shards(
    client: Client,
    shards: Iterable[int],
    store: FeatureStore,
    paths: Mapping[str, str],
    settings: ExtractSettings,
    task: Callable[[int, Paths], ShardReport | FineVQError] = extract_shard,
) -> Iterator[ShardReport]:
    """Run the shards with a few in flight, so that a million videos make no million-node graph.

    Args:
        client: of the cluster.
        shards: their numbers, in the order in which they are started.
        store: knows the videos of a shard.
        paths: video id to file.
        settings: of the cluster.
        task: what is run for a shard.
    """
    numbers: dict[Any, int] = {}  # by the key of the future
    waiting = iter(shards)

    def submit(shard: int) -> Any:
        files = {video: paths.get(video) for video in store.shard_rows(shard).values()}
        # Not pure: a repaired shard must run again although its arguments are the same.
        future = client.submit(task, shard, files, pure=False, retries=2)
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
    ours = 0 if "://" in settings.cluster.scheduler else settings.cluster.workers
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
