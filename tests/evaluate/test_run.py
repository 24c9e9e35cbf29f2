"""Evaluation: what is predicted is kept, and what changed is seen."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from finevq.dataset.videos import Dataset
from finevq.errors import CheckpointError, DatasetError, FineVQError, IdentityMismatch, StoreError
from finevq.evaluate import run
from finevq.evaluate.predict import predictions as predictions_module
from finevq.evaluate.predict.stored import KEY, PREDICTED
from finevq.evaluate.rounds import evaluate_rounds
from finevq.evaluate.run import evaluate
from finevq.evaluate.settings import EvaluateSettings
from finevq.train.base.language_model import load_base
from finevq.train.fit.training_set import write_training_set
from finevq.train.model.checkpoint import build_model, save_checkpoint

PARTS = {"train": 2, "val": 3, "test": 5}


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("no prediction is to be made")


@pytest.fixture(scope="module")
def checkpoints(made_info, tmp_path_factory) -> list[Path]:
    """Two that differ in their weights."""
    folders = [tmp_path_factory.mktemp("checkpoint") for _ in range(2)]
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        model, _ = build_model(made_info, load_base(made_info.base, made_info.precision))
        save_checkpoint(model, made_info, folder)
    return folders


@pytest.fixture
def dataset(make_dataset) -> Dataset:
    return make_dataset(PARTS)


@pytest.fixture
def store(dataset, make_store):
    return make_store(dataset.ids)


@pytest.fixture
def settings(tmp_path: Path) -> EvaluateSettings:
    return EvaluateSettings(
        out=tmp_path / "evaluation", part="test", videos_per_batch=2, free_text=0
    )


@pytest.fixture
def no_model(monkeypatch) -> None:
    """Call it: from then on no checkpoint can be loaded."""
    return lambda: monkeypatch.setattr(run, "load_checkpoint", refuse)


def predictions(settings: EvaluateSettings) -> pd.DataFrame:
    return pd.read_parquet(settings.out / "predictions.parquet")


def test_results_are_written_and_the_same_a_second_time_without_a_model(
    dataset, store, checkpoints, settings, no_model
) -> None:
    reported = []
    metrics = evaluate(
        dataset, store, checkpoints[0], settings, progress=lambda *at: reported.append(at)
    )
    assert reported == [(0, 5), (2, 5), (4, 5), (5, 5)]
    names = ("predictions.parquet", "metrics.json", "report.html")
    before = {name: (settings.out / name).read_bytes() for name in names}
    assert {file.name for file in settings.out.iterdir()} == {*names, "figures"}
    assert list(predictions(settings)) == KEY + PREDICTED
    no_model()
    again = evaluate(dataset, store, checkpoints[0], settings, progress=refuse)
    assert again == metrics
    assert (settings.out / names[0]).read_bytes() == before[names[0]]


def test_metrics_json_is_strict_json_of_what_is_returned(
    dataset, store, checkpoints, settings
) -> None:
    metrics = evaluate(dataset, store, checkpoints[0], settings)
    assert metrics["dataset"] == "made"
    text = (settings.out / "metrics.json").read_text("utf-8")
    assert json.loads(text, parse_constant=refuse) == metrics
    assert (metrics["split"], metrics["part"]) == ("parts", "test")
    assert metrics["coverage"] == {"predicted": 5, "labelled": 5, "failed": [], "missing": []}
    assert metrics["questions"].keys() == {"yes-no noise", "which exists"}


def test_another_split_of_predicted_videos_needs_no_model(
    dataset, store, checkpoints, settings, no_model
) -> None:
    evaluate(dataset, store, checkpoints[0], settings)
    lines = [f"test{index}.mp4,{'val' if index < 3 else 'test'}" for index in range(5)]
    split = dataset.settings.folder / "splits" / "parts.csv"
    split.write_text("\n".join(["video,part", *lines]) + "\n")
    no_model()
    val = settings.model_copy(update={"part": "val"})
    found = evaluate(dataset, store, checkpoints[0], val, results=settings.out / "parts-val")
    assert found["dimensions"]["blur"]["n"] == 3
    assert len(predictions(settings)["video"].unique()) == 5  # none is thrown away


def test_only_videos_without_predictions_are_predicted(
    dataset, store, checkpoints, settings
) -> None:
    evaluate(dataset, store, checkpoints[0], settings)
    reported = []
    val = settings.model_copy(update={"part": "val"})
    elsewhere = settings.out / "parts-val"
    evaluate(
        dataset,
        store,
        checkpoints[0],
        val,
        results=elsewhere,
        progress=lambda *at: reported.append(at),
    )
    assert reported[-1] == (3, 3)
    assert len(predictions(settings)["video"].unique()) == 8


def test_parts_evaluated_one_by_one_have_the_metrics_of_each_alone(
    dataset, store, checkpoints, settings
) -> None:
    val = settings.model_copy(update={"part": "val"})
    evaluate(dataset, store, checkpoints[0], val, results=settings.out / "parts-val")
    after = evaluate(dataset, store, checkpoints[0], settings)
    elsewhere = settings.model_copy(update={"out": settings.out.with_name("alone")})
    assert evaluate(dataset, store, checkpoints[0], elsewhere) == after


def test_free_text_that_is_asked_for_later_is_written_beside_the_same_predictions(
    dataset, store, checkpoints, settings, no_model
) -> None:
    metrics = evaluate(dataset, store, checkpoints[0], settings)
    before = predictions(settings)
    assert before["generated"].isna().all()
    reported = []
    asked = settings.model_copy(update={"free_text": 3})
    again = evaluate(
        dataset, store, checkpoints[0], asked, progress=lambda *at: reported.append(at)
    )
    assert reported[-1] == (5, 5)
    assert again == metrics
    after = predictions(settings)
    assert after["generated"].notna().all()
    without = ["generated", "free_text"]
    pd.testing.assert_frame_equal(after.drop(columns=without), before.drop(columns=without))
    no_model()
    for fewer in (settings, asked, settings.model_copy(update={"free_text": 2})):
        evaluate(dataset, store, checkpoints[0], fewer)
    pd.testing.assert_frame_equal(predictions(settings), after)


def test_text_that_a_lower_limit_may_have_cut_is_written_anew(
    dataset, store, checkpoints, settings
) -> None:
    for limit in (1, 4):
        asked = settings.model_copy(update={"free_text": limit})
        evaluate(dataset, store, checkpoints[0], asked)
    elsewhere = asked.model_copy(update={"out": settings.out.with_name("once")})
    evaluate(dataset, store, checkpoints[0], elsewhere)
    pd.testing.assert_frame_equal(predictions(settings), predictions(elsewhere))


def test_changed_labels_are_measured_without_a_model(
    dataset, store, checkpoints, settings, no_model, make_dataset
) -> None:
    evaluate(dataset, store, checkpoints[0], settings)
    kept = predictions(settings)
    blur = kept[kept["item"] == "blur"].sort_values("prediction").head(4)
    labels = {
        video.removeprefix("made/"): {"blur": 10.0 * rank}
        for rank, video in enumerate(blur["video"])
    }
    relabelled = make_dataset(PARTS, labels=labels)
    no_model()
    after = evaluate(relabelled, store, checkpoints[0], settings)
    assert after["dimensions"]["blur"]["n"] == 4
    assert after["dimensions"]["blur"]["srcc"] == pytest.approx(1)
    assert after["dimensions"]["color"]["srcc"] is None
    assert after["coverage"]["labelled"] == 4
    pd.testing.assert_frame_equal(predictions(settings), kept)


def test_new_question_is_predicted_for_its_video_alone(
    dataset, store, checkpoints, settings, make_dataset
) -> None:
    evaluate(dataset, store, checkpoints[0], settings)
    text = "Is there blur in the video? Please answer [Yes] or [No]."
    asked = make_dataset(PARTS, questions=[("test1.mp4", text, "No")])
    reported = []
    metrics = evaluate(
        asked, store, checkpoints[0], settings, progress=lambda *at: reported.append(at)
    )
    assert reported[-1] == (1, 1)
    assert metrics["questions"].keys() == {"yes-no blur"}
    assert metrics["questions"]["yes-no blur"]["n"] == 1


def test_failed_video_is_listed_with_its_reason(dataset, make_store, checkpoints, settings) -> None:
    store = make_store(dataset.ids, failed=["made/test2.mp4", "made/train0.mp4"])
    metrics = evaluate(dataset, store, checkpoints[0], settings)
    assert metrics["coverage"] == {
        "predicted": 4,
        "labelled": 5,
        "failed": [{"video": "made/test2.mp4", "reason": "no frames"}],
        "missing": [],
    }
    assert "made/test2.mp4" not in set(predictions(settings)["video"])
    blur = metrics["dimensions"]["blur"]
    assert (blur["n"], blur["labelled"]) == (4, 5)


def test_predictions_of_another_checkpoint_are_refused_and_kept(
    dataset, store, checkpoints, settings, no_model
) -> None:
    evaluate(dataset, store, checkpoints[0], settings)
    before = (settings.out / "predictions.parquet").read_bytes()
    no_model()
    with pytest.raises(FineVQError, match=rf"checkpoint {re.escape(str(checkpoints[0]))}\), not"):
        evaluate(dataset, store, checkpoints[1], settings)
    assert (settings.out / "predictions.parquet").read_bytes() == before


@pytest.mark.parametrize("changed", [{"part": "val"}, {"split": "other"}, {"name": "renamed"}])
def test_the_metrics_of_another_evaluation_are_refused_and_kept(
    dataset, store, checkpoints, settings, changed
) -> None:
    evaluate(dataset, store, checkpoints[0], settings)
    path = settings.out / "metrics.json"
    there = json.loads(path.read_text()) | {
        "dataset" if key == "name" else key: value for key, value in changed.items()
    }
    path.write_text(json.dumps(there))
    with pytest.raises(FineVQError, match=r"would overwrite; name them with --split and --part"):
        evaluate(dataset, store, checkpoints[0], settings)
    assert json.loads(path.read_text()) == there


def test_half_a_file_of_metrics_is_written_anew(dataset, store, checkpoints, settings) -> None:
    settings.out.mkdir()
    (settings.out / "metrics.json").write_text('{"split": "pa')
    metrics = evaluate(dataset, store, checkpoints[0], settings)
    assert json.loads((settings.out / "metrics.json").read_text()) == metrics


def test_store_of_other_features_is_refused(dataset, make_store, checkpoints, settings) -> None:
    store = make_store(dataset.ids, content={"spatial": {"weights": "0" * 64}})
    with pytest.raises(IdentityMismatch, match=r"not those that the checkpoint .*spatial"):
        evaluate(dataset, store, checkpoints[0], settings)


def test_videos_that_are_not_extracted_yet_are_an_error(
    dataset, make_store, checkpoints, settings
) -> None:
    store = make_store(dataset.ids[:-1])
    with pytest.raises(StoreError, match=r"1 of 5 videos of the part test .* made/test4\.mp4"):
        evaluate(dataset, store, checkpoints[0], settings)


def test_part_without_videos_is_an_error(make_dataset, make_store, checkpoints, settings) -> None:
    dataset = make_dataset({"train": 2})
    with pytest.raises(DatasetError, match="split parts has no videos in the part test"):
        evaluate(dataset, make_store(dataset.ids), checkpoints[0], settings)


def test_prompts_longer_than_a_sequence_are_an_error(dataset, store, checkpoints, settings) -> None:
    with pytest.raises(CheckpointError, match=r"set train\.max_tokens = 50 to as many"):
        evaluate(dataset, store, checkpoints[0], settings, max_tokens=50)


def test_missing_checkpoint_is_an_error(dataset, store, settings, tmp_path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        evaluate(dataset, store, tmp_path / "none", settings)


def test_a_run_that_was_stopped_goes_on_with_the_videos_that_are_left(
    dataset, store, checkpoints, settings, monkeypatch
) -> None:
    monkeypatch.setattr(predictions_module, "STORE_EVERY", 2)

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(dataset, store, checkpoints[0], settings, progress=stop)
    assert predictions(settings)["video"].nunique() == 2
    reported = []
    after = evaluate(
        dataset, store, checkpoints[0], settings, progress=lambda *at: reported.append(at)
    )
    assert reported[-1] == (3, 3)
    elsewhere = settings.model_copy(update={"out": settings.out.with_name("whole")})
    whole = evaluate(dataset, store, checkpoints[0], elsewhere)
    assert after["coverage"] == whole["coverage"]


def test_a_video_seen_in_training_is_refused_unless_it_is_allowed(
    dataset, make_store, checkpoints, settings, tmp_path
) -> None:
    store = make_store(dataset.ids, sha256=dict.fromkeys(dataset.ids, "0" * 64))
    copied = shutil.copytree(checkpoints[0], tmp_path / "checkpoint")
    before = evaluate(dataset, store, copied, settings)
    assert before["leakage"]["checked"] is False
    # All files have one hash: the training videos have the content of the others.
    write_training_set(copied, [v for v in dataset if "/train" in v.id], store)
    with pytest.raises(DatasetError, match=r"5 of 5 videos .* made/test0\.mp4; .*--allow-leakage"):
        evaluate(dataset, store, copied, settings)
    after = evaluate(dataset, store, copied, settings, allow_leakage=True)
    assert after["leakage"] == {"checked": True, "videos": [f"made/test{i}.mp4" for i in range(5)]}
    assert after["dimensions"] == before["dimensions"]


def test_videos_not_seen_in_training_are_measured(
    dataset, store, checkpoints, settings, tmp_path
) -> None:
    copied = shutil.copytree(checkpoints[0], tmp_path / "checkpoint")
    write_training_set(copied, [], store)
    metrics = evaluate(dataset, store, copied, settings)
    assert metrics["leakage"] == {"checked": True, "videos": []}


ROUNDS = {"r1": (0, 1, 2), "r2": (1, 2, 3), "r3": (2, 3, 4)}


@pytest.fixture
def rounds(dataset) -> list[str]:
    """Three splits of the test videos into three and two."""
    for name, test in ROUNDS.items():
        lines = [f"test{i}.mp4,{'test' if i in test else 'val'}" for i in range(5)]
        path = dataset.settings.folder / "splits" / f"{name}.csv"
        path.write_text("\n".join(["video,part", *lines]) + "\n")
    return list(ROUNDS)


def test_rounds_are_evaluations_of_their_splits_and_their_spread(
    dataset, store, checkpoints, settings, rounds
) -> None:
    found = evaluate_rounds(dataset, store, str(checkpoints[0]), settings, rounds)
    assert json.loads((settings.out / "rounds.json").read_text()) == found
    values = []
    for name in rounds:
        metrics = json.loads((settings.out / name / "metrics.json").read_text())
        assert (metrics["split"], metrics["coverage"]["predicted"]) == (name, 3)
        values.append(metrics["dimensions"]["blur"]["srcc"])
    accuracies = [
        json.loads((settings.out / name / "metrics.json").read_text())["questions"]["yes-no noise"][
            "accuracy"
        ]
        for name in rounds
    ]
    accuracy = found["questions"]["yes-no noise"]["accuracy"]
    assert accuracy["values"] == accuracies
    assert accuracy["mean"] == pytest.approx(np.mean(accuracies))
    spread = found["dimensions"]["blur"]["srcc"]
    assert spread["values"] == values
    assert spread["median"] == pytest.approx(np.median(values))
    assert spread["mean"] == pytest.approx(np.mean(values))
    assert spread["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert predictions(settings)["video"].nunique() == 5  # one checkpoint predicts each once


def test_rounds_of_another_part_stand_beside_those_of_the_test_part(
    dataset, store, checkpoints, settings, rounds
) -> None:
    evaluate_rounds(dataset, store, str(checkpoints[0]), settings, rounds[:2])
    val = settings.model_copy(update={"part": "val"})
    evaluate_rounds(dataset, store, str(checkpoints[0]), val, rounds[:2])
    for place, part in (("rounds", "test"), ("r1/metrics", "test"), ("rounds-val", "val")):
        assert json.loads((settings.out / f"{place}.json").read_text())["part"] == part
    assert json.loads((settings.out / "r1-val" / "metrics.json").read_text())["part"] == "val"


def test_rounds_have_a_page_of_their_own(dataset, store, checkpoints, settings, rounds) -> None:
    found = evaluate_rounds(dataset, store, str(checkpoints[0]), settings, rounds[:2])
    page = (settings.out / "rounds.html").read_text("utf-8")
    blur, asked = found["dimensions"]["blur"]["srcc"], found["questions"]["yes-no noise"]
    text = f"{abs(blur['mean']):.3f} ± {blur['deviation']:.3f}"
    assert text in page
    assert f"{100 * asked['accuracy']['median']:.1f} %" in page
    assert all(f">{split}<" in page for split in rounds[:2])
    assert "default-src 'none'" in page


def test_each_round_can_have_a_checkpoint_of_its_own(
    dataset, store, checkpoints, settings, rounds, tmp_path
) -> None:
    for name, checkpoint in zip(rounds, checkpoints, strict=False):
        shutil.copytree(checkpoint, tmp_path / f"run-{name}")
    pattern = str(tmp_path / "run-{split}")
    evaluate_rounds(dataset, store, pattern, settings, rounds[:2])
    tables = [pd.read_parquet(settings.out / n / "predictions.parquet") for n in rounds[:2]]
    assert all(table["video"].nunique() == 3 for table in tables)
    assert not set(tables[0]["prediction"].dropna()) & set(tables[1]["prediction"].dropna())


def test_a_round_that_is_named_twice_is_refused(
    dataset, store, checkpoints, settings, rounds
) -> None:
    with pytest.raises(FineVQError, match="named twice"):
        evaluate_rounds(dataset, store, str(checkpoints[0]), settings, ["r1", "r1"])


def test_damaged_predictions_are_a_one_line_error(dataset, store, checkpoints, settings) -> None:
    settings.out.mkdir()
    (settings.out / "predictions.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(FineVQError, match=r"predictions\.parquet: damaged; delete it"):
        evaluate(dataset, store, checkpoints[0], settings)
