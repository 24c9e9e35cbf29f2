"""Running stage two: projectors, LoRA and score head on cached features, by transformers.Trainer.

train.out/
run.json           what this run was given; another run may not use the folder
trainer/           Trainer's own state, for resuming a run that was stopped, and TensorBoard's files
checkpoint.json .. the finished checkpoint: of the epoch with the best validation SRCC
"""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn
from transformers import set_seed

from ..cache.store import FeatureStore
from ..dataset.splits import Part
from ..dataset.videos import DIMENSIONS, Dataset, Video
from ..errors import ConfigError, DatasetError, IdentityMismatch
from .base import load_base
from .checkpoint import (
    CheckpointInfo,
    build_model,
    read_info,
    save_weights,
    start_from,
    write_info,
)
from .initialise import initialise_projector
from .model import FineVQ
from .packing import Packer
from .probe import fit_score_head
from .reading import Collator, Samples, Source, in_store
from .runs import claim, finished, last_whole, run_content
from .settings import TrainSettings
from .sharding import shard_frozen
from .trainer import FEWEST_LABELS, FineVQTrainer, NonFiniteLoss, Progress
from .training_set import write_training_set

LOG = logging.getLogger(__name__)

INITIALISE_VIDEOS, INITIALISE_TOKENS = 256, 64
"""How many videos, and tokens of each, the projectors' initial weights are fitted to, at most."""


