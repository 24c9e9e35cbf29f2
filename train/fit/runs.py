"""The folder of a run: what it was given, whether it is finished, where it goes on."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...cache.store import FeatureStore
from ...errors import CheckpointError
from ..model.checkpoint import digest
from ..prompts import PROMPTS_VERSION
from ..settings import TrainSettings
from .reading import Source

HOW = {"out", "device", "shard", "readers", "trackers", "save_every"}
"""Settings that decide where and how fast a run is, not what comes out."""


def run_content(
    taught: Sequence[Source], chosen: Source, store: FeatureStore, settings: TrainSettings
) -> dict[str, Any]:
    """What decides a run's result: settings, features and data.

    Args:
        taught: what it trains on.
        chosen: by what the epoch is chosen.
        store: of the features.
        settings: of the training.
    """
    data = [
        [
            part,
            video.id,
            source.dataset.settings.mos_range,
            dict(video.labels),
            [[q.text, q.answer] for q in source.questions.get(video.id, [])],
        ]
        for part, source in [*(("train", source) for source in taught), ("val", chosen)]
        for video in source.videos
    ]
    start = {"start": digest(Path(settings.start))} if settings.start else {}
    return {
        "settings": settings.model_dump(mode="json", exclude=HOW),
        "features": store.layout.identity.digest,
        "data": hashlib.sha256(json.dumps(data).encode()).hexdigest(),
        "prompts": PROMPTS_VERSION,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),  # of torchrun
        **start,
    }


def finished(out: Path, run: dict[str, Any]) -> bool:
    """True if a folder holds this run, finished.

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
        # How many processes a run goes on with decides its steps; how many look at it does not.
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
    """Take a folder for a run that can start."""
    out.mkdir(parents=True, exist_ok=True)
    part = out / "run.json.part"
    part.write_text(json.dumps(run, indent=2), "utf-8")
    part.replace(out / "run.json")


def last_whole(trainer: Path) -> str | None:
    """Trainer's newest save; one that was cut short is not looked at.

    Trainer writes trainer_state.json last.
    """
    whole = []
    for file in trainer.glob("checkpoint-*/trainer_state.json"):
        try:
            whole.append((int(json.loads(file.read_text("utf-8"))["global_step"]), file.parent))
        except (ValueError, KeyError, TypeError):
            continue
    return str(max(whole)[1]) if whole else None
