"""A subjective study's files: raw ratings and attribute labels in, a dataset out.

Ratings are long (`subject,video,dimension,score`, a row a rating) or wide (`video`, perhaps
`dimension`, and a column for each subject). Attributes are long: `subject,video,dimension,
attribute`, a row for each option that a subject ticked.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from ...errors import DatasetError
from ..manifest import write_dataset
from ..videos import DIMENSIONS, read_csv
from .ratings import Array, Index, Mask, Opinions, Ratings, Rule, opinions

NO_DISTORTION = "none"
"""The option of a subject who sees no distortion in a dimension (paper, section 3.2)."""


_NAMES = ("subject", "video", "dimension", "score")


def load_ratings(
    path: Path,
    *,
    scale: tuple[float, float] = (1.0, 5.0),
    dimension: str = "overall",
    columns: Mapping[str, str] | None = None,
    missing: str = "",
) -> Ratings:
    """Read raw ratings.

    Args:
        path: a CSV file, long where it has the columns `subject` and `score`, else wide.
        scale: lowest and highest score that could be given.
        dimension: what was rated, for a file without a column `dimension`.
        columns: the file's own names for `subject`, `video`, `dimension`, `score`.
        missing: how the file writes "not rated", beside an empty cell.

    Raises:
        DatasetError: not a UTF-8 CSV file, a column that is not there, a score that is not a number
            on the scale, an unknown dimension, a name left empty, or a rating given twice.
    """
    names = dict(zip(_NAMES, _NAMES, strict=True)) | dict(columns or {})
    header = list(read_csv(path, nrows=0).columns)
    _require(path, header, [*(columns or {}).values(), names["video"]])
    if {names["subject"], names["score"]} <= set(header):
        table = _read_long(path, names, header, missing)
    else:
        table = _read_wide(path, names, header, missing)
    if "dimension" not in table:
        table["dimension"] = pd.Categorical([dimension]).repeat(len(table))
    if table.empty:
        raise DatasetError(f"{path}: no ratings")
    score = _scores(path, table, scale)
    _check_names(path, table, ("subject", "video", "dimension"))
    subject, subjects = _codes(table["subject"])
    video, videos = _codes(table["video"])
    code, found = _codes(table["dimension"])
    dimensions = [name for name in DIMENSIONS if name in found]
    order = np.array([dimensions.index(name) for name in found], dtype=np.intp)
    ratings = Ratings(subject, video, order[code], score, subjects, videos, dimensions, scale)
    _refuse(
        path,
        table,
        _repeated(
            ratings.item * len(subjects) + subject,
            len(videos) * len(dimensions) * len(subjects),
        ),
        lambda row: (
            f"{row['subject']} rates {row['video']!r} in {row['dimension']} a second time; keep one"
        ),
    )
    return ratings


def load_attributes(path: Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The attribute labels that more than half of a video's subjects ticked.

    Args:
        path: a CSV file with the columns `subject`, `video`, `dimension`, `attribute`.
        columns: the file's own names for them.

    Returns:
        `video, dimension, attribute, votes, subjects`, videos in the order of the file; `subjects`
        counts those who labelled the video. `none` is a label like any other.

    Raises:
        DatasetError: not a UTF-8 CSV file, a missing column, an empty name, an unknown dimension,
            or an option that a subject ticks twice.
    """
    wanted = ["subject", "video", "dimension", "attribute"]
    names = dict(zip(wanted, wanted, strict=True)) | dict(columns or {})
    table = read_csv(path)
    _require(path, list(table.columns), list(names.values()))
    table = table.rename(columns={theirs: ours for ours, theirs in names.items()})
    table = table[wanted].copy()
    table["attribute"] = table["attribute"].str.strip().replace("None", NO_DISTORTION)
    _check_names(path, table, wanted)
    _refuse(
        path,
        table,
        table.duplicated().to_numpy(),
        lambda row: f"{row['subject']} ticks {row['attribute']!r} of {row['video']!r} twice",
    )
    subjects = table.groupby("video", sort=False)["subject"].nunique()
    votes = table.groupby(["video", "dimension", "attribute"], sort=False).size()
    counted = votes.rename("votes").reset_index()
    counted["subjects"] = counted["video"].map(subjects)
    return counted[2 * counted["votes"] > counted["subjects"]].reset_index(drop=True)


