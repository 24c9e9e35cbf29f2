"""A place that is out of reach, told from files that are missing or damaged."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from ...errors import FineVQError, StoreUnavailable
from .space import is_disk_full


@contextmanager
def outage_reported(url: str, action: Literal["read", "written"], *, local: bool) -> Iterator[None]:
    """Turn errors of a place as a whole into StoreUnavailable; errors of one file pass.

    Args:
        url: The place.
        action: What is done to it, as the message says it: "cannot be read".
        local: Whether it is a folder on this machine.

    Raises:
        StoreUnavailable: The place does not answer, or denies access.
    """
    try:
        yield
    except FineVQError:
        raise
    except Exception as error:
        if isinstance(error, OSError):
            if _concerns_one_file(error, action):
                raise
            why = error.strerror or str(error)
        elif local:
            raise
        else:  # each protocol has errors of its own
            why = str(error)
        cure = "check its address, credentials and connection, then run the same command again"
        if local:
            cure = "correct cache.path, or mend the folder's permissions or its disk"
        why = " ".join(why.split()) or type(error).__name__
        raise StoreUnavailable(f"{url} cannot be {action}: {why}; {cure}") from error


def _concerns_one_file(error: OSError, action: str) -> bool:
    """Tell an error of one file, or a full disk, from one of the place."""
    if isinstance(error, FileNotFoundError):
        if action == "written":
            return False
        # s3fs raises FileNotFoundError for a missing bucket too.
        response = getattr(error.__cause__, "response", {})
        return bool(response.get("Error", {}).get("Code") != "NoSuchBucket")
    return is_disk_full(error) or (action == "read" and error.errno == errno.EIO)
