"""Predictions: one video at a time, so that nothing beside it matters; and their file."""

from pathlib import Path
from types import MethodType

import numpy as np
import pandas as pd
import pytest
import torch

from finevq.dataset.questions import LEVELS, load_questions
from finevq.dataset.videos import DIMENSIONS, Dataset
from finevq.errors import CheckpointError, FineVQError
from finevq.evaluate.predict import stored as stored_module
from finevq.evaluate.predict.predictions import predict
from finevq.evaluate.predict.predictor import Predictor
from finevq.evaluate.predict.stored import (
    FOLDER,
    KEY,
    LABELLED,
    PREDICTED,
    expected,
    read_predictions,
    table_of,
    write_predictions,
)
from finevq.train.base.language_model import load_base
from finevq.train.model.checkpoint import build_model
from finevq.train.model.finevq import FineVQ
from finevq.train.model.packing import Layout
from finevq.train.prompts import prompts_for, rating

MADE_BY = {"checkpoint": "c" * 64, "features": "f" * 64}


@pytest.fixture(scope="module")
def predictor(made_info) -> Predictor:
    torch.manual_seed(0)
    base = load_base(made_info.base, made_info.precision)
    return Predictor(*build_model(made_info, base), torch.device("cpu"))


@pytest.fixture
def dataset(make_dataset) -> Dataset:
    return make_dataset({"test": 4})


@pytest.fixture
def read(dataset, make_store):
    return make_store(dataset.ids).read


def run(predictor: Predictor, dataset: Dataset, read, videos, per_batch=1) -> pd.DataFrame:
    questions = load_questions(dataset)
    tables = predict(predictor, dataset, videos, questions, read, videos_per_batch=per_batch)
    return pd.concat(tables, ignore_index=True)


