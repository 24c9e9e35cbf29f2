"""The account of a job: rates, the bottleneck and the time left follow from the reports."""

import json
import time

import pytest

from finevq.cache.files.space import Space
from finevq.extract.job.tally import Tally, TooManyFailures, check_failures, most_frequent
from finevq.extract.job.worker import LEFT_MANIFEST, ShardReport


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


def failing(videos: int, reasons: list[str]) -> Tally:
    """Of a job of so many finished videos, some of which failed."""
    tally = Tally(total=1000, present=0, space=Space(100, 200), processes=1)
    failed = {f"{number}.mp4": reason for number, reason in enumerate(reasons)}
    tally.add(ShardReport(0, videos, failed, 0, 0, 0.0, 0.0, 0.0))
    return tally


@pytest.mark.parametrize(
    ("videos", "failed", "stops"),
    [(100, 5, False), (100, 6, True), (99, 99, False), (400, 20, False), (400, 21, True)],
)
def test_a_larger_share_of_failures_stops_the_job(videos: int, failed: int, stops: bool) -> None:
    tally = failing(videos, ["is empty"] * failed)
    if not stops:
        check_failures(tally, 0.05)
        return
    with pytest.raises(TooManyFailures, match=rf"{failed} of {videos} .* = 0.05 .* x 'is empty'"):
        check_failures(tally, 0.05)


def test_no_failures_are_too_many_for_a_limit_of_1() -> None:
    check_failures(failing(200, ["is empty"] * 200), 1.0)


def test_videos_that_left_the_manifest_are_no_failures() -> None:
    check_failures(failing(200, [LEFT_MANIFEST.reason] * 150), 0.05)


def test_the_most_frequent_reasons_come_first_and_numbers_do_not_tell_them_apart() -> None:
    reasons = ["is empty", "took longer than 60 s", "is damaged: 3 of 9 frames", "no file"]
    reasons += ["is damaged: 5 of 7 frames", "no file", "is damaged: 1 of 2 frames"]
    assert most_frequent(reasons) == (
        "3 x 'is damaged: 3 of 9 frames', 2 x 'no file', 1 x 'is empty' and 1 more"
    )
