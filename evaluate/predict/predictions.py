"""Predictions of a checkpoint, made once for each video and stored as they come."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from accelerate import PartialState
from accelerate.utils import gather_object

from ...dataset.questions import Question
from ...dataset.videos import Dataset, Video
from ...train.prompts import ProfileName, prompts_for
from .predictor import Answer, Predictor
from .stored import KEY, key_of, table_of, write_predictions

Progress = Callable[[int, int], None]
"""Called with the number of finished videos and their total."""

STORE_EVERY = 256
"""Videos after which new predictions are stored, so that a run that was stopped can go on."""


def unpredicted(
    expected: pd.DataFrame, predictions: pd.DataFrame, videos: Sequence[Video]
) -> list[Video]:
    """The videos with a prompt that has no prediction yet.

    Args:
        expected: a row for each prompt, with the columns KEY.
        predictions: those that are stored.
        videos: to choose from.
    """
    rows = expected[KEY].merge(predictions[KEY], on=KEY, how="left", indicator=True)
    lacking = set(rows.loc[rows["_merge"] == "left_only", "video"])
    return [video for video in videos if video.id in lacking]


def predict(
    predictor: Predictor,
    dataset: Dataset,
    videos: Sequence[Video],
    questions: Mapping[str, list[Question]],
    read: Callable[[str], tuple[np.ndarray, np.ndarray]],
    profile: ProfileName = "finevq",
    videos_per_batch: int = 1,
) -> Iterator[pd.DataFrame]:
    """Answer the prompts of videos; of several processes each answers its share of them.

    Args:
        predictor: on this process's device.
        dataset: which the videos belong to.
        videos: in the order of the predictions.
        questions: by video id.
        read: gives a video's spatial and motion features, by its id.
        profile: in which prompts are worded.
        videos_per_batch: of one process.

    Yields:
        A table for each batch, or for one batch of each process, in all processes the same: columns
        KEY and PREDICTED, scores on the dataset's scale, videos in order.
    """
    state = PartialState()
    at_once = videos_per_batch * state.num_processes
    for start in range(0, len(videos), at_once):
        with state.split_between_processes(list(videos[start : start + at_once])) as batch:
            inputs = [
                (*read(video.id), prompts_for(dataset, video, questions.get(video.id, []), profile))
                for video in batch
            ]
            rows = [
                _row(dataset, video, answer) | {"free_text": predictor.free_text}
                for video, answers in zip(batch, predictor.answer_all(inputs), strict=True)
                for answer in answers
            ]
        yield table_of(gather_object(rows))


def store_as_they_come(
    path: Path,
    made_by: Mapping[str, str],
    stored: pd.DataFrame,
    new: Iterable[pd.DataFrame],
    videos: int,
    progress: Progress,
) -> pd.DataFrame:
    """Add new predictions to the stored ones, and write both every `STORE_EVERY` videos.

    Args:
        path: predictions.parquet.
        made_by: as `write_predictions` takes it.
        stored: the predictions to keep.
        new: of `predict`.
        videos: how many have new predictions.
        progress: called after each batch.

    Returns:
        All predictions.
    """
    tables, done, written = [stored], 0, 0
    progress(0, videos)
    for table in new:
        tables.append(table)
        done += table["video"].nunique()
        progress(done, videos)
        if done - written >= STORE_EVERY or done == videos:
            tables, written = [pd.concat(tables, ignore_index=True)], done
            write_predictions(path, tables[0], made_by)
    return tables[0]


def _row(dataset: Dataset, video: Video, answer: Answer) -> dict[str, object]:
    rated = answer.prompt.task == "score"
    return key_of(video, answer.prompt) | {
        "prediction": dataset.mos(answer.score) if rated else None,
        "prediction_text": answer.choice,
        "weighted": dataset.mos(answer.weighted) if rated else None,
        "options": list(answer.prompt.options),
        "probabilities": list(answer.probabilities),
        "generated": answer.generated,
    }