@dataclass(frozen=True)
class Vision:
    """What the end-to-end stage trains beside the rest.

    Attributes:
        encoder: of frames, see `FineVQ`; its `vit` has the LoRA.
        frames: reads a video's frames, (F, height, width, 3), uint8; can be pickled.
        info: completes what checkpoint.json says, once the LoRA is in the folder.
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
        settings: of the training.
        extraction: the `[extract]` settings that the features were made with; the checkpoint keeps
            them, so that it can score video files.
        progress: told of every step.
        also: more datasets, each with a MOS range of its own, whose train parts are learned too;
            scores are reported on the first one's scale.
        vision: in the end-to-end stage.

    Raises:
        CheckpointError: `train.out` holds another run, or the base model cannot be used.
        ConfigError: more frames or clips than there are, or a tracker or device that is not there.
        DatasetError: the train part is empty or has no labels, two datasets have one name, or a
            video of it has the content of one of the part val.
        IdentityMismatch: the features were not made with `extraction`.
        StoreError: features are missing.
        NonFiniteLoss: the loss or a gradient became infinite or NaN; the last save is kept.
    """
    if settings.language_weight == settings.score_weight == 0:
        raise ConfigError(
            "train.language_weight and train.score_weight are both 0, so that there is nothing to "
            "learn: set one of them"
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
    _check_names([dataset, *also])
    taught = [Source.load(each, "train") for each in (dataset, *also)]
    chosen = Source.load(dataset, "val")
    run = run_content(taught, chosen, store, settings)
    if finished(settings.out, run):
        return read_info(settings.out)
    check_features(store, settings, extraction)
    taught = [_usable(store, source, "train") for source in taught]
    chosen = _usable(store, chosen, "val")
    _check_contents(store, taught, chosen)
    videos = [video for source in taught for video in source.videos]
    if not any(video.labels for video in videos):
        raise DatasetError(
            f"the part train of split {dataset.settings.split} has no labelled video with features"
        )
    set_seed(settings.seed)
    # Weights that train stay float32, whatever the arithmetic.
    base = load_base(settings.base, "float32" if settings.full else settings.precision)
    run["base"] = base.hash
    finished(settings.out, run)  # a run that was stopped goes on with the same base model only
    info = _info(dataset, store, settings, extraction, run)
    model, packer = build_model(info, base, vision.encoder if vision else None)
    if settings.gradient_checkpointing:
        checkpoint_gradients(model)
    if settings.shard:
        shard_frozen(model, PartialState(cpu=settings.device == "cpu").device)
    samples, validation = _samples(store, taught, chosen, packer, settings.max_tokens)
    last = last_whole(settings.out / "trainer")
    if last is None and settings.start:
        start_from(model, info, Path(settings.start))
    elif last is None:
        initialise(model, samples, base.projector)
    frames = vision.frames if vision else None
    # A score head that does not train says nothing about which epoch is best.
    chooses = settings.score_weight > 0 and _tells_epochs_apart(chosen)
    trainer = FineVQTrainer(
        model,
        settings,
        samples.with_frames(frames),
        validation.with_frames(frames) if chooses else None,
        progress,
    )
    main = PartialState().is_main_process
    if main:
        claim(settings.out, run)
    if last is None and not settings.start:
        device, epochs = trainer.args.device, settings.probe_epochs
        fit_score_head(model, samples, Collator(packer), epochs=epochs, device=device)

    def finish(folder: Path) -> None:
        """Make a checkpoint of a folder with weights."""
        start = Path(settings.start) if settings.start else None
        write_training_set(folder, videos, store, start)
        write_info(vision.info(info, folder) if vision else info, folder)

    try:
        trainer.train(
            resume_from_checkpoint=last,
            ignore_keys_for_eval=["decisions", "language_loss", "score_loss"],
        )
    except NonFiniteLoss as error:
        last = last_whole(settings.out / "trainer")
        if last is None:
            kept = "nothing was saved before"
        else:
            finish(Path(last))
            kept = f"the last save, {last}, is a checkpoint"
        raise NonFiniteLoss(
            f"{error}; {kept}. Lower train.learning_rate, or look at these videos' features with "
            "`finevq cache verify`, and choose another train.out"
        ) from error
    if main:
        save_weights(model, settings.out)
        finish(settings.out)
    PartialState().wait_for_everyone()
    return read_info(settings.out)


def _check_names(datasets: Sequence[Dataset]) -> None:
    names = [dataset.settings.name for dataset in datasets]
    for name in names:
        if names.count(name) > 1:
            raise DatasetError(
                f"two of the datasets are named {name!r}: their videos could not be told apart; "
                "set another dataset.name in one of the files of train.also, and extract it"
            )


def _tells_epochs_apart(chosen: Source) -> bool:
    """Whether a rank correlation is defined on the part val, in one dimension at least."""
    labels = [[v.labels[d] for v in chosen.videos if d in v.labels] for d in DIMENSIONS]
    if any(len(known) >= FEWEST_LABELS and len(set(known)) > 1 for known in labels):
        return True
    LOG.warning(
        "the part val has no dimension with %d labels that differ: the last epoch is kept",
        FEWEST_LABELS,
    )
    return False


def _check_contents(store: FeatureStore, taught: Sequence[Source], chosen: Source) -> None:
    """Refuse a training video that is a copy of one by which the epoch is chosen."""
    records = store.records()

    def content(video: Video) -> str | None:
        source = records[video.id].source
        return source.sha256 if source else None

    validation = {content(video): video.id for video in chosen.videos}
    for source in taught:
        for video in source.videos:
            copied = validation.get(content(video))
            if copied is not None:
                raise DatasetError(
                    f"{video.id} is trained on and has the content of {copied}, by which the epoch "
                    "is chosen: take one of them out of its part"
                )


def _usable(store: FeatureStore, source: Source, part: Part) -> Source:
    return source.only(in_store(store, source.videos, f"videos of the part {part}"))


def _info(
    dataset: Dataset,
    store: FeatureStore,
    settings: TrainSettings,
    extraction: Mapping[str, Any],
    run: dict[str, Any],
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
        frames=settings.frames,
        clips=settings.clips,
        full=settings.full,
        run=run,
        precision=settings.precision,
    )


def _samples(
    store: FeatureStore, taught: Sequence[Source], chosen: Source, packer: Packer, max_tokens: int
) -> tuple[Samples, Samples]:
    """To train on and to choose the epoch by."""
    # Without the other questions, on which the choice does not depend.
    rated = replace(chosen, questions={})
    validation = Samples(store, [rated], packer, max_tokens=max_tokens)
    if len(validation) > len(chosen.videos):
        raise ConfigError(
            f"train.max_tokens = {max_tokens}: the six ratings of a video must fit into one "
            "sequence"
        )
    return Samples(store, taught, packer, max_tokens=max_tokens), validation


MADE_WITH = ("precision", "spatial.frames", "motion.mode", "motion.clips", "motion.size")
"""What the identity of features and the `[extract]` settings both say in the same words."""


def check_features(
    store: FeatureStore, settings: TrainSettings, extraction: Mapping[str, Any]
) -> None:
    """Refuse features that are not those of the configuration, as far as that is cheap to see.

    The weights' hashes are not compared: it would take the backbones.

    Raises:
        IdentityMismatch: the features were made with other settings.
        ConfigError: more frames or clips are asked for than there are.
    """
    content = store.layout.identity.content
    for key in MADE_WITH:
        made, asked = _value(content, key), _value(extraction, key)
        if None not in (made, asked) and made != asked:
            raise IdentityMismatch(
                f"the features at {store.url} were made with extract.{key} = {made}, the "
                f"configuration has {asked}: train with -c and the file that they were extracted "
                "with, or extract again into another cache.path"
            )
    made, asked = (_value(x, "spatial.sampler") for x in (content, extraction))
    if None not in (made, asked) and ("official" in made) != (asked == "official"):
        raise IdentityMismatch(
            f"the features at {store.url} were made of other frames ({made}) than "
            f"extract.spatial.sampler = {asked!r} takes: set it as it was, or extract again into "
            "another cache.path"
        )
    adapted, adapter = (_value(x, "spatial.adapter") for x in (content, extraction))
    if adapter is not None and bool(adapted) != bool(adapter):
        raise IdentityMismatch(
            f"the features at {store.url} were made {'with' if adapted else 'without'} a LoRA of "
            f"the image encoder, the configuration has extract.spatial.adapter = {adapter!r}: set "
            "it as it was, or extract again into another cache.path"
        )
    for name, array, used in (
        ("frames", "spatial", settings.frames),
        ("clips", "motion", settings.clips),
    ):
        stored = store.layout.shapes[array][0]
        if used != "all" and used > stored:
            raise ConfigError(
                f"train.{name} = {used}: the features at {store.url} hold {stored} {name} a video; "
                f"set it to at most that, or extract more"
            )


def _value(tree: Mapping[str, Any], dotted: str) -> Any:
    """The value at a dotted key, None without one."""
    value: Any = tree
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def checkpoint_gradients(model: FineVQ) -> None:
    """Let both transformers hold one activation a layer and compute the others again."""
    vision: Any = model.vision
    for module in [model.language_model, *([] if vision is None else [vision.vit])]:
        with warnings.catch_warnings():
            # transformers 5.23 has another name for it, which 5.0 does not know.
            warnings.simplefilter("ignore", FutureWarning)
            module.gradient_checkpointing_enable({"use_reentrant": False})


def initialise(model: FineVQ, samples: Samples, published: Mapping[str, Tensor] | None) -> None:
    """Fit the new projectors' initial weights to the features of the training part.

    Args:
        model: with fresh projectors.
        samples: of the training part.
        published: state that the spatial projector starts from instead, if the base model comes
            with one for features of this width.
    """
    embedding: Any = model.language_model.get_input_embeddings()
    rms = float(embedding.weight.detach().float().pow(2).mean().sqrt())
    spatial, motion = [], []
    step = max(1, len(samples) // INITIALISE_VIDEOS)
    for index in range(0, len(samples), step):
        sample = samples[index]
        tokens = sample.spatial.flatten(0, 1)
        spatial.append(tokens[:: max(1, len(tokens) // INITIALISE_TOKENS)].float())
        motion.append(sample.motion.float())
    if published is not None and published["0.weight"].shape[-1] == spatial[0].shape[-1]:
        model.spatial_projector.load_state_dict(published)
    else:
        initialise_projector(model.spatial_projector, torch.stack(spatial), rms=rms)
    initialise_projector(model.motion_projector, torch.stack(motion), rms=rms)
