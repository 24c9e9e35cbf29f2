"""Which files `finevq score` rates."""

import os
from collections.abc import Sequence
from pathlib import Path

from ...errors import DatasetError

SUFFIXES = {
    *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
}
"""The suffixes of videos in a folder; a file that is named by itself may have any suffix."""


def list_videos(names: Sequence[str]) -> list[str]:
    """List the files to rate, each once, in the order given.

    Args:
        names: files; folders, which stand for all videos below them, sorted; and .txt files, which
            list one file in each line, relative to the list's own folder.

    Raises:
        DatasetError: a list that cannot be read, or nothing to score.
    """
    files: dict[str, None] = {}
    for name in names:
        path = Path(name)
        if os.path.isdir(name):  # Path.is_dir raises for names that no file can have
            videos = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            files |= dict.fromkeys(str(p) for p in videos if p.is_file())
        elif path.suffix == ".txt":
            files |= dict.fromkeys(str(path.parent / line) for line in _lines(path))
        else:
            files[name] = None
    if not files:
        raise DatasetError(f"no videos in {', '.join(names)}")
    return list(files)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a list of files: {error}") from error
    if "\0" in text:
        raise DatasetError(f"{path}: not a list of files: it holds zero bytes")
    return [line.strip() for line in text.splitlines() if line.strip()]
