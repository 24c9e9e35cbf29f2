"""The plan is made again from the commits, and metadata from store.json; no commit pays for it."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from finevq.cache.care.verify import repair, verify
from finevq.cache.commits import commit_bytes
from finevq.cache.files.folder import Folder
from finevq.cache.plan import Plan, PlanDamaged
from finevq.cache.records import RowRecord
from finevq.cache.store import FeatureStore
from finevq.cli.main import main
from finevq.errors import StoreError

from .. import _made
from ..conftest import MakeStore

PLAN = "videos.parquet"


@pytest.fixture
def old_store(full_store: FeatureStore) -> FeatureStore:
    """The full store as earlier versions left one: the plan is in videos.parquet alone."""
    shutil.rmtree(Path(full_store.url, "plan"))
    return full_store


def damage(store: FeatureStore, how: str) -> FeatureStore:
    """Damage the plan of a store and open it again."""
    path = Path(store.url, PLAN)
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "torn":
        path.write_bytes(path.read_bytes()[:-20])
    elif how == "stale":
        path.write_bytes(Plan({}, 4).extended(_made.videos(4)).to_bytes())
    else:
        path.write_bytes(Plan({}, 4).extended(_made.videos(7, first=50)).to_bytes())
    return FeatureStore.open(store.url)


DAMAGES = ["missing", "empty", "torn", "stale", "of another store"]


@pytest.mark.parametrize("how", DAMAGES)
def test_repair_makes_the_plan_again_and_withdraws_nothing(
    old_store: FeatureStore, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _made.files(old_store)
    damage(old_store, how)
    assert main(["cache", "repair", old_store.url]) == 0
    assert _made.files(old_store) == before
    first, last = capsys.readouterr().out.splitlines()
    assert first == "videos.parquet was made again from the plan and the commits"
    assert last == "all 2 committed shards are sound"


@pytest.mark.parametrize("how", DAMAGES)
def test_a_job_is_refused_with_what_to_do(old_store: FeatureStore, how: str) -> None:
    store = damage(old_store, how)
    before = _made.files(store)
    with pytest.raises(PlanDamaged, match=r"videos\.parquet.*`finevq cache repair`") as caught:
        store.plan(_made.videos(9))
    assert "\n" not in str(caught.value)
    assert _made.files(store) == before


@pytest.mark.parametrize("how", DAMAGES)
def test_a_single_repair_does_not_take_a_damaged_plan_for_a_damaged_shard(
    old_store: FeatureStore, how: str
) -> None:
    store = damage(old_store, how)
    with pytest.raises(PlanDamaged):
        repair(store, 1)
    assert store.committed() == [0, 1]


def test_a_plan_on_a_bad_sector_is_made_again(
    old_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read = _made.files(old_store), Folder.read

    def failing_read(self: Folder, name: str) -> bytes:
        if name == PLAN:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(self, name)

    Path(old_store.url, PLAN).write_bytes(b"what the disk does not give back")
    store = FeatureStore.open(old_store.url)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", failing_read)
        with pytest.raises(PlanDamaged, match=r"videos\.parquet cannot be read \(Input/output"):
            store.plan(_made.videos(7))
        store.mend()
    assert _made.files(old_store) == before


@pytest.mark.parametrize("how", ["missing", "empty", "torn"])
def test_reading_without_the_plan_is_refused(old_store: FeatureStore, how: str) -> None:
    with pytest.raises(PlanDamaged, match=r"videos\.parquet is (missing|damaged)"):
        damage(old_store, how).read("demo/0.mp4")


def test_videos_without_a_commit_are_planned_anew(old_store: FeatureStore) -> None:
    old_store.withdraw(1)
    store = damage(old_store, "missing")
    store.mend()
    assert store.shards == range(1)
    assert store.plan(_made.videos(7)) == 3
    assert store.shard_rows(1) == {4: "demo/4.mp4", 5: "demo/5.mp4", 6: "demo/6.mp4"}


@pytest.mark.parametrize("how", ["missing", "empty", "torn"])
def test_rows_without_a_commit_come_back_from_the_segments(
    full_store: FeatureStore, how: str
) -> None:
    full_store.plan(_made.videos(9))
    full_store.withdraw(0)
    before = _made.files(full_store)
    store = damage(full_store, how)
    store.mend()
    assert _made.files(store) == before


def test_a_damaged_segment_does_not_stand_in_the_way(full_store: FeatureStore) -> None:
    full_store.plan(_made.videos(9))
    os.remove(f"{full_store.url}/{PLAN}")
    Path(full_store.url, "plan/000002.parquet").write_bytes(b"torn")
    with pytest.raises(PlanDamaged, match=r"plan/000002\.parquet is damaged"):
        FeatureStore.open(full_store.url).plan(_made.videos(9))
    store = FeatureStore.open(full_store.url)
    store.mend()
    assert store.plan(_made.videos(9)) == 2
    assert FeatureStore.open(store.url).shard_rows(2) == {8: "demo/7.mp4", 9: "demo/8.mp4"}


@pytest.mark.parametrize("rows", [{8: "demo/0.mp4"}, {}])
def test_a_segment_of_another_plan_is_refused_and_removed(
    full_store: FeatureStore, rows: dict[int, str]
) -> None:
    before = _made.files(full_store)
    Path(full_store.url, "plan/000002.parquet").write_bytes(Plan(rows, 4).to_bytes())
    store = FeatureStore.open(full_store.url)
    with pytest.raises(PlanDamaged, match=r"plan/000002\.parquet does not follow the plan"):
        store.plan(_made.videos(9))
    store.mend()
    assert store.plan(_made.videos(7)) == 0
    assert _made.files(store) == before


def test_a_video_has_the_row_of_its_commit(old_store: FeatureStore) -> None:
    """A plan names it in a shard without a commit, as one of two planners once could."""
    twice = Plan({}, 4).extended([*_made.videos(4), "x", "y", "z", "w", "demo/5.mp4"])
    Path(old_store.url, PLAN).write_bytes(twice.to_bytes())
    store = FeatureStore.open(old_store.url)
    store.mend()
    np.testing.assert_array_equal(
        store.read("demo/5.mp4")[1], _made.features("demo/5.mp4").motion.astype(np.float16)
    )
    assert list(store.shards) == [0, 1]


def test_a_shard_without_videos_is_not_pending(old_store: FeatureStore) -> None:
    """What lies between two commits was lost with the plan."""
    _made.fill(old_store, [*_made.videos(7), "demo/late.mp4"])
    shutil.rmtree(Path(old_store.url, "plan"))
    old_store.withdraw(1)
    store = damage(old_store, "missing")
    store.mend()
    assert (store.shards, store.pending()) == (range(3), [])
    info = store.info()
    assert (info["shards"], info["committed"], info["planned"]) == (2, 2, 5)
    assert store.plan(_made.videos(7)) == 3
    assert store.pending() == [3]


def test_a_damaged_commit_is_withdrawn_also_where_the_plan_is_lost(
    old_store: FeatureStore,
) -> None:
    before = _made.files(old_store)
    Path(old_store.url, "commits/000001.json").write_text("torn")
    damage(old_store, "missing")
    assert main(["cache", "repair", old_store.url]) == 0
    store = FeatureStore.open(old_store.url)
    assert store.committed() == [0]
    _made.fill(store, _made.videos(7))
    assert {n: data for n, data in _made.files(store).items() if "plan/" not in n} == before


def test_two_commits_of_one_video_are_refused(old_store: FeatureStore) -> None:
    record = RowRecord("demo/1.mp4", "failed", "why", None, None)
    Path(old_store.url, "commits/000001.json").write_bytes(commit_bytes(1, {4: record}))
    with pytest.raises(StoreError, match=r"shards 0 and 1 both name demo/1\.mp4: delete"):
        damage(old_store, "missing").mend()
    assert old_store.committed() == [0, 1]


def test_commits_of_a_store_with_other_shards_are_refused(old_store: FeatureStore) -> None:
    path = Path(old_store.url, "store.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rows_per_shard": 2}))
    with pytest.raises(StoreError, match=r"row 2, a shard has 2 rows: restore the store\.json"):
        FeatureStore.open(old_store.url).mend()
    assert old_store.committed() == [0, 1]


def test_a_shard_that_another_job_planned_meanwhile_is_no_problem(
    full_store: FeatureStore,
) -> None:
    other = FeatureStore.open(full_store.url)
    assert list(full_store.shards) == [0, 1]
    _made.fill(other, _made.videos(9))
    assert list(verify(full_store)) == []


METADATA = [
    "tokens.zarr/zarr.json",
    "tokens.zarr/spatial/zarr.json",
    "tokens.zarr/motion/zarr.json",
]


def spoil(store: FeatureStore, name: str, content: str | None) -> None:
    path = Path(store.url, name)
    path.unlink() if content is None else path.write_text(content)


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize("content", ["", "{}", '{"zarr_fo', None])
def test_metadata_are_made_again_from_store_json(
    full_store: FeatureStore, name: str, content: str | None
) -> None:
    before = _made.files(full_store)
    spoil(full_store, name, content)
    assert full_store.mend() == [f"{name} was made again from store.json"]
    assert _made.files(full_store) == before


@pytest.mark.parametrize("name", METADATA)
def test_a_job_makes_metadata_again_as_well(full_store: FeatureStore, name: str) -> None:
    before = _made.files(full_store)
    spoil(full_store, name, "")
    assert full_store.plan(_made.videos(7)) == 0
    assert _made.files(full_store) == before


def test_a_damaged_group_is_found(full_store: FeatureStore) -> None:
    spoil(full_store, METADATA[0], "")
    (problem,) = verify(full_store)
    assert "tokens.zarr cannot be opened" in str(problem)


def test_an_array_shorter_than_the_plan_is_lengthened(
    full_store: FeatureStore, make_store: MakeStore
) -> None:
    before = _made.files(full_store)
    shutil.copy(Path(make_store("other").url, METADATA[2]), Path(full_store.url, METADATA[2]))
    assert full_store.mend() == [f"{METADATA[2]} was made again from store.json"]
    assert _made.files(full_store) == before


def test_metadata_of_another_layout_are_not_replaced(
    full_store: FeatureStore, make_store: MakeStore
) -> None:
    other = make_store("other", motion=(2, 6))
    shutil.copy(Path(other.url, METADATA[2]), Path(full_store.url, METADATA[2]))
    before = _made.files(full_store)
    with pytest.raises(StoreError, match="is not laid out as"):
        full_store.mend()
    assert _made.files(full_store) == before


def test_plain_zarr_reads_what_was_made_again(full_store: FeatureStore) -> None:
    for name in METADATA:
        spoil(full_store, name, None)
    full_store.mend()
    group = zarr.open_group(f"{full_store.url}/tokens.zarr", mode="r")
    motion = group["motion"]
    assert isinstance(motion, zarr.Array)
    np.testing.assert_array_equal(motion[5], full_store.read("demo/5.mp4")[1])


_KILLED = """
import os, signal, sys
from pathlib import Path
from finevq.cache.store import FeatureStore
sys.path.insert(0, sys.argv[2])
import _made

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

