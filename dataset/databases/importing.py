"""From a public database on disk to a dataset's folder, with a report of what differs.

Labels that have no video file and video files that have no label are listed, never dropped in
silence: the rows stay, and extraction records the missing files as failed.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from ...errors import DatasetError
from ..manifest import refuse_existing, write_dataset
from ..videos import DIMENSIONS
from .official import read_official
from .published import DATABASES, TEST_1080P, Database, read_table

VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".avi", ".mov", ".webm", ".flv", ".m4v", ".wmv"),
    *(".ts", ".y4m", ".yuv", ".mpg", ".mpeg", ".3gp", ".gif"),
)

FINEVD_VIDEOS = 6_104
"""Published number of videos of FineVD (paper, section 3.1)."""

SPLIT = "public"
"""The split that the labels come with; LSVQ's second test set makes `public-1080p`."""


@dataclass
class Imported:
    """What an import found; `import.json` holds the same.

    Attributes:
        database: its name.
        rows: labels or lines of each label file.
        published: rows that a file, or the whole, must have, where that is known.
        videos: in the manifest.
        labels: of each dimension.
        parts: videos of each part of the public split.
        labels_without_video, videos_without_label: names, relative to the root.
        notes: what differs, a sentence each.
    """

    database: str
    rows: dict[str, int] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)
    videos: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    labels_without_video: list[str] = field(default_factory=list)
    videos_without_label: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_database(
    name: str, folder: Path, out: Path, labels: list[Path] | None = None
) -> Imported:
    """Import one of `DATABASES`, or FineVD or other data in the official JSON lines.

    Args:
        name: a key of `DATABASES`, "finevd" or "official".
        folder: holds the label files and, at any depth, the videos.
        out: the new dataset's folder.
        labels: the official files to read; all *.jsonl below the folder if not given.

    Raises:
        DatasetError: an unknown name, label files that are missing or wrong, or a dataset in `out`.
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
    report = Imported(name)
    table = _read_layout(name, database, folder, report)
    report.published["videos"] = database.videos
    return _write(table, folder, out, report, database.mos_range, until=database.name_until)


def import_csv(
    file: Path,
    folder: Path,
    out: Path,
    columns: Mapping[str, str],
    mos_range: tuple[float, float],
) -> Imported:
    """Import any CSV file with a header.

    Args:
        file: the labels.
        folder: holds the videos, at any depth.
        out: the new dataset's folder.
        columns: the file's names for `video`, for each dimension that it has, and for `category`
            and `part` (train, val, test) where it has them.
        mos_range: lowest and highest MOS.

    Raises:
        DatasetError: a column that is not there, a MOS that is not a number in the range, an
            unknown part, a video twice, or a dataset in `out`.
    """
    refuse_existing(out / "videos.csv")
    known = {"video", *DIMENSIONS, "category", "part"}
    if "video" not in columns or not known >= set(columns):
        raise DatasetError(f"--columns must map video, and may map {', '.join(sorted(known))}")
    text = [name for name in ("category",) if name in columns]
    table = read_table(file, columns, text=text)
    report = Imported("csv", rows={file.name: len(table)})
    return _write(table, folder, out, report, mos_range)


def _read_layout(name: str, database: Database, folder: Path, report: Imported) -> pd.DataFrame:
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


def _import_official(name: str, folder: Path, out: Path, labels: list[Path] | None) -> Imported:
    paths = labels or sorted(folder.rglob("*.jsonl"))
    if not paths:
        raise DatasetError(f"{folder}: no *.jsonl files")
    found = read_official(paths)
    report = Imported(name, rows=found.rows, notes=found.notes)
    if name == "finevd":
        report.published["videos"] = FINEVD_VIDEOS
    rows = [
        {"video": v, **labels, "part": found.parts.get(v, "")} for v, labels in found.labels.items()
    ]
    names: dict[str, str] = {}
    imported = _write(pd.DataFrame(rows), folder, out, report, (0, 100), names=names)
    if found.questions:
        lines = (
            json.dumps(question | {"video": names[question["video"]]}, ensure_ascii=False)
            for question in found.questions
        )
        (out / "questions.jsonl").write_text("".join(line + "\n" for line in lines), "utf-8")
    return imported


def _write(
    table: pd.DataFrame,
    folder: Path,
    out: Path,
    report: Imported,
    mos_range: tuple[float, float],
    *,
    until: str = "",
    names: dict[str, str] | None = None,
) -> Imported:
    """Write the dataset and its report; `names` is filled with each label's video."""
    _check(table, mos_range)
    paths = names if names is not None else {}
    paths.update(_located(table["video"], folder, until, report))
    videos = table.assign(video=table["video"].map(paths))
    if (videos["video"] != table["video"]).any():
        videos["label_name"] = table["video"]
    order = ["video", *(d for d in DIMENSIONS if d in table)]
    rest = [name for name in videos.columns if name not in (*order, "part")]
    report.videos = len(table)
    report.labels = {d: int(table[d].notna().sum()) for d in order[1:]}
    splits = _splits(videos)
    write_dataset(
        out,
        videos[[*order, *rest]],
        name=out.absolute().name,
        root=folder,
        mos_range=mos_range,
        split=next(iter(splits), "random1"),
    )
    for split, parts in splits.items():
        (out / "splits").mkdir(exist_ok=True)
        parts.to_csv(out / "splits" / f"{split}.csv", index=False, lineterminator="\n")
    if "part" in videos:
        counted = Counter(part for part in videos["part"] if part)
        report.parts = dict(sorted(counted.items()))
    report.notes = [*_differences(report), *report.notes]
    text = json.dumps(asdict(report), indent=2, ensure_ascii=False)
    (out / "import.json").write_text(text + "\n", "utf-8")
    return report


