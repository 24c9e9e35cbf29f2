"""Comparison of checkpoints on videos that they were trained on: refused, or said."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from finevq.cli import main as cli
from finevq.dataset.videos import DIMENSIONS, Dataset
from finevq.errors import DatasetError
from finevq.evaluate.compare.comparison import LEAKAGE, compare
from finevq.evaluate.compare.leakage import content_hashes
from finevq.evaluate.compare.printed import as_text
from finevq.evaluate.compare.score_files import dataset_labels, read_model
from finevq.evaluate.compare.scores import Scores
from finevq.evaluate.predict.stored import table_of, write_predictions
from finevq.train.model.checkpoint import digest


@pytest.fixture
def dataset(make_dataset) -> Dataset:
    return make_dataset({"train": 4, "test": 6})


def trained(folder: Path, videos: dict[str, str]) -> Path:
    """What is looked at of a checkpoint that was trained on videos of some content."""
    folder.mkdir(parents=True)
    for name in ("checkpoint.json", "projectors.safetensors", "score_head.safetensors"):
        (folder / name).write_text(name)
    header = ",".join(["video", "sha256", *DIMENSIONS])
    rows = [f"{video},{sha256}" + ",1" * 6 for video, sha256 in videos.items()]
    (folder / "training.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def evaluated(folder: Path, dataset: Dataset, checkpoint: Path) -> Path:
    """The evaluation of a checkpoint on all videos."""
    folder.mkdir(parents=True)
    rows = [
        {"video": video, "task": "score", "item": d, "prediction": float(i % 5)}
        for i, video in enumerate(dataset.ids)
        for d in DIMENSIONS
    ]
    table = table_of(row | {"options": [], "probabilities": [], "free_text": 0} for row in rows)
    write_predictions(folder / "predictions.parquet", table, {"checkpoint": digest(checkpoint)})
    return folder


def sha(video: str) -> str:
    return hashlib.sha256(video.encode()).hexdigest()  # as conftest's made_features


@pytest.fixture
def model(tmp_path: Path, dataset: Dataset) -> Scores:
    """Trained on the content of test0.mp4, under another name."""
    checkpoint = trained(tmp_path / "run" / "checkpoint", {"other/x.mp4": sha("made/test0.mp4")})
    return read_model(str(evaluated(tmp_path / "run" / "evaluation", dataset, checkpoint)))


def test_a_video_of_the_training_is_refused_by_its_content(model, dataset, make_store) -> None:
    hashes = content_hashes([make_store(dataset.ids).url], [dataset])
    labels = dataset_labels(dataset)
    with pytest.raises(
        DatasetError, match=r"evaluation: 1 of 6 videos were in the training of .*made/test0\.mp4;"
    ) as error:
        compare([model], labels, hashes)
    assert "\n" not in str(error.value)
    results = compare([model], labels, hashes, allow_leakage=True)
    assert results["evaluation"][LEAKAGE] == {"checked": True, "videos": ["made/test0.mp4"]}
    assert "evaluation: 1 of the videos were in its training" in as_text({"made": results})


def test_a_video_that_is_not_measured_does_not_count(model, dataset, make_store) -> None:
    labels = dataset_labels(dataset)
    rest = Scores("rest", labels.table.iloc[1:])
    hashes = content_hashes([make_store(dataset.ids).url])
    assert compare([model], rest, hashes)["evaluation"][LEAKAGE]["videos"] == []


def test_hashes_of_the_split_serve_where_there_are_no_features(model, dataset) -> None:
    split = dataset.settings.folder / "splits" / "parts.csv"
    rows = [f"test{i}.mp4,test,{sha(f'made/test{i}.mp4')}" for i in range(6)]
    split.write_text("\n".join(["video,part,sha256", *rows]) + "\n")
    hashes = content_hashes(["/nowhere"], [dataset])
    with pytest.raises(DatasetError, match="1 of 6 videos"):
        compare([model], dataset_labels(dataset), hashes)


def test_a_video_without_a_hash_is_known_by_its_name(tmp_path, dataset) -> None:
    checkpoint = trained(tmp_path / "checkpoint", {"made/test3.mp4": "0" * 64})
    folder = evaluated(tmp_path / "evaluation", dataset, checkpoint)
    model = read_model(str(folder))
    with pytest.raises(DatasetError, match=r"the first is made/test3\.mp4"):
        compare([model], dataset_labels(dataset))
    found = compare([model], dataset_labels(dataset), allow_leakage=True)["evaluation"][LEAKAGE]
    assert "6 of 6 videos were checked for training by name alone" in found["reason"]


def test_the_labels_may_name_the_videos_by_their_paths(model) -> None:
    names = [f"test{i}.mp4" for i in range(6)]
    labels = Scores("csv", pd.DataFrame({"overall": range(6)}, index=names, dtype=float))
    with pytest.raises(DatasetError, match=r"the first is test0\.mp4"):
        compare([model], labels, {"made/test0.mp4": sha("made/test0.mp4")})


def test_the_checkpoint_is_found_where_it_lies(tmp_path, dataset) -> None:
    checkpoint = trained(tmp_path / "a" / "checkpoint", {})
    beside = evaluated(tmp_path / "a" / "evaluation", dataset, checkpoint)
    inside = evaluated(tmp_path / "a" / "checkpoint" / "evaluation", dataset, checkpoint)
    far = evaluated(tmp_path / "b" / "c" / "evaluation", dataset, checkpoint)
    for text in (beside, inside, checkpoint, beside / "predictions.parquet"):
        assert read_model(str(text)).checkpoint == checkpoint
    assert read_model(str(far)).checkpoint is None
    assert read_model(str(far), trained=[checkpoint]).checkpoint == checkpoint


def test_another_checkpoint_beside_the_predictions_is_not_theirs(tmp_path, dataset) -> None:
    checkpoint = trained(tmp_path / "checkpoint", {"made/test0.mp4": "0" * 64})
    folder = evaluated(tmp_path / "evaluation", dataset, checkpoint)
    (checkpoint / "score_head.safetensors").write_text("trained again")
    results = compare([read_model(str(folder))], dataset_labels(dataset))
    found = results["evaluation"][LEAKAGE]
    assert (found["checked"], found["videos"]) == (False, [])
    assert found["reason"] in as_text({"made": results})


@pytest.fixture
def here(tmp_path, monkeypatch, dataset, model) -> list[str]:
    """The command on this evaluation and this dataset."""
    monkeypatch.chdir(tmp_path)
    name, folder = json.dumps("made"), json.dumps(str(dataset.settings.folder))
    (tmp_path / "my.toml").write_text(
        f'[dataset]\nname = {name}\nfolder = {folder}\nsplit = "parts"\n'
        f'[cache]\npath = "features"\n'
    )
    return ["compare", "run/evaluation", "-c", "my.toml"]


def test_the_command_refuses_what_was_trained_on(here, dataset, make_store, capsys) -> None:
    make_store(dataset.ids)
    assert cli.main(here) == 2
    assert "1 of 6 videos were in the training of run/checkpoint" in capsys.readouterr().err
    assert cli.main([*here, "--allow-leakage", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["evaluation"]
    assert found["overall"]["n"] == 6  # the test part, though all are predicted
    assert found[LEAKAGE]["videos"] == ["made/test0.mp4"]


def test_the_command_takes_the_configured_part(here, dataset, make_store, capsys) -> None:
    make_store(dataset.ids)
    assert cli.main([*here, "--set", "evaluate.part=train", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evaluation"]["overall"]["n"] == 4


def test_a_split_that_does_not_exist_is_refused(here, tmp_path, capsys) -> None:
    assert cli.main([*here, "--split", "none"]) == 2
    assert "no such split; the splits of this dataset: parts" in capsys.readouterr().err
    (tmp_path / "mos.csv").write_text("video,overall\nmade/test0.mp4,1\n")
    assert cli.main([*here, "--labels", "mos.csv", "--split", "none"]) == 2
    assert "--split" in capsys.readouterr().err
    assert cli.main(["compare", "run/evaluation", "--labels", "mos.csv", "-c", "no.toml"]) == 2
    assert "no.toml: no such file" in capsys.readouterr().err
