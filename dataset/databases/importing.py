"""From a public database on disk to a dataset's folder, with a report of what differs.

Labels that have no video file and video files that have no label are listed, never dropped in
silence: the rows stay, and extraction records the missing files as failed.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ...errors import DatasetError
from ..manifest import refuse_existing
from ..videos import DIMENSIONS
from .label_files import read_table
from .official import read_official
from .published import DATABASES, Database
from .report import ImportReport
from .writing import write_import

FINEVD_VIDEOS = 6_104
"""Published number of videos of FineVD (paper, section 3.1)."""


def import_database(
    name: str, folder: Path, out: Path, labels: list[Path] | None = None
) -> ImportReport:
    """Import one of `DATABASES`, or FineVD or other data in the official JSON lines.

    Args:
        name: a key of `DATABASES`, "finevd" or "official".
        folder: holds the label files and, at any depth, the videos.
        out: the new dataset's folder.
        labels: the official files to read; all *.jsonl below the folder if not given.

    Raises:
        DatasetError: the name is unknown, label files are missing or wrong, or `out` holds a
            dataset.
    """
    refuse_existing(out / "videos.csv")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    if name in ("finevd", "official"):
        return _import_official(name, folder, out, labels)
    if name not in DATABASES:
        known = ", ".join([*DATABASES, "finevd", "official", "csv"])
        raise DatasetError(f"no importer {name!r}; there are {known}")
    database = DATABASES[name]
    report = ImportReport(name)
    table = _read_labels(name, database, folder, report)
    report.published["videos"] = database.videos
    write_import(table, folder, out, report, database.mos_range, database.name_until)
    return report


def import_csv(
    file: Path,
    folder: Path,
    out: Path,
    columns: Mapping[str, str],
    mos_range: tuple[float, float],
) -> ImportReport:
    """Import any CSV file with a header.

    Args:
        file: the labels.
        folder: holds the videos, at any depth.
        out: the new dataset's folder.
        columns: the file's names for `video`, for each dimension that it has, and for `category`
            and `part` (train, val, test) if it has them.
        mos_range: lowest and highest MOS.

    Raises:
        DatasetError: a column is missing, a MOS is not a number in the range, a part is unknown, a
            video is labelled twice, or `out` holds a dataset.
    """
    refuse_existing(out / "videos.csv")
    known = {"video", *DIMENSIONS, "category", "part"}
    if "video" not in columns or not known >= set(columns):
        raise DatasetError(f"--columns must map video, and may map {', '.join(sorted(known))}")
    text = [name for name in ("category",) if name in columns]
    table = read_table(file, columns, text=text)
    report = ImportReport("csv", rows={file.name: len(table)})
    write_import(table, folder, out, report, mos_range)
    return report


def _read_labels(name: str, database: Database, folder: Path, report: ImportReport) -> pd.DataFrame:
    """The labels of the first layout whose files are all there."""
    for layout in database.layouts:
        paths = [sorted(folder.rglob(file.pattern)) for file in layout]
        if all(paths):
            break
    else:
        wanted = "; or ".join(", ".join(f.pattern for f in files) for files in database.layouts)
        raise DatasetError(f"{folder}: no label files of {name}; they are called {wanted}")
    tables = []
    for file, found in zip(layout, paths, strict=True):
        if len(found) > 1:
            raise DatasetError(f"{found[0]} and {found[1]}: two files for {file.pattern}; keep one")
        table = file.read(found[0])
        if file.part:
            table["part"] = file.part
        report.rows[found[0].name] = len(table)
        if file.size:
            report.published[found[0].name] = file.size
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _import_official(name: str, folder: Path, out: Path, labels: list[Path] | None) -> ImportReport:
    paths = labels or sorted(folder.rglob("*.jsonl"))
    if not paths:
        raise DatasetError(f"{folder}: no *.jsonl files")
    official = read_official(paths)
    report = ImportReport(name, rows=official.rows, notes=official.notes)
    if name == "finevd":
        report.published["videos"] = FINEVD_VIDEOS
    rows = [
        {"video": video, **mos, "part": official.parts.get(video, "")}
        for video, mos in official.labels.items()
    ]
    path_of = write_import(pd.DataFrame(rows), folder, out, report, (0, 100))
    if official.questions:
        lines = (
            json.dumps(question | {"video": path_of[question["video"]]}, ensure_ascii=False)
            for question in official.questions
        )
        (out / "questions.jsonl").write_text("".join(line + "\n" for line in lines), "utf-8")
    return report
