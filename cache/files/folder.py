"""Whole files of a store, read and replaced as one; local folders and fsspec URLs look the same."""

import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path

import fsspec
import numpy as np
from awscrt import checksums
from fsspec.implementations.local import LocalFileSystem
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from ...errors import FineVQError, StoreError, StoreUnavailable
from .space import DiskFull, is_disk_full

_BLOCK = 1 << 18
"""Bytes read at once: they are still in the processor's second cache when they are checked."""

_STEP = 1 << 21
"""Bytes that Linux fetches at one advice, at most."""

_ADVISE = getattr(os, "posix_fadvise", None)
_NOWAIT = getattr(os, "RWF_NOWAIT", None)
"""What not every system has."""


class Folder:
    """A folder on disk or behind a URL; names are relative to it, with forward slashes.

    Raises:
        StoreError: The URL's protocol is unknown or the package that serves it is not installed.
        StoreUnavailable: By every method: the place does not answer, or lets no one in. A file that
            is missing or cannot be read for damage, and a full disk, raise OSErrors of their own.
    """

    def __init__(self, url: str, stage: str = "") -> None:
        """Name a folder, which need not exist.

        Args:
            url: A path or fsspec URL.
            stage: A local folder for copies of the files behind a URL that are read in parts, each
                copied whole when it is first read; empty to read the parts from where they are.
        """
        try:
            self._fs, path = fsspec.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"cannot open {url}: {error}") from error
        self._path: str = path.rstrip("/")
        self.local = isinstance(self._fs, LocalFileSystem)
        # An absolute path, as a worker that gets this store may run in another folder.
        self.url = self._path if self.local else url.rstrip("/")
        self.stage = stage
        self._staged: dict[str, str] = {}

    def exists(self, name: str) -> bool:
        """Tell whether there is a file or folder of that name."""
        with self._reached("read"):
            return bool(self._fs.exists(self._at(name)))

    def read(self, name: str) -> bytes:
        """Return a file's bytes; raises FileNotFoundError."""
        with self._reached("read"):
            return bytes(self._fs.cat_file(self._at(name)))

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """Return the bytes of several files, which object stores fetch at once."""
        paths = [self._at(name) for name in names]
        with self._reached("read"):
            return list(self._fs.cat_ranges(paths, None, None, on_error="raise"))

    def read_into(self, name: str, start: int, buffer: np.ndarray) -> int:
        """Fill a buffer with bytes of a file.

        Args:
            name: The file's.
            start: The first byte; negative counts from the end.
            buffer: uint8, one axis.

        Returns:
            The CRC-32C of the bytes, taken while they are in the processor's cache.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file ends before.
        """
        if not self.local and not self.stage:
            end = start + len(buffer) if start >= 0 else None
            with self._reached("read"):
                raw = self._fs.cat_file(self._at(name), start=start, end=end)
            if len(raw) != len(buffer):
                raise ValueError(f"{len(raw)} of {len(buffer)} bytes are there")
            buffer[:] = np.frombuffer(raw, np.uint8)
            return int(checksums.crc32c(buffer))
        with self._reached("read"), open(self._local(name), "rb", buffering=0) as file:
            length = os.fstat(file.fileno()).st_size
            first = start if start >= 0 else length + start
            if not 0 <= first <= length - len(buffer):
                raise ValueError(
                    f"{length} bytes are there, {len(buffer)} from {start} on asked for"
                )
            return _read(file, first, buffer)

    def write(self, name: str, *parts: bytes | memoryview) -> None:
        """Create or replace a file; a reader sees the old bytes or the new ones, never a part."""
        with self._reached("written"):
            if self.local:
                _replace(Path(self._at(name)), parts)
            else:
                self._fs.pipe_file(self._at(name), b"".join(parts))

    def write_all(
        self, files: Mapping[str, Sequence[bytes | memoryview]], ready: Callable[[], object]
    ) -> None:
        """Create or replace several files; on a disk none is touched if there is no room for all.

        Args:
            files: Name -> the parts of its bytes.
            ready: Called when nothing is left to do but to put them in place.
        """
        if not self.local:
            ready()
            for name, parts in files.items():
                self.write(name, *parts)
            return
        with self._reached("written"), ExitStack() as stack:
            places = [
                (stack.enter_context(_written(Path(self._at(name)), parts)), Path(self._at(name)))
                for name, parts in files.items()
            ]
            ready()
            for partial, path in places:
                partial.replace(path)
        for folder in {path.parent for _, path in places}:
            _sync_folder(folder)

    def version(self, name: str) -> str | None:
        """Return what is another after each time a file is written; None without a file."""
        self._fs.invalidate_cache()
        with suppress(FileNotFoundError), self._reached("read"):
            return str(self._fs.ukey(self._at(name)))
        return None

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        if self.exists(name):
            with self._reached("written"), suppress(FileNotFoundError):
                self._fs.rm_file(self._at(name))

    def clear(self) -> None:
        """Remove the folder and all that is in it."""
        with self._reached("written"):
            if self._fs.exists(self._path):
                self._fs.rm(self._path, recursive=True)

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a subfolder, none where it does not exist."""
        self._fs.invalidate_cache()  # object stores remember listings; other processes write too
        try:
            with self._reached("read"):
                paths = self._fs.ls(self._at(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths)

    def size(self, folder: str) -> int:
        """Return the bytes of all files below a subfolder."""
        self._fs.invalidate_cache()
        with self._reached("read"):
            return int(self._fs.du(self._at(folder)))

    def free(self) -> int | None:
        """Return the bytes that may still be written here; None behind a URL."""
        if not self.local:
            return None
        there = Path(self._path)
        while not there.exists():
            there = there.parent
        return shutil.disk_usage(there).free

    def zarr_store(self, name: str, *, read_only: bool) -> Store:
        """Return a subfolder as zarr sees it, which raises what it likes: its place is tried."""
        if not read_only:
            self._check_writable()
        if self.local:
            return LocalStore(self._at(name), read_only=read_only)
        return FsspecStore.from_url(f"{self.url}/{name}", read_only=read_only)

    def _local(self, name: str) -> str:
        """Return where a file is on this machine, after copying it there if need be."""
        if self.local:
            return self._at(name)
        if name not in self._staged:
            # Its version is a part of the copy's name: a shard that was redone is copied again.
            version = f"{self.url}/{name} {self._fs.ukey(self._at(name))}"
            copy = Path(self.stage, hashlib.sha256(version.encode()).hexdigest())
            if not copy.exists():
                try:
                    _replace(copy, [self.read(name)])
                except OSError as error:
                    if not is_disk_full(error):
                        raise
                    raise DiskFull(
                        f"no room for {self.url}/{name} in {self.stage}: delete older copies "
                        "there, or set cache.stage to another folder, or to none"
                    ) from error
            self._staged[name] = str(copy)
        return self._staged[name]

    def _check_writable(self) -> None:
        """Try to write; behind a URL the first request tells."""
        if self.local:
            with self._reached("written"):
                Path(self._path).mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self._path):
                    pass

    @contextmanager
    def _reached(self, how: str) -> Iterator[None]:
        """Tell a place that is out of reach from files that are missing or damaged.

        Args:
            how: What was to be done: "read" or "written".
        """
        try:
            yield
        except FineVQError:
            raise
        except Exception as error:
            if isinstance(error, OSError):
                if _of_a_file(error, how):
                    raise
                why = error.strerror or str(error)
            elif self.local:
                raise
            else:  # each protocol has errors of its own
                why = str(error)
            cure = "check its address, credentials and connection, then run the same command again"
            if self.local:
                cure = "correct cache.path, or mend the folder's permissions or its disk"
            why = " ".join(why.split()) or type(error).__name__
            raise StoreUnavailable(f"{self.url} cannot be {how}: {why}; {cure}") from error

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"


def _read(file: FileIO, first: int, buffer: np.ndarray) -> int:
    """Fill a buffer with bytes of a local file; returns their CRC-32C.

    What lies in memory is copied. From the first block on that does not, the disk is asked for all
    that is left, and for nothing that lies behind it, as Linux's own reading ahead would.
    """
    crc, cached = 0, True
    for done in range(0, len(buffer), _BLOCK):
        block, at = buffer[done : done + _BLOCK], first + done
        if cached and not _copied(file, at, block):
            cached = False
            _fetch(file, at, len(buffer) - done)
        if not cached:
            file.seek(at)
            if file.readinto(block.data) != len(block):
                raise ValueError("it ends while it is read")
        crc = checksums.crc32c(block, crc)
    return crc


def _copied(file: FileIO, at: int, block: np.ndarray) -> bool:
    """Fill a block if all its bytes lie in memory; False if not, or if no one can tell."""
    if _NOWAIT is None:
        return False
    try:
        return os.preadv(file.fileno(), [block.data], at, _NOWAIT) == len(block)
    except OSError:  # nothing lies there, or this file system always waits
        return False


def _fetch(file: FileIO, first: int, length: int) -> None:
    """Let the disk begin to read, without waiting for it."""
    if _ADVISE is not None:
        for at in range(first, first + length, _STEP):
            size = min(_STEP, first + length - at)
            _ADVISE(file.fileno(), at, size, os.POSIX_FADV_WILLNEED)


def _of_a_file(error: OSError, how: str) -> bool:
    """Whether an error speaks of one file, and not of the place where it is."""
    if isinstance(error, FileNotFoundError):
        if how == "written":
            return False
        # S3 says of a bucket that is not there that the file is not.
        response = getattr(error.__cause__, "response", {})
        return bool(response.get("Error", {}).get("Code") != "NoSuchBucket")
    return is_disk_full(error) or (how == "read" and error.errno == errno.EIO)


def _replace(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    with _written(path, parts) as partial:
        partial.replace(path)
    _sync_folder(path.parent)


@contextmanager
def _written(path: Path, parts: Iterable[bytes | memoryview]) -> Iterator[Path]:
    """A file beside a path, on disk with these bytes; what is not moved away is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut: a commit must not outlive the shard that it speaks of."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
