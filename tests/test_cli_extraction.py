"""What the commands around extraction say; extraction itself is replaced."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finevq.cache.files.space import DiskFull, Space
from finevq.cache.identity import Identity
from finevq.cache.records import Failure
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.cli import main as cli
from finevq.extract.job import live, run
from finevq.extract.job.live import Deviation
from finevq.extract.job.tally import Tally
from finevq.extract.job.worker import ShardReport


@pytest.fixture(autouse=True)
def _dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("made").mkdir()
    Path("made", "videos.csv").write_text("video\na.mp4\nb.mp4\n")
    Path("made", "a.mp4").touch()


DATASET = ["--set", "dataset.folder=made", "--set", "dataset.name=made"]


@pytest.fixture
def store() -> FeatureStore:
    """The store of the default configuration, where a.mp4 failed once."""
    path = "runs/demo/features"
    settings = CacheSettings(path=path, stage="", rows_per_shard=2, dtype="float16")
    shapes = {"spatial": (1, 2, 3), "motion": (1, 4)}
    made = FeatureStore.create(path, Identity({"spatial": 1}), shapes, settings)
    made.plan(["made/a.mp4", "other/c.mp4"])
    made.write_shard(0, {"made/a.mp4": Failure("no frames"), "other/c.mp4": Failure("no frames")})
    return made


@pytest.fixture
def arguments(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that extraction was called with.

    In its place ten shards of two videos are reported, of which one video fails. After the fifth
    shard the error `ends` is raised, if a test has put one there.
    """
    arguments: dict[str, Any] = {}

    def extract(
        dataset: Any, settings: Any, cache: Any, *, progress: Callable[[Tally], None], **given: Any
    ) -> Tally:
        arguments.update(given)
        tally = Tally(total=20, present=3, space=Space(10**9, 5 * 10**8), processes=1)
        progress(tally)
        tally.start(1)
        for shard in range(10):
            failed = {"made/b.mp4": "is empty (0 bytes)"} if shard == 4 else {}
            tally.add(ShardReport(shard, 2, failed, 90, 10**8, 1.0, 3.0, 0.1))
            progress(tally)
            if shard == 4 and "ends" in arguments:
                raise arguments["ends"]
        tally.stop()
        return tally

    monkeypatch.setattr(run, "extract", extract)
    return arguments


def test_plan_and_progress_are_lines_without_a_terminal(arguments, capsys) -> None:
    assert cli.main(["extract", *DATASET]) == 0
    out, err = capsys.readouterr()
    plan, *lines = err.splitlines()
    assert plan.startswith("extract: 20 videos need 1.00 GB, 0.50 GB are free: not enough")
    assert len(lines) == 10
    assert lines[4].startswith("extract: 10/20 videos, ")
    assert "frames/s, forward " in lines[4]
    assert lines[4].endswith(" left, 1 failed")
    assert out.splitlines() == [
        "features of 19 videos stored in runs/demo/features; 3 were there before, 1 of them failed "
        "(--retry-failed tries these again); 1 failed",
        "  failed: made/b.mp4: is empty (0 bytes)",
    ]


def test_summary_is_written(arguments) -> None:
    assert cli.main(["extract", "--summary", "runs/summary.json", *DATASET]) == 0
    summary = json.loads(Path("runs", "summary.json").read_text("utf-8"))
    videos = {"extracted": 19, "failed": 1, "present": 3, "failed_before": 1, "left": 0}
    assert summary["videos"] == videos
    assert summary["failures"] == {"made/b.mp4": "is empty (0 bytes)"}
    assert summary["stopped"] is None


@pytest.mark.parametrize(
    ("ends", "code", "reason"),
    [
        (KeyboardInterrupt(), 130, "KeyboardInterrupt"),
        (DiskFull("disk full at features"), 2, "disk full at features"),
    ],
)
def test_summary_of_a_job_that_ends_early_is_written(
    arguments, ends, code: int, reason: str
) -> None:
    arguments["ends"] = ends
    assert cli.main(["extract", "--summary", "summary.json", *DATASET]) == code
    summary = json.loads(Path("summary.json").read_text("utf-8"))
    assert (summary["videos"]["extracted"], summary["videos"]["left"]) == (9, 10)
    assert summary["stopped"] == reason


def test_summary_that_cannot_be_written_is_refused_before_the_work(arguments, capsys) -> None:
    Path("file").touch()
    assert cli.main(["extract", "--summary", "file/summary.json", *DATASET]) == 2
    err = capsys.readouterr().err
    assert err.startswith("finevq: --summary file/summary.json: cannot be written: ")
    assert err.count("\n") == 1
    assert arguments == {}


def test_a_damaged_commit_is_named_at_the_end(arguments, store: FeatureStore, capsys) -> None:
    Path(store.url, "commits/000000.json").write_text("torn")
    assert cli.main(["extract", *DATASET]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("features of 19 videos stored")
    assert err.splitlines()[-1] == (
        f"finevq: {store.url}: the commits of shards 0 are damaged: `finevq cache repair "
        f"{store.url}`, then run the same command again"
    )


def test_range_and_retry_are_passed_on(arguments) -> None:
    assert cli.main(["extract", "--shards", "100:200", "--retry-failed", *DATASET]) == 0
    assert arguments == {"shards": range(100, 200), "retry_failed": True}


@pytest.mark.parametrize("text", ["7", "5:5", "9:3", "-2:4", "a:b", ""])
def test_impossible_range_is_refused(arguments, capsys, text: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["extract", f"--shards={text}", *DATASET])
    assert ended.value.code == 2
    assert "write it as FIRST:END" in capsys.readouterr().err
    assert arguments == {}


def test_live_verification_names_the_largest_deviation(
    capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CacheSettings(path="features", stage="", rows_per_shard=2, dtype="float16")
    shapes = {"spatial": (1, 2, 3), "motion": (1, 4)}
    FeatureStore.create("features", Identity({"spatial": 1}), shapes, settings)
    found = [Deviation("made/a.mp4", 1e-4, 3e-4), Deviation("made/b.mp4", 2e-4, 2e-4)]
    counts: list[int] = []

    def verify_live(store: Any, dataset: Any, settings: Any, count: int) -> list[Deviation]:
        counts.append(count)
        return found

    monkeypatch.setattr(live, "verify_live", verify_live)
    command = ["cache", "verify", "features", "--live", "5", *DATASET]
    assert cli.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "2 videos extracted again: largest deviation 2.0e-04 (spatial), 3.0e-04 (motion), as a "
        "share of the stored norm"
    )
    found.append(Deviation("made/c.mp4", problem="is empty (0 bytes)"))
    assert cli.main(command) == 2
    assert "made/c.mp4: is empty (0 bytes)" in capsys.readouterr().out
    assert counts == [5, 5]
