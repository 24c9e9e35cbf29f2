"""Which files `finevq score` rates, and the file that it writes the results to."""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ..dataset.videos import DIMENSIONS
from ..errors import DatasetError
from .scorecard import ScoreCard

SUFFIXES = {
    *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
}
"""Names of files that are taken from a folder; one that is named itself may have any."""

_COLUMNS = ["video", *DIMENSIONS, *(f"{dimension}_level" for dimension in DIMENSIONS), "error"]


def listed(names: Sequence[str]) -> list[str]:
    """The files that are meant, each once, in the order given.

    Args:
        names: files; folders, for all videos below them, sorted; and lists in .txt files, one file
            a line, relative to the list's folder.

    Raises:
        DatasetError: a list that cannot be read, or nothing to score.
    """
    files: dict[str, None] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            files |= dict.fromkeys(str(p) for p in found if p.is_file())
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
    return [line.strip() for line in text.splitlines() if line.strip()]


class Results:
    """A CSV or JSON lines file of score cards, which a later run goes on with.

    Each card is written and flushed as it comes. A last line that was cut short by a kill is taken
    away, and its video scored again.
    """

    def __init__(self, path: Path) -> None:
        """Read which videos are there already.

        Raises:
            DatasetError: another kind of name than .csv or .jsonl, or other content.
        """
        if path.suffix not in (".csv", ".jsonl"):
            raise DatasetError(f"{path}: results are written to FILE.csv or FILE.jsonl")
        self.path = path
        self._csv = path.suffix == ".csv"
        self._file: IO[str] | None = None
        self.videos: set[str] = set()
        if path.is_file():
            self._drop_half_a_line()
            self.videos = self._read()

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8", newline="")
        if self._csv and self.path.stat().st_size == 0:
            csv.writer(self._file).writerow(_COLUMNS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._file is not None
        self._file.close()

    def add(self, card: ScoreCard) -> None:
        """Write a card."""
        assert self._file is not None
        if self._csv:
            csv.writer(self._file).writerow(_cells(card))
        else:
            self._file.write(json.dumps(asdict(card), ensure_ascii=False) + "\n")
        self._file.flush()

    def _drop_half_a_line(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self.path, whole)

    def _read(self) -> set[str]:
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                if not self._csv:
                    return {json.loads(line)["video"] for line in file}
                rows = list(csv.reader(file))
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{self.path}: not a file of scores; choose another") from error
        if rows and rows[0] != _COLUMNS:
            raise DatasetError(f"{self.path}: not a file of scores; choose another")
        return {row[0] for row in rows[1:]}


def _cells(card: ScoreCard) -> list[Any]:
    ratings = [card.ratings.get(dimension) for dimension in DIMENSIONS]
    scores = ["" if r is None else r.score for r in ratings]
    return [card.video, *scores, *("" if r is None else r.level for r in ratings), card.error or ""]
