"""Local copies of files behind a URL, each fetched whole when it is first read."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from ...errors import StoreUnavailable
from .atomic import replace_file
from .space import DiskFull, is_disk_full


def staged_file(stage: str, url: str, version: str, fetch: Callable[[], bytes]) -> str:
    """Return the path of a file's local copy, which is made if there is none.

    Args:
        stage: The folder of the copies.
        url: The file's URL.
        version: Changes whenever the file is written. It is a part of the copy's name, so that a
            shard that was extracted again is fetched again.
        fetch: Returns the file's bytes.

    Raises:
        DiskFull: There is no room for the copy.
        StoreUnavailable: The folder of the copies cannot be written.
    """
    copy = Path(stage, hashlib.sha256(f"{url} {version}".encode()).hexdigest())
    if not copy.exists():
        data = fetch()
        cure = "set cache.stage to another folder, or to none"
        try:
            replace_file(copy, [data])
        except OSError as error:
            if is_disk_full(error):
                raise DiskFull(
                    f"no room for {url} in {stage}: delete older copies there, or {cure}"
                ) from error
            raise StoreUnavailable(
                f"{stage} cannot be written: {error.strerror or error}; {cure}"
            ) from error
    return str(copy)
