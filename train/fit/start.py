"""The weights that a run starts with: another checkpoint's, or fitted to the training features.

Without `train.start` the projectors are fitted first, see `finevq.train.model.initialise`, and then
the score head, to the hidden states of the model as it is. Training a new head together with
everything below it lets the head's first, wrong gradients spoil what the layers below it already
tell apart, most of all for unlike test data; fitting the head first avoids it (Kumar et al.,
"Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022). The
hidden states are computed once, so that the fit takes as long as one pass over the features, and
seconds.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...dataset.videos import DIMENSIONS
from ...errors import CheckpointError, IdentityMismatch
from ..model.checkpoint import CheckpointInfo, read_info
from ..model.finevq import FineVQ
from ..model.initialise import initialise_projectors
from ..model.spec import Spec, selected_indices
from ..model.trained_weights import adapters, load_adapter, load_heads, load_language_model
from ..settings import TrainSettings
from .reading import Collator, Samples

LOG = logging.getLogger(__name__)

INITIALISE_VIDEOS = 2048
"""How many videos the projectors' initial weights are fitted to, at most."""

HEAD_BATCH = 96
"""Scores in a step of the score head's fit: those of 16 videos."""

HEAD_LEARNING_RATE, HEAD_WEIGHT_DECAY = 1e-3, 0.1


def settings_spec(settings: TrainSettings) -> Spec:
    """How the model of a run that starts afresh reads a video."""
    return Spec(frames=settings.frames, clips=settings.clips)


def run_spec(settings: TrainSettings) -> Spec:
    """How the model of a run reads a video: as `train.start` does, if there is one.

    Wording and score head are inherited: no setting has them. Frames and clips are settings, and
    must be those of the checkpoint.

    Raises:
        CheckpointError: there is no checkpoint at `train.start`, or it reads other numbers of
            frames or clips than the settings say.
    """
    if not settings.start:
        return settings_spec(settings)
    folder = Path(settings.start)
    info = read_info(folder)
    for name, array, selection, others in (
        ("frames", "spatial", settings.frames, info.spec.frames),
        ("clips", "motion", settings.clips, info.spec.clips),
    ):
        stored = info.shapes[array][0]
        counts = [len(selected_indices(stored, each)) for each in (selection, others)]
        if counts[0] != counts[1]:
            raise CheckpointError(
                f"{folder}: reads {counts[1]} of {stored} stored {name}, not {counts[0]} "
                f"(train.{name} = {selection}): set train.{name} to {counts[1]}, or train.start to "
                "another"
            )
    return replace(info.spec, frames=settings.frames, clips=settings.clips)


def start_from(model: FineVQ, info: CheckpointInfo, folder: Path) -> None:
    """Read another checkpoint's weights: projectors, score head, and the adapter, if it has one.

    Args:
        model: with fresh weights.
        info: of the run that starts; its `spec` is that of `run_spec`.
        folder: of the other checkpoint.

    Raises:
        CheckpointError: as `read_info` and `load_weights`, or it has another base model, or an
            adapter of another rank or alpha.
        IdentityMismatch: it was trained on other features.
    """
    other = read_info(folder)
    if other.base_hash != info.base_hash:
        raise CheckpointError(
            f"{folder}: has the base model {other.base} ({other.base_hash[:12]}), not {info.base} "
            f"({info.base_hash[:12]}); set train.base to it, or train.start to another"
        )
    lines = other.identity.difference(info.identity)
    if lines:
        raise IdentityMismatch(
            f"{folder}: was trained on other features: {'; '.join(lines[:3])} (the store is what "
            "was trained on); extract with its settings, or set train.start to another"
        )
    if other.full != info.full:
        raise CheckpointError(
            f"{folder}: was trained with train.full = {str(other.full).lower()}: set it so, or "
            "train.start to another"
        )
    if info.full:
        load_language_model(model, folder)
    adapter = adapters(model).get("adapter")
    if other.lora["rank"]:
        for key in ("rank", "alpha"):
            if other.lora[key] != info.lora[key]:
                raise CheckpointError(
                    f"{folder}: has a LoRA with a {key} of {other.lora[key]}, not "
                    f"{info.lora[key]}: set train.lora.{key} to it, or train.start to another"
                )
        assert adapter is not None
        load_adapter(adapter, folder / "adapter")
    load_heads(model, folder)
    LOG.info("training starts from %s and reads videos as it does: %s", folder, info.spec)


