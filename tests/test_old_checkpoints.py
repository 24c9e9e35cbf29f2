"""What an earlier version wrote is read by this one, and by every later one.

Users keep checkpoints for years. These files were written by the code of commit 1c936f8 and are
never written again: a change of a format must go on reading them. A new format gets a fixture of
its own beside them.

To make tests/data/checkpoint_v1 again: in a checkout of that commit run
tests/data/make_checkpoint_v1.py, as its docstring says.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from finevq.dataset.videos import DIMENSIONS
from finevq.train.fit.training import train
from finevq.train.fit.training_set import read_training_set
from finevq.train.model.checkpoint import load_checkpoint, read_info
from finevq.train.model.packing import Layout, collate
from finevq.train.prompts import rating
from finevq.train.settings import LoraSettings, TrainSettings

from .conftest import dataset_in, store_in

CHECKPOINTS = Path(__file__).parent / "data" / "checkpoint_v1"


@pytest.fixture
def old_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the checkpoints, which name their base model relative to the current folder."""
    folder = tmp_path / "checkpoint_v1"
    shutil.copytree(CHECKPOINTS, folder)
    monkeypatch.chdir(folder)
    return folder


def checkpoint_scores(folder: Path) -> dict[str, float]:
    """Scores of features that are the same numbers on every machine."""
    model, packer, info = load_checkpoint(folder)
    spatial, motion = (
        torch.from_numpy(np.sin(np.arange(np.prod(shape)) * step).reshape(1, *shape)).float()
        for shape, step in ((info.shapes["spatial"], 0.7), (info.shapes["motion"], 1.3))
    )
    prompts = [rating(dimension, profile=info.spec.profile) for dimension in DIMENSIONS]
    layout = Layout(*spatial.shape[1:3], motion.shape[1])
    batch = collate([packer.pack(layout, prompts, learn=False)], pad_id=packer.pad_id)
    with torch.no_grad():
        scores = model(spatial=spatial, motion=motion, **batch).scores[0]
    return dict(zip(DIMENSIONS, scores.tolist(), strict=True))


@pytest.mark.parametrize("name", ["trained", "imported"])
def test_old_checkpoint_gives_the_scores_that_it_gave(old_checkpoints: Path, name: str) -> None:
    expected = json.loads((old_checkpoints / "expected.json").read_text("utf-8"))[name]
    assert checkpoint_scores(old_checkpoints / name) == pytest.approx(expected, rel=0, abs=1e-5)


def test_old_checkpoint_says_what_it_was_trained_on(old_checkpoints: Path) -> None:
    table = read_training_set(old_checkpoints / "trained")
    assert table is not None
    assert table["video"].tolist() == [f"made/train{number}.mp4" for number in range(5)]
    assert table["overall"].tolist() == [91.28, 0.27, 54.15, 64.72, 65.05]
    assert read_training_set(old_checkpoints / "imported") is None


@pytest.mark.parametrize(("name", "frames"), [("trained", 1), ("imported", "all")])
def test_training_starts_from_an_old_checkpoint(
    old_checkpoints: Path, tmp_path: Path, name: str, frames: int | str
) -> None:
    old = read_info(old_checkpoints / name)
    dataset = dataset_in(tmp_path / "dataset", {"train": 3})
    store = store_in(tmp_path / "features", dataset.ids, content=old.features)
    settings = TrainSettings(
        base="base",
        start=str(old_checkpoints / name),
        also=(),
        out=tmp_path / "new",
        device="cpu",
        precision="float32",
        frames=frames,
        clips="all",
        full=False,
        end_to_end=False,
        epochs=1.0,
        probe_epochs=0,
        patience=0,
        save_every=0,
        videos_per_batch=3,
        accumulate=1,
        max_tokens=2048,
        gradient_checkpointing=False,
        shard=False,
        readers=0,
        learning_rate=1e-9,
        projector_rate=1.0,
        warmup=0.1,
        weight_decay=0.01,
        language_weight=1.0,
        score_weight=1.0,
        trackers=(),
        seed=0,
        lora=LoraSettings(**old.lora),
        vision_lora=LoraSettings(rank=2, alpha=4, dropout=0.05),
    )
    train(dataset, store, settings, {})
    # With steps of almost no length the new checkpoint is the old one, and reads as it does.
    expected = json.loads((old_checkpoints / "expected.json").read_text("utf-8"))[name]
    assert checkpoint_scores(settings.out) == pytest.approx(expected, rel=0, abs=1e-5)
