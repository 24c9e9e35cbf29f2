"""Local copies of files behind a URL, each fetched whole when it is first read."""

import hashlib
from collections.abc import Callable
from pathlib import Path

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
    """
    copy = Path(stage, hashlib.sha256(f"{url} {version}".encode()).hexdigest())
    if not copy.exists():
        try:
            replace_file(copy, [fetch()])
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise DiskFull(
                f"no room for {url} in {stage}: delete older copies there, or set cache.stage to "
                "another folder, or to none"
            ) from error
    return str(copy)
