"""Handing shards to a cluster's workers, a few at a time, and collecting what became of them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from distributed import Client, as_completed, get_worker
from distributed.scheduler import KilledWorker

from ...errors import FineVQError, StoreUnavailable
from ..settings import ExtractSettings
from .cluster import is_joined
from .worker import TASKS_PER_WORKER, Extractor, ShardReport

Paths = Mapping[str, str | None]
"""Video id -> file, for the videos of a shard that are to be extracted; None for a video that is no
longer in the manifest."""

WORKER_COUNT_INTERVAL_S = 5.0
"""Seconds after which a job counts the workers again, as they may come and go."""


class WorkersLost(FineVQError):
    """The workers of one shard were lost again and again."""


def extract_shard(shard: int, paths: Paths, plugin: str) -> ShardReport | FineVQError:
    """The Dask task of one shard.

    Returns:
        The report. An error that a second attempt cannot mend is returned too, because Dask tries
        a task again that raises.
    """
    extractor = get_worker().plugins[plugin]
    assert isinstance(extractor, Extractor)
    try:
        return extractor.extract_shard(shard, paths)
    except StoreUnavailable:
        raise  # the store may be there again in a moment
    except FineVQError as error:
        return error


def run_shards(
    client: Client,
    videos: Mapping[int, Sequence[str]],
    paths: Mapping[str, str],
    settings: ExtractSettings,
    plugin: str,
    task: Callable[[int, Paths, str], ShardReport | FineVQError] = extract_shard,
) -> Iterator[ShardReport]:
    """Run the shards with a few in flight, so that a million videos make no million-node graph.

    Args:
        client: of the cluster.
        videos: shard -> its videos that are to be extracted, in the order in which shards start.
        paths: video id -> file.
        settings: of the cluster.
        plugin: the name under which the workers have the extractor.
        task: what is run for a shard.

    Yields:
        The report of each shard, in the order in which they finish.

    Raises:
        WorkersLost: a shard's workers were lost again and again.
        FineVQError: a task returned it.
    """
    shard_of: dict[Any, int] = {}  # by the key of the future, for all shards in flight
    waiting = iter(videos)

    def submit(shard: int) -> Any:
        files = {video: paths.get(video) for video in videos[shard]}
        # Not pure: a repaired shard must run again although its arguments are the same.
        future = client.submit(task, shard, files, plugin, pure=False, retries=2)
        shard_of[future.key] = shard
        return future

    limit, counted_at = 0, -WORKER_COUNT_INTERVAL_S
    running = as_completed()
    while True:
        if time.monotonic() - counted_at >= WORKER_COUNT_INTERVAL_S:
            limit, counted_at = _in_flight_limit(client, settings), time.monotonic()
        for shard in islice(waiting, max(0, limit - len(shard_of))):
            running.add(submit(shard))
        if not shard_of:
            return
        future = next(running)
        yield _report_of(future, shard_of.pop(future.key))
        future.release()


def _in_flight_limit(client: Client, settings: ExtractSettings) -> int:
    """How many shards to have in flight: one for each thread of the workers, and one more each."""
    threads: list[int] = list(client.nthreads().values())
    # An adaptive cluster starts more workers only while tasks wait for them: count those as well.
    coming = 0 if is_joined(settings) else settings.cluster.workers
    return max(1, sum(threads) + len(threads), coming * (TASKS_PER_WORKER + 1))


def _report_of(future: Any, shard: int) -> ShardReport:
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