store = FeatureStore.open(sys.argv[1])
Path.replace = die
store.write_shard(0, _made.results(store.shard_rows(0).values()))
"""


@pytest.fixture
def left_behind(full_store: FeatureStore) -> FeatureStore:
    """A writer of shard 0 was killed when all its bytes were on the disk."""
    folder = str(Path(_made.__file__).parent)
    command = [sys.executable, "-c", _KILLED, full_store.url, folder]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(list(Path(full_store.url).rglob("*.partial"))) == 2
    return full_store


def test_the_planner_removes_what_a_killed_writer_left(left_behind: FeatureStore) -> None:
    left_behind.plan(_made.videos(7))
    assert list(Path(left_behind.url).rglob("*.partial")) == []


def test_repair_removes_what_a_killed_writer_left(
    left_behind: FeatureStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "repair", left_behind.url]) == 0
    assert list(Path(left_behind.url).rglob("*.partial")) == []
    assert "2 files of killed writers were removed, 0.00 GB" in capsys.readouterr().out


_READ_ONLY = """
import sys
from finevq.cache.care.verify import repair, verify
from finevq.cache.store import FeatureStore
from finevq.cli.main import main

store = FeatureStore.open(sys.argv[1])
videos = list(store.records())
store.read(videos[0])
assert store.plan(videos) == 0
assert store.mend() == []
assert list(verify(store)) == []
assert [repair(store, shard) for shard in store.committed()] == [[], []]
assert main(["cache", "repair", sys.argv[1]]) == 0
try:
    open(sys.argv[1] + "/written", "w")
except OSError as error:
    print(error.strerror)
"""


def read_only(folder: str, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command for which a folder is on a disk that cannot be written."""
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    line = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, folder, *command]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_a_finished_store_on_a_read_only_disk_is_read(full_store: FeatureStore) -> None:
    if read_only(full_store.url, "true").returncode:
        pytest.skip("this user may not mount a folder read-only")
    run = read_only(full_store.url, sys.executable, "-c", _READ_ONLY, full_store.url)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "Read-only file system"


def test_a_partial_file_on_a_read_only_disk_is_left(left_behind: FeatureStore) -> None:
    if read_only(left_behind.url, "true").returncode:
        pytest.skip("this user may not mount a folder read-only")
    code = (
        "import sys; from finevq.cache.store import FeatureStore as F; F.open(sys.argv[1]).plan([])"
    )
    run = read_only(left_behind.url, sys.executable, "-c", code, left_behind.url)
    assert run.returncode == 0, run.stderr
