"""The file that `finevq score` writes its results to."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ...dataset.videos import DIMENSIONS
from ...errors import DatasetError
from .scorecard import ScoreCard

_LEVELS = [f"{dimension}_level" for dimension in DIMENSIONS]
_COLUMNS = ["video", *DIMENSIONS, *_LEVELS, "error", "concealed", "missing", "checkpoint"]
_KEYS = {"checkpoint", *(field.name for field in fields(ScoreCard))}


@dataclass(frozen=True)
class _Record:
    """A video in a file of results, and the line that it stands in."""

    video: str
    checkpoint: str
    failed: bool
    line: str


class Results:
    """A CSV or JSON lines file of one checkpoint's score cards, which a later run continues.

    The file is changed only within a `with` block. Entering it removes a last line that was cut
    short by a kill, and the errors of videos that are to be tried again; all other lines stay as
    they are. Each card is written and flushed as it comes.

    Attributes:
        unscored: the videos without scores in the file, those that failed included.
    """

    def __init__(self, path: Path, checkpoint: str, videos: Sequence[str]) -> None:
        """Read which videos are in the file already.

        Args:
            path: FILE.csv or FILE.jsonl, which need not exist.
            checkpoint: digest of the checkpoint that scores.
            videos: all that are to be in the file in the end.

        Raises:
            DatasetError: the file has another suffix, other content, or scores of another
                checkpoint.
        """
        if path.suffix not in (".csv", ".jsonl"):
            raise DatasetError(f"{path}: results are written to FILE.csv or FILE.jsonl")
        self.path = path
        self._checkpoint = checkpoint
        self._csv = path.suffix == ".csv"
        self._file: IO[str] | None = None
        try:
            self._text = _read_text(path)
            records = list((_csv_records if self._csv else _json_records)(self._text))
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, csv.Error, RecursionError) as error:
            raise DatasetError(f"{path}: not a file of scores; choose another") from error
        for record in records:
            if record.checkpoint != checkpoint:
                raise DatasetError(
                    f"{path}: has scores of another checkpoint ({record.checkpoint[:12]}, not "
                    f"{checkpoint[:12]}); choose another file, or name that checkpoint"
                )
        scored = {record.video for record in records if not record.failed}
        self.unscored = [video for video in videos if video not in scored]
        to_score = set(self.unscored)
        kept = [record.line for record in records if record.video not in to_score]
        self._kept = "".join([_csv_line(_COLUMNS) if self._csv else "", *kept])

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._kept != self._text:
                path = self.path.resolve()  # a symbolic link stays one
                part = path.with_name(f"{path.name}.part")
                with _open(part, "w") as file:
                    file.write(self._kept)
                part.replace(path)
            self._file = _open(self.path, "a")
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._file is not None
        with suppress(OSError):  # `add` has raised it already
            self._file.close()

    def add(self, card: ScoreCard) -> None:
        """Write a card.

        Raises:
            DatasetError: the file cannot be written, as on a full disk.
        """
        assert self._file is not None
        if self._csv:
            line = _csv_line([*_cells(card), self._checkpoint])
        else:
            line = json.dumps({"checkpoint": self._checkpoint, **asdict(card)}) + "\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> DatasetError:
        return DatasetError(f"{self.path}: cannot be written: {error.strerror}")


def _open(path: Path, mode: str) -> IO[str]:
    # The name of a video is bytes that need not be UTF-8; a CSV file keeps them as they are.
    return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")


def _read_text(path: Path) -> str:
    try:
        with _open(path, "r") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _csv_records(text: str) -> Iterator[_Record]:
    if _csv_line(_COLUMNS).startswith(text):
        return  # nothing yet, or half of the first line
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if rows[0] != _COLUMNS:
        raise ValueError
    if not text.endswith("\n") or len(rows[-1]) != len(_COLUMNS):
        rows.pop()  # cut short by a kill
    for row in rows[1:]:
        if row:
            named = dict(zip(_COLUMNS, row, strict=True))
            failed = named["error"] != ""
            yield _Record(named["video"], named["checkpoint"], failed, _csv_line(row))


def _json_records(text: str) -> Iterator[_Record]:
    *lines, last = text.split("\n")
    start = '{"checkpoint": "'
    if not start.startswith(last[: len(start)]):
        raise ValueError  # not even a line of ours that was cut short by a kill
    for line in lines:
        if line.strip():
            entry = json.loads(line)
            if not isinstance(entry, dict) or set(entry) != _KEYS:
                raise ValueError
            failed = entry["error"] is not None
            yield _Record(str(entry["video"]), str(entry["checkpoint"]), failed, line + "\n")


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _cells(card: ScoreCard) -> list[Any]:
    ratings = [card.ratings.get(dimension) for dimension in DIMENSIONS]
    scores = ["" if r is None else r.score for r in ratings]
    levels = ["" if r is None else r.level for r in ratings]
    return [card.video, *scores, *levels, card.error or "", card.concealed, card.missing]