def write_study(
    folder: Path,
    name: str,
    root: Path,
    ratings: Ratings,
    rule: Rule,
    attributes: pd.DataFrame | None = None,
) -> Opinions:
    """Turn a study into a dataset: its MOS, its attribute labels and what was removed.

    Writes `videos.csv` and `dataset.toml`, `ratings.json` (the rule and what it did),
    `removed.csv` (every rating left out, with its reason) and, where given, `attributes.csv`.

    Args:
        folder: where to; it must not hold a dataset.
        name: of the dataset.
        root: where the videos lie.
        ratings: of the study.
        rule: one of `RULES`, or one's own.
        attributes: what `load_attributes` returned.

    Raises:
        DatasetError: the folder holds a dataset, or the rule leaves no rating.
    """
    found = opinions(ratings, rule)
    table = found.mos.round(6).reset_index()
    mos = table[list(ratings.dimensions)]
    low, high = rule.scale(ratings)
    mos_range = (min(low, float(mos.min().min())), max(high, float(mos.max().max())))
    write_dataset(folder, table, name=name, root=root, mos_range=mos_range, split="random1")
    found.removed.to_csv(folder / "removed.csv", index=False, lineterminator="\n")
    if attributes is not None:
        attributes.to_csv(folder / "attributes.csv", index=False, lineterminator="\n")
    report = {
        "rule": asdict(rule),
        "videos": len(ratings.videos),
        "subjects": len(ratings.subjects),
        "dimensions": list(ratings.dimensions),
        "ratings": len(ratings.score),
        "removed": {str(k): int(n) for k, n in found.removed["reason"].value_counts().items()},
        "outlier_share": found.outlier_share,
        "rejected_subjects": dict(found.rejected),
        "mos_range": mos_range,
        "notes": found.notes,
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / "ratings.json").write_text(text + "\n", "utf-8")
    return found


def _require(path: Path, header: list[str], names: list[str]) -> None:
    for name in names:
        if name not in header:
            raise DatasetError(
                f"{path}: no column {name!r}; the columns are {', '.join(map(repr, header))}; map "
                "them with --columns video=NAME,..."
            )


def _read_long(
    path: Path, names: Mapping[str, str], header: list[str], missing: str
) -> pd.DataFrame:
    ours = {names[name]: name for name in _NAMES if names[name] in header}
    score = names["score"]
    coded = pa.dictionary(pa.int32(), pa.string())
    try:  # names are coded while they are read: pandas takes four times as long for text
        read = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                include_columns=list(ours),
                column_types=dict.fromkeys(ours, coded) | {score: pa.float64()},
                null_values=["", missing],
            ),
        )
        rated = read[score].is_valid()
        table: pd.DataFrame = read.filter(rated).unify_dictionaries().to_pandas()
        if len(table) < len(
            rated
        ):  # a name may have no rating left; messages name rows of the file
            for name in set(ours) - {score}:
                table[name] = table[name].cat.remove_unused_categories()
            table.index = pd.Index(np.flatnonzero(rated.to_numpy()))
    except pa.ArrowInvalid:  # read it again in the way that finds out what is wrong and where
        table = read_csv(path)[list(ours)]
        table = table[~table[score].str.strip().isin(["", missing])]
    return table.rename(columns=ours)


def _read_wide(
    path: Path, names: Mapping[str, str], header: list[str], missing: str
) -> pd.DataFrame:
    ours = {names[name]: name for name in ("video", "dimension") if names[name] in header}
    table = read_csv(path).rename(columns=ours)
    table = table.melt(
        list(ours.values()), var_name="subject", value_name="score", ignore_index=False
    )
    return table[~table["score"].str.strip().isin(["", missing])]


def _scores(path: Path, table: pd.DataFrame, scale: tuple[float, float]) -> Array:
    low, high = scale
    numbers = pd.to_numeric(table["score"], errors="coerce").to_numpy(np.float64)
    _refuse(
        path,
        table,
        ~((numbers >= low) & (numbers <= high)),
        lambda row: (
            f"the score {row['score']} of {row['subject']} is not a number in [{low:g}, "
            f"{high:g}]; say the scale with --scale, and with --missing what stands for no rating"
        ),
    )
    return numbers


def _check_names(path: Path, table: pd.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        empty = (table[name] == "").to_numpy()
        _refuse(path, table, empty, partial(_no_name, name))
    _refuse(
        path,
        table,
        _unknown(table["dimension"]),
        lambda row: f"{row['dimension']!r} is not a dimension; they are {', '.join(DIMENSIONS)}",
    )


def _unknown(dimensions: "pd.Series[str]") -> Mask:
    if set(_codes(dimensions)[1]) <= set(DIMENSIONS):
        return np.zeros(len(dimensions), dtype=np.bool_)
    return ~dimensions.isin(DIMENSIONS).to_numpy()


def _no_name(name: str, row: "pd.Series[str]") -> str:
    return f"no {name}"


def _refuse(
    path: Path, table: pd.DataFrame, wrong: Mask, message: "Callable[[pd.Series[str]], str]"
) -> None:
    """Raise what the message says of the first wrong row; rows count from the header = 1."""
    if wrong.any():
        first = int(wrong.argmax())
        raise DatasetError(
            f"{path}, row {int(table.index[first]) + 2}: {message(table.iloc[first])}"
        )


def _codes(names: "pd.Series[str]") -> tuple[Index, list[str]]:
    """Positions in the list of names, which is in the order of the file."""
    if isinstance(names.dtype, pd.CategoricalDtype):  # read so, and coded in that order
        return np.asarray(names.cat.codes, dtype=np.intp), names.cat.categories.tolist()
    codes, found = pd.factorize(names)
    return codes.astype(np.intp), [str(name) for name in found]


def _repeated(codes: Index, size: int) -> Mask:
    """Which codes, of so many possible ones, were there before."""
    if size < 8 * len(codes) and np.bincount(codes, minlength=1).max() == 1:
        return np.zeros(len(codes), dtype=np.bool_)  # a tenth of the time
    return pd.Series(codes).duplicated().to_numpy()
