"""Running stage two: projectors, LoRA and score head on cached features, by transformers.Trainer.

train.out/
run.json           what this run was given; another run may not use the folder
trainer/           Trainer's own state, for resuming a run that was stopped
checkpoint.json .. the finished checkpoint: of the epoch with the best validation SRCC
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from transformers import (
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from ..cache.store import FeatureStore
from ..dataset.questions import Question, load_questions
from ..dataset.splits import Part, load_split
from ..dataset.videos import DIMENSIONS, Dataset, Video
from ..errors import CheckpointError, DatasetError
from .base import load_base
from .checkpoint import (
    CheckpointInfo,
    build_model,
    load_weights,
    read_info,
    save_checkpoint,
    save_weights,
)
from .initialise import initialise_projector
from .model import FineVQ
from .probe import fit_score_head
from .prompts import PROMPTS_VERSION
from .reading import Collator, Samples, in_store
from .settings import TrainSettings

LOG = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of finished steps and their total."""

INITIALISE_VIDEOS, INITIALISE_TOKENS = 256, 64
"""How many videos, and tokens of each, the projectors' initial weights are fitted to, at most."""


def train(
    dataset: Dataset,
    store: FeatureStore,
    settings: TrainSettings,
    extraction: Mapping[str, Any],
    progress: Progress = lambda done, total: None,
) -> CheckpointInfo:
    """Train on the split's train part and keep the epoch that is best on its val part.

    A run that was stopped goes on where it was; a finished one is left as it is.

    Args:
        dataset: videos with labels, questions and the split.
        store: features of all videos of both parts.
        settings: of the training.
        extraction: the `[extract]` settings that the features were made with; the checkpoint keeps
            them, so that it can score video files.
        progress: told of every step.

    Raises:
        CheckpointError: `train.out` holds another run, or the base model cannot be used.
        DatasetError: the train part is empty or has no labels.
        StoreError: features are missing.
    """
    parts = load_split(dataset, dataset.settings.split)
    questions = load_questions(dataset)
    run = _run_content(parts, questions, store, settings)
    if _finished(settings.out, run):
        return read_info(settings.out)
    usable = {part: _usable(store, parts[part], part) for part in ("train", "val")}
    if not any(video.labels for video in usable["train"]):
        raise DatasetError(
            f"the part train of split {dataset.settings.split} has no labelled video with features"
        )
    set_seed(settings.seed)
    base = load_base(settings.base, settings.precision)
    run["base"] = base.hash
    _finished(settings.out, run)  # a run that was stopped goes on with the same base model only
    info = CheckpointInfo(
        base=settings.base,
        base_hash=base.hash,
        lora=settings.lora.model_dump(),
        features=store.layout.identity.content,
        shapes={name: tuple(shape) for name, shape in store.layout.shapes.items()},
        dtype=store.layout.dtype,
        mos_range=dataset.settings.mos_range,
        extract=dict(extraction),
        score_weight=settings.score_weight,
        run=run,
        precision=settings.precision,
    )
    model, packer = build_model(info, base)
    samples = {
        part: Samples(store, dataset, videos, questions, packer) for part, videos in usable.items()
    }
    _claim(settings.out, run)
    collator, last = Collator(packer), _last_whole(settings.out / "trainer")
    if last is None:
        initialise(model, samples["train"], base.projector)
    trainer = FineVQTrainer(
        model=model,
        args=_arguments(settings, validate=len(samples["val"]) > 0),
        train_dataset=samples["train"],
        eval_dataset=samples["val"] if len(samples["val"]) else None,
        data_collator=collator,
        compute_metrics=validation_srcc,
        callbacks=[_Reporter(progress)],
    )
    trainer.remove_callback(PrinterCallback)
    if last is None:
        fit_score_head(
            model,
            samples["train"],
            collator,
            epochs=settings.probe_epochs,
            device=trainer.args.device,
        )
    trainer.train(
        resume_from_checkpoint=last,
        ignore_keys_for_eval=["decisions", "language_loss", "score_loss"],
    )
    save_checkpoint(model, info, settings.out)
    return info