def assert_close(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """The same rows in any order; scores and probabilities within 1e-5 of the scale."""
    sort = {"by": KEY, "ignore_index": True}
    found, wanted = found.sort_values(**sort), wanted.sort_values(**sort)
    pd.testing.assert_frame_equal(found[KEY], wanted[KEY])
    for column in ("prediction", "weighted"):
        np.testing.assert_allclose(found[column], wanted[column], rtol=0, atol=1e-3)  # of 0 to 100
    for mine, theirs in zip(found["probabilities"], wanted["probabilities"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("per_batch", [1, 2, 3, 4])
def test_batch_size_order_and_company_do_not_change_the_numbers(
    predictor, dataset, read, per_batch: int
) -> None:
    videos = list(dataset)  # of which every other has questions: their lengths differ
    alone = pd.concat([run(predictor, dataset, read, [video]) for video in videos])
    assert_close(run(predictor, dataset, read, videos, per_batch), alone)
    assert_close(run(predictor, dataset, read, videos[::-1], per_batch), alone)


@pytest.mark.parametrize("per_batch", [1, 3])
def test_division_into_sequences_does_not_change_the_numbers(
    predictor, dataset, read, monkeypatch, per_batch: int
) -> None:
    whole = run(predictor, dataset, read, list(dataset))
    lengths = []

    def forward(self, input_ids, **batch):
        lengths.append(input_ids.shape[1])
        assert len(input_ids) <= per_batch
        return FineVQ.forward(self, input_ids=input_ids, **batch)

    monkeypatch.setattr(predictor.model, "forward", MethodType(forward, predictor.model))
    monkeypatch.setattr(predictor, "max_tokens", 120)  # a prefix and one or two prompts
    divided = run(predictor, dataset, read, list(dataset), per_batch)
    assert len(lengths) > len(dataset) / per_batch
    assert max(lengths) <= 120
    pd.testing.assert_frame_equal(divided[KEY], whole[KEY])
    assert_close(divided, whole)


def test_a_prompt_that_fits_into_no_sequence_names_the_setting(
    predictor, dataset, read, monkeypatch
) -> None:
    monkeypatch.setattr(predictor, "max_tokens", 60)
    with pytest.raises(CheckpointError, match=r"set train\.max_tokens = 60 to as many$"):
        run(predictor, dataset, read, list(dataset))


def test_probabilities_are_of_the_options_and_sum_to_one(predictor, dataset, read) -> None:
    table = run(predictor, dataset, read, list(dataset))
    for row in table.itertuples():
        assert len(row.options) == len(row.probabilities)
        assert sum(row.probabilities) == pytest.approx(1)
        assert row.prediction_text == row.options[int(np.argmax(row.probabilities))]
    offered = {tuple(options) for options in table["options"]}
    assert offered == {LEVELS, ("Yes", "No"), ("A", "B", "C")}


def test_the_second_reading_weighs_the_level_words(predictor, dataset, read) -> None:
    for row in run(predictor, dataset, read, list(dataset)).itertuples():
        if row.task == "score":
            middles = np.array([10.0, 30.0, 50.0, 70.0, 90.0])
            assert row.weighted == pytest.approx(middles @ row.probabilities)
        else:
            assert np.isnan(row.weighted)


def test_predictions_differ_from_video_to_video(predictor, dataset, read) -> None:
    scores = run(predictor, dataset, read, list(dataset)).query("task == 'score'")
    assert scores["prediction"].nunique() == len(scores)


def test_every_prompt_of_a_video_is_answered(predictor, dataset, read) -> None:
    table = run(predictor, dataset, read, list(dataset))
    assert list(table.columns) == KEY + PREDICTED
    wanted = expected(dataset, list(dataset), load_questions(dataset))
    assert list(wanted.columns) == KEY + LABELLED
    pd.testing.assert_frame_equal(table[KEY], wanted[KEY])
    for _, rows in table[table["task"] == "score"].groupby("video"):
        assert tuple(rows["item"]) == DIMENSIONS
    scores, answers = table.query("task == 'score'"), table.query("task == 'question'")
    assert scores["prediction"].notna().all()
    assert len(answers) == 4  # two questions on two of the four videos
    assert answers["prediction"].isna().all()
    assert set(answers["prediction_text"]) <= {"Yes", "No", "A", "B", "C"}


def test_scores_are_on_the_dataset_scale(predictor, dataset, read) -> None:
    video = dataset.videos[1]
    table = run(predictor, dataset, read, [video])
    answers = predictor.answer(*read(video.id), prompts_for(dataset, video, []))
    np.testing.assert_allclose(table["prediction"], [100 * a.score for a in answers])
    assert 0.2 < answers[0].score < 0.8  # an untrained head starts in the middle


def test_choice_is_the_option_with_the_highest_logit(predictor, dataset, read) -> None:
    prompt = rating("blur")
    spatial, motion = read(dataset.ids[0])
    (answer,) = predictor.answer(spatial, motion, [prompt])
    packer, model = predictor.packer, predictor.model
    packed = packer.pack(Layout(2, 4, 1), [prompt], learn=False)
    with torch.no_grad():
        hidden = model(
            spatial=torch.from_numpy(spatial)[None],
            motion=torch.from_numpy(motion)[None],
            input_ids=packed.input_ids[None],
            positions=packed.positions[None],
            segments=packed.segments[None],
            decisions=packed.decisions[None],
        ).decisions[0, 0]
        logits = model.vocabulary(hidden)[packer.option_ids(prompt)]
    assert answer.choice == prompt.options[int(logits.argmax())]
    np.testing.assert_allclose(answer.probabilities, logits.softmax(-1), atol=1e-6)


def test_labels_do_not_reach_the_model(predictor, dataset, read, make_dataset) -> None:
    before = run(predictor, dataset, read, list(dataset))
    other = make_dataset({"test": 4}, labels={"test0.mp4": {"blur": 99.0}})
    after = run(predictor, other, read, list(other))
    pd.testing.assert_frame_equal(after, before, check_exact=True)


@pytest.mark.parametrize("free_text", [0, 2])
def test_predictions_come_back_from_their_file(
    predictor, dataset, read, tmp_path: Path, monkeypatch, free_text: int
) -> None:
    monkeypatch.setattr(predictor, "free_text", free_text)
    table = run(predictor, dataset, read, list(dataset))
    assert table["generated"].isna().all() == (free_text == 0)
    path = tmp_path / "predictions.parquet"
    write_predictions(path, table, MADE_BY)
    pd.testing.assert_frame_equal(read_predictions(path, MADE_BY), table, check_exact=True)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [path.name]


@pytest.mark.parametrize("key", MADE_BY)
def test_predictions_of_others_are_refused_by_name(tmp_path: Path, key: str) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(path, table_of(), MADE_BY | {FOLDER: "runs/a"})
    with pytest.raises(FineVQError) as refused:
        read_predictions(path, MADE_BY | {key: "0" * 64, FOLDER: "runs/b"})
    words = (str(path), f"{key} {MADE_BY[key][:12]}", "runs/a", "evaluate.out")
    assert all(word in str(refused.value) for word in words)
    assert "\n" not in str(refused.value)


def test_the_folder_of_a_checkpoint_may_be_moved(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(path, table_of(), MADE_BY | {FOLDER: "runs/a"})
    assert read_predictions(path, MADE_BY | {FOLDER: "runs/b"}).empty


def test_predictions_of_an_older_format_are_made_anew(
    predictor, dataset, read, tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "predictions.parquet"
    table = run(predictor, dataset, read, list(dataset))
    with monkeypatch.context() as earlier:
        earlier.setattr(stored_module, "FORMAT", "2")
        write_predictions(path, table, MADE_BY | {"checkpoint": "0" * 64})
    found = read_predictions(path, MADE_BY)
    assert found.empty
    assert list(found.columns) == KEY + PREDICTED


def test_no_file_is_no_predictions(tmp_path: Path) -> None:
    assert read_predictions(tmp_path / "predictions.parquet", MADE_BY).empty
