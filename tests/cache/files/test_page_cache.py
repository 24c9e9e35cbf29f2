"""Ranges of local files: the same bytes, wherever they lie and whatever the system can tell."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from awscrt import checksums

from finevq.cache.files import page_cache
from finevq.cache.files.folder import Folder

SIZE, FIRST, LENGTH = 50_000, 1_003, 30_011

Preadv = Callable[..., int]


def in_memory(real: Preadv) -> Preadv:
    return lambda descriptor, buffers, at, flags: real(descriptor, buffers, at, 0)


def on_disk(real: Preadv) -> Preadv:
    def refuse(*_: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "would wait")

    return refuse


def always_waiting(real: Preadv) -> Preadv:
    def refuse(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "this file system always waits")

    return refuse


def in_part(real: Preadv) -> Preadv:
    """The first block lies in memory, and a half of the second one."""
    called = []

    def some(descriptor: int, buffers: list[memoryview], at: int, flags: int) -> int:
        called.append(at)
        size = len(buffers[0]) // len(called)
        return real(descriptor, [buffers[0][:size]], at, 0)

    return some


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    content = np.random.default_rng(0).bytes(SIZE)
    (tmp_path / "file").write_bytes(content)
    return content


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "_BLOCK", 4_096)
    monkeypatch.setattr(page_cache, "_ADVICE_BYTES", 10_000)


def read(folder: Path, first: int = FIRST, length: int = LENGTH) -> tuple[bytes, int]:
    buffer = np.zeros(length, np.uint8)
    crc = Folder(str(folder)).read_into("file", first, buffer)
    return buffer.tobytes(), crc


def test_a_range_is_read_and_checksummed(tmp_path: Path, content: bytes) -> None:
    expected = content[FIRST : FIRST + LENGTH]
    assert read(tmp_path) == (expected, checksums.crc32c(expected))


def test_a_range_from_the_end(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, -20_000, 19_000)[0] == content[-20_000:-1_000]


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="this system cannot read without waiting")
@pytest.mark.parametrize("lying", [in_memory, on_disk, always_waiting, in_part])
def test_bytes_do_not_depend_on_where_they_lie(
    tmp_path: Path,
    content: bytes,
    lying: Callable[[Preadv], Preadv],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "preadv", lying(os.preadv))
    expected = content[FIRST : FIRST + LENGTH]
    assert read(tmp_path) == (expected, checksums.crc32c(expected))


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="this system cannot read without waiting")
def test_the_disk_is_asked_for_what_is_not_in_memory_and_no_more(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "preadv", in_part(os.preadv))
    monkeypatch.setattr(page_cache, "_ADVISE", lambda _, at, size, advice: asked.append((at, size)))
    read(tmp_path)
    assert asked[0][0] == FIRST + 4_096  # the first block is there
    assert sum(size for _, size in asked) == LENGTH - 4_096
    assert asked[-1][0] + asked[-1][1] == FIRST + LENGTH


def test_without_these_system_calls(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_cache, "_NOWAIT", None)
    monkeypatch.setattr(page_cache, "_ADVISE", None)
    assert read(tmp_path)[0] == content[FIRST : FIRST + LENGTH]


@pytest.mark.parametrize(("first", "length"), [(SIZE - 10, 11), (-10, 11), (-SIZE - 1, 5)])
def test_a_range_beyond_the_file_is_refused(
    tmp_path: Path, content: bytes, first: int, length: int
) -> None:
    with pytest.raises(ValueError, match=f"{SIZE} bytes are there"):
        read(tmp_path, first, length)


def test_a_file_that_ends_while_it_is_read(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> bool:
        os.truncate(tmp_path / "file", FIRST + 10)
        return False

    monkeypatch.setattr(page_cache, "_copied_from_memory", cut)
    with pytest.raises(ValueError, match="it ends while it is read"):
        read(tmp_path)
