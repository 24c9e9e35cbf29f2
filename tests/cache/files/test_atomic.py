"""Files that appear whole or not at all, once, and what is left of writers that were killed."""

import errno
import fcntl
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from finevq.cache.files.atomic import create_file, partial_file, replace_file, sweep

SPAWN = multiprocessing.get_context("spawn")


def _write_slowly(path: Path, started: Event, go_on: Event) -> None:
    """Replace a file, and wait in the middle of its bytes."""

    def parts() -> Iterator[bytes]:
        yield b"half"
        started.set()
        assert go_on.wait(120)
        yield b" and half"

    replace_file(path, parts())


def _writer(path: Path) -> tuple[multiprocessing.process.BaseProcess, Event]:
    """A process that is in the middle of writing a file, and what lets it go on."""
    started, go_on = SPAWN.Event(), SPAWN.Event()
    writer = SPAWN.Process(target=_write_slowly, args=(path, started, go_on))
    writer.start()
    assert started.wait(120)
    return writer, go_on


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    writer, _ = _writer(tmp_path / "c" / "0" / "shard")
    writer.kill()
    writer.join(120)
    (left,) = _names(tmp_path)
    assert left.endswith(".partial")
    assert len(sweep(tmp_path)) == 1
    assert _names(tmp_path) == []


def test_what_is_being_written_stays(tmp_path: Path) -> None:
    writer, go_on = _writer(tmp_path / "shard")
    assert sweep(tmp_path) == []
    go_on.set()
    writer.join(120)
    assert writer.exitcode == 0
    assert (tmp_path / "shard").read_bytes() == b"half and half"


def _no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize(("age_s", "left"), [(60, 1), (2 * 24 * 3600, 0)])
def test_without_locks_only_what_is_old_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: int, left: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", _no_locks)
    partial = tmp_path / "shard.0123.partial"
    partial.touch()
    os.utime(partial, (time.time() - age_s,) * 2)
    sweep(tmp_path)
    assert len(_names(tmp_path)) == left


def test_without_locks_files_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", _no_locks)
    replace_file(tmp_path / "shard", [b"whole"])
    assert (tmp_path / "shard").read_bytes() == b"whole"


def test_a_file_that_is_swept_before_it_is_locked_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, swept = fcntl.flock, []

    def late_lock(file: int, how: int) -> None:
        if how == fcntl.LOCK_EX and not swept:
            swept.append(sweep(tmp_path))
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late_lock)
    with partial_file(tmp_path / "shard", [b"whole"]) as partial:
        assert partial.read_bytes() == b"whole"
    assert len(swept[0]) == 1


def _try_to_create(path: Path, content: bytes, ready: Event, go: Event) -> None:
    ready.set()
    assert go.wait(120)
    raise SystemExit(0 if create_file(path, content) else 7)


def test_of_many_processes_one_creates_a_file(tmp_path: Path) -> None:
    path, go = tmp_path / "store.json", SPAWN.Event()
    ready = [SPAWN.Event() for _ in range(4)]
    made = [
        SPAWN.Process(target=_try_to_create, args=(path, bytes([n]) * 1000, event, go))
        for n, event in enumerate(ready)
    ]
    for process in made:
        process.start()
    assert all(event.wait(120) for event in ready)
    go.set()
    for process in made:
        process.join(120)
    codes = [process.exitcode for process in made]
    assert sorted(codes) == [0, 7, 7, 7]
    assert path.read_bytes() == bytes([codes.index(0)]) * 1000
    assert _names(tmp_path) == ["store.json"]


def _no_links(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_without_links_a_file_is_created_once_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", _no_links)
    path = tmp_path / "store.json"
    assert create_file(path, b"first")
    assert not create_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert _names(tmp_path) == ["store.json"]
