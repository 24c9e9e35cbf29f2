"""Extraction that is killed again and again, compared with a run that is left alone.

    .venv/bin/python benchmarks/kill.py [--kills 20] [--videos 120] [--seed 0]

Runs `finevq extract` over made videos, some of them broken. At random moments one of its processes
gets a SIGKILL: the job itself, a worker or a decoding process. A dead job is started again at once,
even if processes that it left behind still run. At the end one run completes the store, and every
file of it is compared, byte for byte, with the store of an undisturbed run. A committed shard must
never be written again.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from scaling import make_videos

from finevq.cache.care.verify import verify
from finevq.cache.store import FeatureStore

SETTINGS = ("dataset.name=made", "extract.device=cpu", "cache.rows_per_shard=1")


def start(folder: Path, store: str) -> "subprocess.Popen[bytes]":
    changes = (*SETTINGS, f"dataset.folder={folder / 'videos'}", f"cache.path={folder / store}")
    sets = [word for change in changes for word in ("--set", change)]
    return subprocess.Popen(
        [sys.executable, "-m", "finevq", "extract", *sets],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def processes(job: int) -> dict[int, str]:
    """The processes of a job that run: process id -> what it is."""
    parents, names = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = stat.with_name("cmdline").read_bytes()
        except OSError:  # has ended meanwhile
            continue
        if int(fields[3]) == job and fields[0] != "Z" and b"resource_tracker" not in command:
            parents[int(stat.parent.name)] = int(fields[1])
    for process, parent in parents.items():
        names[process] = "worker" if parent == job else "decoder"
        if process == job:
            names[process] = "job"
    return names


def commits(store: Path) -> dict[str, tuple[int, int]]:
    """Commit -> which file it is and when it was written."""
    found = {}
    for path in (store / "commits").glob("*.json"):
        status = path.stat()
        found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


def disturb(folder: Path, kills: int, chance: random.Random) -> Counter[str]:
    """Run jobs and kill processes; returns how many of each kind were killed."""
    killed: Counter[str] = Counter()
    written: dict[str, tuple[int, int]] = {}
    job = start(folder, "killed")
    while killed.total() < kills:
        wait(job, folder / "killed", chance)
        now = commits(folder / "killed")
        assert {name: now.get(name) for name in written} == written, "a commit was lost or redone"
        written = now
        alive = processes(job.pid)
        if job.poll() is not None or not alive:
            assert job.returncode != 0, f"done after {killed.total()} kills: take more videos"
            job = start(folder, "killed")
            continue
        # One of each kind that runs, so that decoders and workers do not outnumber the job.
        kind = chance.choice(sorted(set(alive.values())))
        target = chance.choice([process for process, name in alive.items() if name == kind])
        os.kill(target, signal.SIGKILL)
        killed[kind] += 1
        print(f"{len(written)} commits, killed: {dict(killed)}", flush=True)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    killed["job"] += 1
    return killed


def wait(job: "subprocess.Popen[bytes]", store: Path, chance: random.Random) -> None:
    """Wait for a random moment: one in five at any time, the others while shards are underway."""
    if chance.random() < 0.2:
        time.sleep(chance.uniform(0.2, 6))
        return
    before = len(commits(store))
    while job.poll() is None and len(commits(store)) == before:
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 2))


def files(store: Path) -> dict[str, bytes]:
    """Name -> bytes of all files but those that a killed writer left behind."""
    paths = [path for path in store.rglob("*") if path.is_file() and path.suffix != ".partial"]
    return {str(path.relative_to(store)): path.read_bytes() for path in paths}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--videos", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_videos(folder / "videos", given.videos)
        for number in range(5, given.videos, 20):
            (folder / "videos" / f"{number:03}.mp4").write_bytes(b"broken")
        killed = disturb(folder, given.kills, random.Random(given.seed))
        before = commits(folder / "killed")
        assert start(folder, "killed").wait() == 0
        after = commits(folder / "killed")
        assert start(folder, "whole").wait() == 0
        kept, expected = files(folder / "killed"), files(folder / "whole")
        store = FeatureStore.open(str(folder / "killed"))
        result = {
            "kills": dict(killed),
            "videos": given.videos,
            "shards_committed_before_the_last_run": len(before),
            "committed_shards_written_again": sum(after[n] != before[n] for n in before),
            "files_that_differ": sum(kept.get(n) != data for n, data in expected.items()),
            "files_too_many": len(kept.keys() - expected.keys()),
            "problems_found_by_verify": len(list(verify(store))),
            "videos_without_a_record": given.videos - len(store.records()),
        }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("kill.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