def initialise(model: FineVQ, samples: Samples, published: Mapping[str, Tensor] | None) -> None:
    """Fit the new projectors' initial weights to the features of the training part.

    Args:
        model: with fresh projectors.
        samples: of the training part.
        published: state that the spatial projector starts from instead, if the base model comes
            with one for features of this width.
    """
    embedding = model.language_model.get_input_embeddings().weight
    rms = float(embedding.detach().float().pow(2).mean().sqrt())
    spatial, motion = [], []
    step = max(1, len(samples) // INITIALISE_VIDEOS)
    for index in range(0, len(samples), step):
        frames, clips, _ = samples[index]
        tokens = frames.flatten(0, 1)
        spatial.append(tokens[:: max(1, len(tokens) // INITIALISE_TOKENS)].float())
        motion.append(clips.float())
    if published is not None and published["0.weight"].shape[-1] == spatial[0].shape[-1]:
        model.spatial_projector.load_state_dict(published)
    else:
        initialise_projector(model.spatial_projector, torch.stack(spatial), rms=rms)
    initialise_projector(model.motion_projector, torch.stack(motion), rms=rms)


def validation_srcc(prediction: EvalPrediction) -> dict[str, float]:
    """SRCC of each dimension on the validation part, and their mean, by which the epoch is chosen.

    A dimension without at least three labels, or with constant scores, is left out of the mean;
    the mean of none is -1, the worst there is.
    """
    scores: NDArray[Any] = np.asarray(prediction.predictions)
    targets: NDArray[Any] = np.asarray(prediction.label_ids)
    found: dict[str, float] = {}
    for column, dimension in enumerate(DIMENSIONS):  # the ratings come first in every video
        known = ~np.isnan(targets[:, column])
        score, target = scores[known, column], targets[known, column]
        if len(score) >= 3 and np.ptp(score) > 0 and np.ptp(target) > 0:
            found[f"srcc_{dimension}"] = float(spearmanr(score, target).statistic)
    return {"srcc": float(np.mean(list(found.values()))) if found else -1.0, **found}


class FineVQTrainer(Trainer):
    """Trainer that saves and loads only what is trained; the base model stays where it is."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save_weights(self._finevq(), Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self._finevq(), Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        assert best is not None
        load_weights(self._finevq(), Path(best))

    def _finevq(self) -> FineVQ:
        model = self.accelerator.unwrap_model(self.model)
        assert isinstance(model, FineVQ)
        return model


class _Reporter(TrainerCallback):
    """Tells the caller of every step, and the log of every epoch."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        logs: dict[str, float] = kwargs.get("logs") or {}
        for key, what in (("loss", "training loss"), ("eval_srcc", "validation SRCC")):
            if key in logs:
                LOG.info("epoch %.2f: %s %.4f", state.epoch, what, logs[key])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.progress(state.global_step, state.max_steps)


def _arguments(settings: TrainSettings, *, validate: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(settings.out / "trainer"),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.videos_per_batch,
        per_device_eval_batch_size=settings.videos_per_batch,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,  # below 1 it is a share of all steps
        weight_decay=settings.weight_decay,
        bf16=settings.precision == "bfloat16",
        use_cpu=settings.device == "cpu",
        seed=settings.seed,
        eval_strategy="epoch" if validate else "no",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=validate,
        metric_for_best_model="srcc" if validate else None,
        greater_is_better=True if validate else None,
        label_names=["targets"],
        logging_strategy="epoch",
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=settings.device != "cpu" and torch.cuda.is_available(),
    )


def _usable(store: FeatureStore, videos: Sequence[Video], part: Part) -> list[Video]:
    return in_store(store, videos, f"videos of the part {part}")


def _run_content(
    parts: dict[Part, list[Video]],
    questions: Mapping[str, list[Question]],
    store: FeatureStore,
    settings: TrainSettings,
) -> dict[str, Any]:
    """What decides a run's result: settings, features and data."""
    data = [
        [
            part,
            video.id,
            dict(video.labels),
            [[q.text, q.answer] for q in questions.get(video.id, [])],
        ]
        for part in ("train", "val")
        for video in parts[part]
    ]
    return {
        "settings": settings.model_dump(mode="json", exclude={"out", "device"}),
        "features": store.layout.identity.digest,
        "data": hashlib.sha256(json.dumps(data).encode()).hexdigest(),
        "prompts": PROMPTS_VERSION,
    }


def _finished(out: Path, run: dict[str, Any]) -> bool:
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
        different = [key for key in run if other.get(key) != run[key]]
    except (ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{file}: damaged; delete the folder, or choose another train.out"
        ) from error
    if different:
        raise CheckpointError(
            f"{out}: holds a run with other {' and '.join(different)}; choose another "
            "train.out, or delete the folder"
        )
    return done


def _claim(out: Path, run: dict[str, Any]) -> None:
    """Take a folder for a run that can start."""
    out.mkdir(parents=True, exist_ok=True)
    part = out / "run.json.part"
    part.write_text(json.dumps(run, indent=2), "utf-8")
    part.replace(out / "run.json")


def _last_whole(trainer: Path) -> str | None:
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
