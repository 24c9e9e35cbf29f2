"""predictions.parquet, the stored predictions: a row for each prompt of each video.

The file names the checkpoint and the features that it was made with; others are refused. Labels are
not stored: `expected` reads them anew from the dataset.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...dataset.questions import Question
from ...dataset.videos import Dataset, Video
from ...errors import FineVQError
from ...train.prompts import ProfileName, Prompt, prompts_for

PREDICTIONS = "predictions.parquet"

KEY = ["video", "task", "item", "question"]
"""The columns that name a prompt of a video."""

PREDICTED = [
    "prediction",
    "prediction_text",
    "weighted",
    "options",
    "probabilities",
    "generated",
    "free_text",
]
"""The columns that hold what the model said; docs/evaluation.md describes them."""

LABELLED = ["label", "label_text"]
"""The columns of the labels, which are not stored."""

FORMAT = "3"
"""Version of the file's format; a file of another version is made anew."""

FOLDER = "checkpoint_folder"
"""The key of the metadata that names the checkpoint's folder, which may be moved later."""


def expected(
    dataset: Dataset,
    videos: Iterable[Video],
    questions: Mapping[str, list[Question]],
    profile: ProfileName = "finevq",
) -> pd.DataFrame:
    """One row for each prompt of each video with its label, columns KEY and LABELLED."""
    rows = [
        key_of(video, prompt)
        | {
            "label": video.labels.get(prompt.item) if prompt.task == "score" else None,
            "label_text": prompt.answer,
        }
        for video in videos
        for prompt in prompts_for(dataset, video, questions.get(video.id, []), profile)
    ]
    return _typed(pd.DataFrame(rows, columns=KEY + LABELLED))


def table_of(rows: Iterable[Mapping[str, object]] = ()) -> pd.DataFrame:
    """A table of predictions, columns KEY and PREDICTED; their types do not depend on the rows."""
    return _typed(pd.DataFrame(list(rows), columns=KEY + PREDICTED))


def key_of(video: Video, prompt: Prompt) -> dict[str, object]:
    """The columns KEY of one prompt of a video."""
    question = prompt.text if prompt.task == "question" else None
    return {"video": video.id, "task": prompt.task, "item": prompt.item, "question": question}


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    numbers = dict.fromkeys({"prediction", "weighted", "label"} & set(table), "float64")
    numbers |= dict.fromkeys({"free_text"} & set(table), "int64")
    lists = {name: table[name].map(list) for name in ("options", "probabilities") if name in table}
    texts = {name: "string" for name in table.columns if name not in {*numbers, *lists}}
    return table.astype(numbers | texts).assign(**lists)


def read_predictions(path: Path, made_by: Mapping[str, str]) -> pd.DataFrame:
    """The stored predictions, columns KEY and PREDICTED; none if the file has an older format.

    Args:
        path: predictions.parquet, which need not exist.
        made_by: the digests that the file must name, "checkpoint" and "features"; `FOLDER` is not
            compared.

    Raises:
        FineVQError: the file is damaged, or was made by another checkpoint or on other features.
    """
    if not path.is_file():
        return table_of()
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise FineVQError(f"{path}: damaged; delete it and evaluate again") from error
    metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    if metadata.get("format") != FORMAT:
        return table_of()
    for name, digest in made_by.items():
        if name != FOLDER and (stored := metadata.get(name, "")) != digest:
            folder = metadata.get(FOLDER, "of an unknown folder")
            raise FineVQError(
                f"{path}: made with the {name} {stored[:12]} (checkpoint {folder}), not with "
                f"{digest[:12]}, and would be lost; set evaluate.out to another folder, or delete "
                "the file"
            )
    return _typed(table.to_pandas()[KEY + PREDICTED])


def write_predictions(path: Path, predictions: pd.DataFrame, made_by: Mapping[str, str]) -> None:
    """Store predictions and the digests of their origin; a reader never sees half a file."""
    table = pa.Table.from_pandas(predictions, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), **made_by, "format": FORMAT}
    table = table.replace_schema_metadata(metadata)
    part = path.with_suffix(".part")
    pq.write_table(table, part)
    part.replace(path)
