"""The folder of a run: its settings and data, whether it is finished, and its last save."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...cache.store import FeatureStore
from ...errors import CheckpointError
from ..model.checkpoint import digest
from ..model.spec import Spec
from ..prompts import PROMPTS_VERSION
from ..settings import TrainSettings
from .data import RunData
from .start import settings_spec

WITHOUT_EFFECT = {"out", "device", "shard", "readers", "trackers", "save_every"}
"""Settings that decide where and how fast a run is, not its result."""


def run_content(
    data: RunData, store: FeatureStore, settings: TrainSettings, spec: Spec
) -> dict[str, Any]:
    """What decides a run's result: settings, features and data, as run.json has them.

    Args:
        data: the videos.
        store: their features.
        settings: the training's.
        spec: how the model reads a video.
    """
    videos = [
        [
            part,
            video.id,
            source.dataset.settings.mos_range,
            dict(video.labels),
            [[q.text, q.answer] for q in source.questions.get(video.id, [])],
        ]
        for part, source in [
            *(("train", source) for source in data.training),
            ("val", data.validation),
        ]
        for video in source.videos
    ]
    start: dict[str, Any] = {"start": digest(Path(settings.start))} if settings.start else {}
    if spec != settings_spec(settings):
        start["spec"] = asdict(spec)  # inherited: the settings do not say it
    return {
        "settings": settings.model_dump(mode="json", exclude=WITHOUT_EFFECT),
        "features": store.layout.identity.digest,
        "data": hashlib.sha256(json.dumps(videos).encode()).hexdigest(),
        "prompts": PROMPTS_VERSION,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),  # of torchrun
        **start,
    }


def is_finished(out: Path, run: dict[str, Any]) -> bool:
    """Whether a folder holds this run, finished.

    Raises:
        CheckpointError: it holds another run.
    """
    file = out / "run.json"
    done = (out / "checkpoint.json").is_file()
    if not file.is_file():
        if done:
            raise CheckpointError(f"{out}: holds a checkpoint already; choose another train.out")
        return False
    try:
        other = json.loads(file.read_text("utf-8"))
        # The number of processes decides the steps of a run that goes on; a finished one has none.
        compared = run.keys() - {"processes"} if done else run.keys()
        different = sorted(key for key in compared if other.get(key) != run[key])
    except (ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{file}: damaged; delete the folder, or choose another train.out"
        ) from error
    if different:
        raise CheckpointError(
            f"{out}: holds a run with other {' and '.join(different)}; set these as they were, "
            "choose another train.out, or delete the folder"
        )
    return done


def claim(out: Path, run: dict[str, Any]) -> None:
    """Write run.json into a folder, which belongs to this run from then on."""
    out.mkdir(parents=True, exist_ok=True)
    part = out / "run.json.part"
    part.write_text(json.dumps(run, indent=2), "utf-8")
    part.replace(out / "run.json")


def last_whole_save(trainer: Path) -> str | None:
    """The folder of Trainer's newest save that was not cut short, None without one.

    Trainer writes trainer_state.json last.
    """
    saves = []
    for file in trainer.glob("checkpoint-*/trainer_state.json"):
        try:
            saves.append((int(json.loads(file.read_text("utf-8"))["global_step"]), file.parent))
        except (ValueError, KeyError, TypeError):
            continue
    return str(max(saves)[1]) if saves else None
