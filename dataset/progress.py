"""How long work on many videos reports its progress."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the number of videos that are done and their total."""


def no_progress(done: int, total: int) -> None:
    """Report nothing."""
