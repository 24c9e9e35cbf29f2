"""Running stage two: projectors, LoRA and score head on cached features, by transformers.Trainer.

Files of a run, in train.out:

    run.json           settings and data of the run; another run may not use the folder
    trainer/           Trainer's own state, for resuming a stopped run, and TensorBoard's files
    checkpoint.json .. the finished checkpoint, of the epoch with the best validation SRCC
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import Tensor, nn
from transformers import set_seed

from ...cache.store import FeatureStore
from ...dataset.videos import Dataset, Video
from ...errors import ConfigError
from ..base.language_model import load_base
from ..model.checkpoint import CheckpointInfo, build_model, read_info, write_info
from ..model.finevq import FineVQ
from ..model.sharding import shard_frozen
from ..model.spec import Spec
from ..model.trained_weights import save_weights
from ..settings import TrainSettings
from .data import RunData, check_features
from .progress import Progress
from .reading import Collator, Samples
from .runs import claim, is_finished, last_whole_save, run_content
from .start import fit_score_head, initialise, run_spec, start_from
from .trainer import FineVQTrainer, NonFiniteLoss
from .training_set import write_training_set


@dataclass(frozen=True)
class Vision:
    """What the end-to-end stage trains beside the rest.

    Attributes:
        encoder: from frames to spatial tokens, see `FineVQ`; its `vit` has the LoRA.
        frames: reads a video's frames, (F, height, width, 3), uint8; can be pickled.
        info: completes the content of checkpoint.json, once the LoRA is in the folder.
    """

    encoder: nn.Module
    frames: Callable[[Video], Tensor]
    info: Callable[[CheckpointInfo, Path], CheckpointInfo]


def train(
    dataset: Dataset,
    store: FeatureStore,
    settings: TrainSettings,
    extraction: Mapping[str, Any],
    progress: Progress = lambda done, total, line: None,
    *,
    also: Sequence[Dataset] = (),
    vision: Vision | None = None,
) -> CheckpointInfo:
    """Train on the split's train part and keep the epoch that is best on its val part, if any.

    A run that was stopped goes on where it was; a finished one is left as it is. Started by
    `torchrun` on several processes it is one run: the first of them writes.

    Args:
        dataset: videos with labels, questions and the split.
        store: features of all videos of both parts.
        settings: the training's.
        extraction: the `[extract]` settings that the features were made with; the checkpoint keeps
            them, so that it can score video files.
        progress: is called after every step.
        also: more datasets, each with a MOS range of its own, whose train parts are learned too;
            scores are reported on the first one's scale.
        vision: in the end-to-end stage.

    Raises:
        CheckpointError: `train.out` holds another run, the base model cannot be used, or the
            checkpoint at `train.start` does not fit the settings.
        ConfigError: more frames or clips than there are, or a tracker or device that is not there.
        DatasetError: two datasets have one name, or the train part has no labels or a copy of a
            video of the part val.
        IdentityMismatch: the features were not made with `extraction`.
        StoreError: features are missing.
        NonFiniteLoss: the loss or a gradient became infinite or NaN; the last save is kept.
    """
    _check_settings(settings)
    start = Path(settings.start) if settings.start else None
    data = RunData.load([dataset, *also])
    spec = run_spec(settings)
    run = run_content(data, store, settings, spec)
    if is_finished(settings.out, run):
        return read_info(settings.out)
    check_features(store, settings, extraction)
    data = data.with_features(store)
    set_seed(settings.seed)
    # Weights that train stay float32, whatever the arithmetic.
    base = load_base(settings.base, "float32" if settings.full else settings.precision)
    run["base"] = base.hash
    is_finished(settings.out, run)  # a run that was stopped goes on with the same base model only
    info = _info(dataset, store, settings, extraction, run, spec)
    model, packer = build_model(info, base, vision.encoder if vision else None)
    _save_memory(model, settings)
    samples, validation = data.samples(store, packer, settings.max_tokens)
    last = last_whole_save(settings.out / "trainer")
    if last is None and start:
        start_from(model, info, start)
    elif last is None:
        initialise(model, samples, base.projector)
    # A score head that does not train says nothing about which epoch is best.
    ranked = settings.score_weight > 0 and data.can_rank_epochs()
    trainer = _trainer(model, settings, samples, validation if ranked else None, vision, progress)
    main = PartialState().is_main_process
    if main:
        claim(settings.out, run)
    if last is None and not start:
        device, epochs = trainer.args.device, settings.probe_epochs
        fit_score_head(model, samples, Collator(packer), epochs=epochs, device=device)

    def complete(folder: Path) -> None:
        """Make a checkpoint of a folder with weights."""
        write_training_set(folder, data.videos, store, start)
        write_info(vision.info(info, folder) if vision else info, folder)

    _run(trainer, settings.out / "trainer", last, complete)
    if main:
        save_weights(model, settings.out)
        complete(settings.out)
    PartialState().wait_for_everyone()
    return read_info(settings.out)


def _check_settings(settings: TrainSettings) -> None:
    """Refuse settings that contradict each other."""
    if settings.language_weight == settings.score_weight == 0:
        raise ConfigError(
            "train.language_weight and train.score_weight are both 0, so that there is nothing to "
            "learn: set one of them"
        )
    if settings.projector_rate == settings.lora.rank == settings.score_weight == 0 and not (
        settings.full or settings.end_to_end
    ):
        raise ConfigError(
            "train.projector_rate, train.lora.rank and train.score_weight are all 0, so that no "
            "weight would learn: set one of them"
        )
    if settings.full and settings.lora.rank:
        raise ConfigError(
            "train.full = true trains all weights of the language model, which leaves a LoRA "
            f"nothing to do: set train.lora.rank = 0, not {settings.lora.rank}"
        )
    if settings.full and settings.precision == "float16":
        raise ConfigError(
            "train.full = true: weights that train cannot be float16; set train.precision to "
            '"bfloat16" or "float32"'
        )


def _info(
    dataset: Dataset,
    store: FeatureStore,
    settings: TrainSettings,
    extraction: Mapping[str, Any],
    run: dict[str, Any],
    spec: Spec,
) -> CheckpointInfo:
    return CheckpointInfo(
        base=settings.base,
        base_hash=run["base"],
        lora=settings.lora.model_dump(),
        features=store.layout.identity.content,
        shapes={name: tuple(shape) for name, shape in store.layout.shapes.items()},
        dtype=store.layout.dtype,
        mos_range=dataset.settings.mos_range,
        extract=dict(extraction),
        language_weight=settings.language_weight,
        score_weight=settings.score_weight,
        run=run,
        precision=settings.precision,
        spec=spec,
        full=settings.full,
    )


def _save_memory(model: FineVQ, settings: TrainSettings) -> None:
    """Checkpoint gradients and divide the frozen weights, where the settings say so."""
    if settings.gradient_checkpointing:
        checkpoint_gradients(model)
    if settings.shard:
        shard_frozen(model, PartialState(cpu=settings.device == "cpu").device)


def checkpoint_gradients(model: FineVQ) -> None:
    """Let both transformers keep one activation a layer and compute the others again."""
    vision: Any = model.vision
    for module in [model.language_model, *([] if vision is None else [vision.vit])]:
        with warnings.catch_warnings():
            # transformers 5.23 has another name for it, which 5.0 does not know.
            warnings.simplefilter("ignore", FutureWarning)
            module.gradient_checkpointing_enable({"use_reentrant": False})


def _trainer(
    model: FineVQ,
    settings: TrainSettings,
    samples: Samples,
    validation: Samples | None,
    vision: Vision | None,
    progress: Progress,
) -> FineVQTrainer:
    """Trainer on features as stored or, in the end-to-end stage, on frames."""
    frames = vision.frames if vision else None
    return FineVQTrainer(
        model,
        settings,
        samples.with_frames(frames),
        None if validation is None else validation.with_frames(frames),
        progress,
    )


def _run(
    trainer: FineVQTrainer, saves: Path, last: str | None, complete: Callable[[Path], None]
) -> None:
    """Train to the end; after a step that is not finite, make the last save a checkpoint.

    Args:
        trainer: ready to train.
        saves: folder of Trainer's saves.
        last: the save to go on from, if any.
        complete: makes a checkpoint of a save.
    """
    try:
        trainer.train(
            resume_from_checkpoint=last,
            ignore_keys_for_eval=["decisions", "language_loss", "score_loss"],
        )
    except NonFiniteLoss as error:
        last = last_whole_save(saves)
        if last is None:
            kept = "nothing was saved before"
        else:
            complete(Path(last))
            kept = f"the last save, {last}, is a checkpoint"
        raise NonFiniteLoss(
            f"{error}; {kept}. Lower train.learning_rate, or look at these videos' features with "
            "`finevq cache verify`, and choose another train.out"
        ) from error