def _check(table: pd.DataFrame, mos_range: tuple[float, float]) -> None:
    twice = table["video"][table["video"].duplicated()]
    if len(twice):
        raise DatasetError(f"{twice.iloc[0]!r} and {len(twice) - 1} more videos are labelled twice")
    low, high = mos_range
    for dimension in DIMENSIONS:
        if dimension in table:
            wrong = table[dimension].notna() & ~table[dimension].between(low, high)
            if wrong.any():
                row = table[wrong].iloc[0]
                raise DatasetError(
                    f"{row['video']!r} has the MOS {row[dimension]:g} in {dimension}, not in "
                    f"[{low:g}, {high:g}]"
                )


def _splits(videos: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The splits that the labels come with: one, and another for a second test set."""
    if "part" not in videos:
        return {}
    parts = videos[["video", "part"]]
    unknown = set(parts["part"]) - {"train", "val", "test", TEST_1080P, ""}
    if unknown:
        raise DatasetError(f"the part {min(unknown)!r} is not train, val or test")
    found = {SPLIT: parts[parts["part"].isin(["train", "val", "test"])]}
    if (parts["part"] == TEST_1080P).any():
        second = parts[parts["part"].isin(["train", TEST_1080P])]
        found[f"{SPLIT}-1080p"] = second.replace(TEST_1080P, "test")
    return {name: table for name, table in found.items() if len(table)}


def _located(names: "pd.Series[str]", folder: Path, until: str, report: Imported) -> dict[str, str]:
    """The video file of each label: by its path, else by its name, else by its stem.

    A label without a file keeps its own name.
    """
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
    )
    by_name = _unique(files, lambda path: PurePosixPath(path).name)
    by_stem = _unique(files, lambda path: PurePosixPath(path).stem)
    by_start = (
        _unique(files, lambda path: PurePosixPath(path).stem.split(until)[0]) if until else {}
    )
    known = set(files)
    found: dict[str, str] = {}
    for name in names:
        plain = PurePosixPath(name)
        path = name if name in known else by_name.get(plain.name) or by_stem.get(plain.stem)
        path = path or by_start.get(plain.stem.split(until)[0] if until else "")
        found[name] = path or name
        if not path:
            report.labels_without_video.append(name)
    taken = Counter(found.values())
    double = next((path for path, count in taken.items() if count > 1), None)
    if double:
        raise DatasetError(f"{folder / double}: two labels name this file")
    report.videos_without_label = [path for path in files if path not in taken]
    return found


def _unique(files: Iterable[str], key: Callable[[str], str]) -> dict[str, str]:
    """The files by a key that only one of them has."""
    groups: dict[str, list[str]] = {}
    for path in files:
        groups.setdefault(key(path), []).append(path)
    return {name: paths[0] for name, paths in groups.items() if len(paths) == 1}


def _differences(report: Imported) -> list[str]:
    """What is not as published, and what has no counterpart on disk."""
    found = report.rows | {"videos": report.videos}
    notes = [
        f"{name}: {found[name]}, published are {size} ({found[name] - size:+})"
        for name, size in report.published.items()
        if found[name] != size
    ]
    for names, what in (
        (report.labels_without_video, "labels without a video file"),
        (report.videos_without_label, "video files without a label"),
    ):
        if names:
            notes.append(f"{len(names)} {what}, such as {names[0]} (all in import.json)")
    return notes
