"""Handing shards to a cluster's workers, a few at a time, and collecting what became of them."""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
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


SHARDS_NAMED = 10
"""How many lost shards an error names."""

log = logging.getLogger(__name__)


class WorkersLost(FineVQError):
    """The workers of a shard were lost again and again."""


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

    A worker that dies counts against all shards that it had, so those that were lost with their
    workers are tried once more when all others are done, each alone: that tells who is to blame.

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
        WorkersLost: the workers of shards were lost again and again. All others are finished,
            unless more shards than a cluster has at once were lost with none finished between.
        FineVQError: a task returned it.
    """

    def submit(shard: int) -> Any:
        files = {video: paths.get(video) for video in videos[shard]}
        # Not pure: a repaired shard must run again although its arguments are the same.
        return client.submit(task, shard, files, plugin, pure=False, retries=2)

    lost = yield from _run(videos, submit, lambda: _in_flight_limit(client, settings))
    if lost:
        log.warning("%d shards were lost with their workers: each is tried again, alone", len(lost))
    lost_again: list[int] = []
    for shard in lost:
        lost_again += yield from _run([shard], submit, lambda: 1)
    if lost_again:
        raise _workers_lost(lost_again, "all others are finished")


def _run(
    shards: Iterable[int], submit: Callable[[int], Any], limit: Callable[[], int]
) -> Generator[ShardReport, None, list[int]]:
    """Run shards with up to `limit` in flight; returns those that were lost with their workers.

    Raises:
        WorkersLost: more than `limit` were lost with none finished between.
        FineVQError: a task returned it.
    """
    shard_of: dict[Any, int] = {}  # by the key of the future, for all shards in flight
    waiting, running = iter(shards), as_completed()
    lost: list[int] = []
    most, counted_at, in_a_row = 0, -WORKER_COUNT_INTERVAL_S, 0
    while True:
        if time.monotonic() - counted_at >= WORKER_COUNT_INTERVAL_S:
            most, counted_at = limit(), time.monotonic()
        for shard in islice(waiting, max(0, most - len(shard_of))):
            future = submit(shard)
            shard_of[future.key] = shard
            running.add(future)
        if not shard_of:
            return lost
        future = next(running)
        shard = shard_of.pop(future.key)
        try:
            report = _report_of(future)
        except KilledWorker:
            lost.append(shard)
            in_a_row += 1
            if in_a_row > most:
                raise _workers_lost(lost, "the job gave up") from None
            continue
        finally:
            future.release()
        in_a_row = 0
        yield report


def _workers_lost(shards: Sequence[int], rest: str) -> WorkersLost:
    named = ", ".join(map(str, sorted(shards)[:SHARDS_NAMED]))
    more = f" and {len(shards) - SHARDS_NAMED} more" if len(shards) > SHARDS_NAMED else ""
    return WorkersLost(
        f"shard{'s' if shards[1:] else ''} {named}{more}: the workers were lost again and again "
        f"({rest}), which says nothing about the videos: find the reason in the workers' logs, "
        "such as too little memory, then run the same command again"
    )


def _in_flight_limit(client: Client, settings: ExtractSettings) -> int:
    """How many shards to have in flight: one for each thread of the workers, and one more each."""
    threads: list[int] = list(client.nthreads().values())
    # An adaptive cluster starts more workers only while tasks wait for them: count those as well.
    coming = 0 if is_joined(settings) else settings.cluster.workers
    return max(1, sum(threads) + len(threads), coming * (TASKS_PER_WORKER + 1))


def _report_of(future: Any) -> ShardReport:
    """What a task returned; raises KilledWorker, or the error that it returned."""
    result = future.result()
    if isinstance(result, FineVQError):
        raise result
    assert isinstance(result, ShardReport)
    return result
