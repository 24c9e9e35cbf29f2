"""The account of a job: rates, the bottleneck and the time left follow from the reports."""

import json
import time

import pytest

from finevq.cache.files.space import Space
from finevq.extract.job.tally import Tally
from finevq.extract.job.worker import ShardReport


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """Sets the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def made(clock) -> Tally:
    tally = Tally(total=20, present=3, space=Space(100, 200), processes=2)
    clock(50.0)  # the cluster took so long to start, which is no work
    tally.start(workers=2)
    return tally


def test_rates_and_time_left(clock) -> None:
    tally = made(clock)
    assert (tally.left_s, tally.bottleneck) == (None, None)
    clock(54.0)
    tally.add(ShardReport(0, 8, {"a": "is empty"}, 400, 7000, 6.0, 5.0, 1.0))
    assert (tally.videos_per_s, tally.frames_per_s, tally.left_s) == (2.0, 100.0, 6.0)
    assert (tally.extracted, tally.failed) == (7, {"a": "is empty"})
    tally.stop()
    clock(100.0)
    assert tally.videos_per_s == 2.0


def test_the_busiest_stage_is_the_bottleneck(clock) -> None:
    tally = made(clock)
    clock(60.0)
    tally.add(ShardReport(0, 8, {}, 400, 7000, 30.0, 10.0, 1.0))
    # Of ten seconds of two workers, with two decoding processes each.
    assert tally.shares == {"decode": 0.75, "forward": 0.5, "write": 0.05}
    assert tally.bottleneck == "decode"
    tally.add(ShardReport(1, 8, {}, 400, 7000, 2.0, 9.0, 1.0))
    assert tally.bottleneck == "forward"


def test_workers_that_join_later_count_from_then_on(clock) -> None:
    tally = made(clock)
    clock(60.0)
    tally.count_workers(6)
    clock(70.0)
    tally.add(ShardReport(0, 8, {}, 400, 7000, 0.0, 80.0, 1.0))
    assert tally.shares["forward"] == 1.0  # ten seconds of two, then of six
    tally.count_workers(0)  # all are lost, and others on their way
    tally.stop()
    clock(100.0)
    assert (tally.shares["forward"], tally.workers) == (1.0, 1)


def test_summary_is_json(clock) -> None:
    tally = made(clock)
    clock(54.0)
    tally.add(ShardReport(0, 8, {"a": "is empty"}, 400, 7000, 6.0, 5.0, 1.0))
    summary = json.loads(json.dumps(tally.to_json()))
    videos = {"extracted": 7, "failed": 1, "present": 3, "failed_before": 0, "left": 12}
    assert summary["videos"] == videos
    assert summary["failures"] == {"a": "is empty"}
    assert summary["bottleneck"] == "forward"
    assert summary["gigabytes"] == pytest.approx(7e-6)