def initialise(model: FineVQ, samples: Samples, published: Mapping[str, Tensor] | None) -> None:
    """Fit the new projectors' initial weights to features and labels of the training part.

    Args:
        model: with fresh projectors.
        samples: the training part's.
        published: state of the base model's own spatial projector, if it comes with one; the
            spatial projector takes it over where it is for features of this width.
    """
    embedding: Any = model.language_model.get_input_embeddings()
    rms = float(embedding.weight.detach().float().pow(2).mean().sqrt())
    means: dict[str, list[Tensor]] = {"spatial": [], "motion": []}
    labels = []
    # The ratings come first in every video; its other sequences have the same features.
    rated = {video.id: index for index, (video, _) in reversed([*enumerate(samples.sequences)])}
    indices = sorted(rated.values())
    for index in indices[:: -(-len(indices) // INITIALISE_VIDEOS)]:
        sample = samples[index]
        for name, tokens in (("spatial", sample.spatial.flatten(0, 1)), ("motion", sample.motion)):
            normalised = F.layer_norm(tokens.float(), tokens.shape[-1:])
            means[name].append(normalised.mean(dim=0))
        scores = {p.item: p.target for p in samples.sequences[index][1] if p.task == "score"}
        labels.append([scores.get(dimension) for dimension in DIMENSIONS])
    projectors = {"spatial": model.spatial_projector, "motion": model.motion_projector}
    if published is not None and published["0.weight"].shape[-1] == len(means["spatial"][0]):
        projectors.pop("spatial").load_state_dict(published)
    initialise_projectors(
        list(projectors.values()),
        [torch.stack(means[name]) for name in projectors],
        torch.tensor([[torch.nan if v is None else v for v in row] for row in labels]),
        rms=rms,
    )


def fit_score_head(
    model: FineVQ, samples: Samples, collator: Collator, *, epochs: int, device: torch.device
) -> None:
    """Fit the score head to a model whose other weights stay as they are.

    Args:
        model: is moved to `device`.
        samples: the training part's.
        collator: of the model's tokenizer.
        epochs: passes over the hidden states; with 0 the head stays as it is.
        device: to compute on.
    """
    if epochs == 0:
        return
    model.to(device).eval()
    hidden, targets = _hidden_states(model, samples, collator, device)
    head = model.score_head.train()
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=HEAD_LEARNING_RATE, weight_decay=HEAD_WEIGHT_DECAY
    )
    batches = -(-len(targets) // HEAD_BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, HEAD_LEARNING_RATE, total_steps=epochs * batches
    )
    for _ in range(epochs):
        order = torch.randperm(len(targets)).to(device)
        for first in range(0, len(order), HEAD_BATCH):
            rows = order[first : first + HEAD_BATCH]
            loss = (head(hidden[rows]).squeeze(-1) - targets[rows]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.train()


@torch.no_grad()
def _hidden_states(
    model: FineVQ, samples: Samples, collator: Collator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Hidden states (N, H) and targets (N,) of all labelled scores of all videos."""
    hidden, targets = [], []
    for index in range(len(samples)):
        batch = {k: v.to(device) for k, v in collator([samples[index]]).items()}
        target = batch.pop("targets")[0]
        del batch["labels"], batch["samples"]
        known = ~target.isnan()
        hidden.append(model(**batch).decisions[0][known].float())
        targets.append(target[known])
    return torch.cat(hidden), torch.cat(targets)
