"""Running stage one: a job extracts every shard of the store that has no commit yet.

Each shard is one Dask task, which decodes, encodes, writes and commits it (see `worker`). A job may
be killed at any moment: each shard is then committed or does not exist, and the next job does the
rest. A video that cannot be decoded is a recorded failure, never a failing task.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distributed import Client

from ...cache.care.readable import ReadableStore
from ...cache.files.space import Space
from ...cache.settings import CacheSettings
from ...cache.store import FeatureStore
from ...dataset.videos import Dataset
from ..device import check_device
from ..encode.encoder import encoder_on_cpu
from ..settings import ExtractSettings
from .cluster import connect, is_joined
from .dispatch import run_shards
from .tally import Tally, check_failures
from .worker import LEFT_MANIFEST, Extractor

Progress = Callable[[Tally], None]
"""Called with the plan before the work starts, and after every finished shard."""

PLUGIN_PREFIX = "finevq-"
"""The name of a job's plugin on the workers is this and the id of the job's client."""

log = logging.getLogger(__name__)


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
        progress: called with the plan before the work starts, and after every finished shard.

    Raises:
        DatasetError: none of the videos is there, or a worker does not see their root.
        IdentityMismatch: the store holds features made with other settings or weights.
        DiskFull: there is no room for the features; what is finished is kept.
        StoreError: the store is damaged.
        ConfigError: a model, device or scheduler is not there.
        WorkersLost: a shard's workers were lost again and again; all others are finished, unless
            several such shards came in a row.
        TooManyFailures: a larger share of the videos failed than `extract.max_failures`; what is
            finished is kept. A job that tries failed videos again does not count them.
    """
    if settings.cluster.scheduler == "local":
        check_device(settings)
    dataset.check_files()
    store = _planned_store(dataset, settings, cache)
    paths = {video.id: str(video.path.absolute()) for video in dataset}
    videos = videos_to_extract(store, paths, shards, retry_failed=retry_failed)
    tally = _new_tally(store, paths, videos, settings)
    progress(tally)
    if not videos:
        return tally
    extractor = Extractor(store, settings, dataset.root.absolute())
    with connect(settings) as client, _installed(client, extractor, settings) as plugin:
        workers = len(client.nthreads())
        if not workers:
            log.info("waiting for workers to join %s", settings.cluster.scheduler)
        tally.start(workers)
        for report in run_shards(client, videos, paths, settings, plugin):
            tally.add(report)
            tally.count_workers(len(client.nthreads()))
            progress(tally)
            if not retry_failed:
                check_failures(tally, settings.max_failures)
        tally.stop()
    return tally


def _planned_store(
    dataset: Dataset, settings: ExtractSettings, cache: CacheSettings
) -> FeatureStore:
    """The store, made if it is not there, with a row for each video of the dataset."""
    encoder = encoder_on_cpu(settings)
    store = FeatureStore.open_or_create(cache.path, encoder.identity, encoder.shapes, cache)
    store.plan(dataset.ids)
    return store


def _new_tally(
    store: FeatureStore,
    paths: Mapping[str, str],
    videos: Mapping[int, list[str]],
    settings: ExtractSettings,
) -> Tally:
    """The tally of a job that extracts `videos`, before it starts."""
    total = sum(map(len, videos.values()))
    missing = {video for in_shard in videos.values() for video in in_shard}
    missing.update(v for shard in store.pending() for v in store.shard_rows(shard).values())
    return Tally(
        total=total,
        present=sum(video not in missing for video in paths),
        space=Space(total * store.layout.row_bytes, store.space(range(0)).free),
        processes=settings.decode.processes,
    )


def videos_to_extract(
    store: FeatureStore, paths: Mapping[str, str], shards: range | None, *, retry_failed: bool
) -> dict[int, list[str]]:
    """Find the shards of a dataset that are to be extracted, and which of their videos.

    A store may serve several datasets, but no shard has videos of two.

    Args:
        store: with a plan.
        paths: video id -> file, of the dataset.
        shards: only these; None for all.
        retry_failed: take the failed videos of finished shards as well. Videos that only lack
            features because they were not in the manifest are taken in any case.

    Returns:
        Shard -> its videos that are to be extracted, sorted by shard.
    """
    videos = {}
    for shard in store.pending(shards):
        in_shard = list(store.shard_rows(shard).values())
        if any(video in paths for video in in_shard):
            videos[shard] = in_shard
    # Damaged commits are set aside: the job names them at its end.
    failures = ReadableStore(store.url, store.layout).failures()
    again = {
        video
        for video in failures.keys() & paths.keys()
        if retry_failed or failures[video] == LEFT_MANIFEST.reason
    }
    for shard in store.shards if again else ():
        failed_here = [video for video in store.shard_rows(shard).values() if video in again]
        if failed_here and (shards is None or shard in shards):
            videos[shard] = failed_here
    return dict(sorted(videos.items()))


@contextmanager
def _installed(client: Client, extractor: Extractor, settings: ExtractSettings) -> Iterator[str]:
    """Give the extractor to every worker while the job runs; yields its name there.

    The workers of a cluster that runs already keep their plugins. So this job's is removed at its
    end, and so are, at the start, those of jobs that were killed before they could do that.
    """
    name = PLUGIN_PREFIX + client.id
    if not is_joined(settings):
        client.register_plugin(extractor, name=name)
        yield name
        return
    for left_behind in client.run_on_scheduler(_plugins_left_behind):
        client.unregister_worker_plugin(left_behind)
    client.register_plugin(extractor, name=name)
    try:
        yield name
    finally:
        client.unregister_worker_plugin(name)


def _plugins_left_behind(dask_scheduler: Any) -> list[str]:
    """Names of the plugins on a scheduler whose job's client is gone."""
    plugins = (name for name in dask_scheduler.worker_plugins if name.startswith(PLUGIN_PREFIX))
    clients = dask_scheduler.clients
    return [name for name in plugins if name.removeprefix(PLUGIN_PREFIX) not in clients]
