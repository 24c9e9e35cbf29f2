"""Which video file below a database's folder each label names."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import DatasetError

VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".avi", ".mov", ".webm", ".flv", ".m4v", ".wmv"),
    *(".ts", ".y4m", ".yuv", ".mpg", ".mpeg", ".3gp", ".gif"),
)


@dataclass(frozen=True)
class Matches:
    """Labels and the files that they name.

    Attributes:
        paths: for each label its video's path relative to the folder; a label without a file
            keeps its own name.
        labels_without_video: labels that have no file.
        videos_without_label: files that no label names.
    """

    paths: dict[str, str]
    labels_without_video: list[str]
    videos_without_label: list[str]


def match_videos(labels: Iterable[str], folder: Path, name_until: str = "") -> Matches:
    """Find the video file of each label: by its path, else by its name, else by its stem.

    Args:
        labels: the names that the label files give to the videos.
        folder: holds the videos, at any depth.
        name_until: what follows the name in a file's stem, where more follows.

    Raises:
        DatasetError: two labels name one file.
    """
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
    )

    def start(name: str) -> str:
        stem = PurePosixPath(name).stem
        return stem.split(name_until)[0] if name_until else stem

    known = set(files)
    by_name = _unique(files, lambda path: PurePosixPath(path).name)
    by_stem = _unique(files, lambda path: PurePosixPath(path).stem)
    by_start = _unique(files, start) if name_until else {}
    paths: dict[str, str] = {}
    labels_without_video: list[str] = []
    for label in labels:
        name = PurePosixPath(label)
        path = label if label in known else by_name.get(name.name) or by_stem.get(name.stem)
        path = path or by_start.get(start(label))
        if not path:
            labels_without_video.append(label)
        paths[label] = path or label
    used = Counter(paths.values())
    twice = next((path for path, count in used.items() if count > 1), None)
    if twice:
        raise DatasetError(f"{folder / twice}: two labels name this file")
    return Matches(paths, labels_without_video, [path for path in files if path not in used])


def _unique(files: Iterable[str], key: Callable[[str], str]) -> dict[str, str]:
    """The files by a key that only one of them has."""
    groups: dict[str, list[str]] = {}
    for path in files:
        groups.setdefault(key(path), []).append(path)
    return {name: paths[0] for name, paths in groups.items() if len(paths) == 1}
