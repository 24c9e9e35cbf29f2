"""A small run of training: nine videos, a few seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finevq.train.settings import LoraSettings, TrainSettings

MakeSettings = Callable[..., TrainSettings]


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Settings of a run of two epochs on the CPU; keywords replace what is given here."""

    def make(**given: Any) -> TrainSettings:
        values = {
            "base": "embedded",
            "also": (),
            "start": "",
            "out": tmp_path / "checkpoint",
            "device": "cpu",
            "precision": "float32",
            "frames": "all",
            "clips": "all",
            "full": False,
            "end_to_end": False,
            "epochs": 2.0,
            "probe_epochs": 2,
            "patience": 0,
            "save_every": 0,
            "videos_per_batch": 3,
            "accumulate": 1,
            "max_tokens": 4096,
            "gradient_checkpointing": False,
            "shard": False,
            "readers": 0,
            "learning_rate": 1e-3,
            "projector_rate": 1.0,
            "warmup": 0.1,
            "weight_decay": 0.01,
            "language_weight": 1.0,
            "score_weight": 1.0,
            "trackers": (),
            "seed": 0,
            "lora": LoraSettings(rank=4, alpha=8, dropout=0.05),
            "vision_lora": LoraSettings(rank=2, alpha=4, dropout=0.05),
        }
        return TrainSettings(**values | given)

    return make
