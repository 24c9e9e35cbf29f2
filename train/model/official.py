"""Published FineVQ checkpoints of stage two (official code) as checkpoints of ours.

    published                                         ours
    language_model.*, base weights                    the base model: the folder itself
    language_model.*.wqkv, wo, w1, w2, w3 .lora_A/B   adapter/: q, k, v, o, gate, down, up
    mlp1.*, motion_mlp.*                              projectors.safetensors: spatial.*, motion.*
    mlpscore.fc1 .. fc5                               score_head.safetensors, with the final ReLU

The adapter of a fused matrix, W + 2 B A, becomes one adapter for each of its parts: all have the
same A, and each has its own rows of B. Nothing is approximated.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...cache.identity import Identity
from ...errors import CheckpointError
from ...weights import Weights
from ..base.internlm2 import split_fused
from ..base.published import PublishedLanguageModel, read_projector, read_state
from ..base.tensors import hash_weights
from ..settings import LoraSettings, Precision
from .checkpoint import CheckpointInfo, check_free, write_info
from .finevq import score_head
from .spec import Spec
from .trained_weights import LORA_TARGETS, lora_config

DROPOUT = 0.05
"""Dropout of the official LoRA; it acts in training only."""

SPATIAL, MOTION = (
    {layer: f"{name}.{layer}" for layer in ("0", "1", "3")} for name in ("mlp1", "motion_mlp")
)


def import_checkpoint(
    folder: str,
    out: Path,
    *,
    features: Identity,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str,
    extract: Mapping[str, Any],
    precision: Precision,
) -> CheckpointInfo:
    """Write a published stage-two checkpoint in our layout; its base weights stay where they are.

    Args:
        folder: the published checkpoint's folder, or its name on the Hugging Face hub.
        out: folder of our checkpoint.
        features: identity of the features that the published checkpoint's image encoder, with its
            vision adapter, and its SlowFast make.
        shapes: shapes of one video's features, {"spatial": (F, T, D), "motion": (C, M)}.
        dtype: dtype in which the features are stored.
        extract: the `[extract]` settings that make such features.
        precision: dtype in which the language model is to be used.

    Raises:
        CheckpointError: `folder` is no such checkpoint or is damaged, or `out` holds a checkpoint.
    """
    check_free(out)
    weights = Weights(folder)
    if "mlpscore.fc1.weight" not in weights:
        raise CheckpointError(
            f"{folder}: has no score head (mlpscore.*), so it is no FineVQ checkpoint of stage "
            "two; a plain InternVL is a base model: name it as train.base"
        )
    published = PublishedLanguageModel(weights)
    published.chat(published.tokenizer())  # refused now rather than after the long reading
    hidden = published.config.hidden_size
    lora = _lora(weights)
    adapter = _adapter(published, lora.rank)
    projectors = {
        f"{name}.{tensor}": value
        for name, layers in (("spatial", SPATIAL), ("motion", MOTION))
        for tensor, value in read_projector(weights, layers, shapes[name][-1], hidden).items()
    }
    head = _score_head(weights, hidden)
    info = CheckpointInfo(
        base=folder,
        base_hash=hash_weights(published.tensors()),
        lora=lora.model_dump(),
        features=features.content,
        shapes=dict(shapes),
        dtype=dtype,
        mos_range=(0.0, 100.0),  # the official targets are MOS / 100
        extract=dict(extract),
        score_weight=1.0,
        run={"imported": folder},
        precision=precision,
        spec=Spec(profile="official", final_relu=True),
    )
    (out / "adapter").mkdir(parents=True, exist_ok=True)
    lora_config(lora).save_pretrained(str(out / "adapter"))
    save_file(adapter, out / "adapter" / "adapter_model.safetensors")
    save_file(projectors, out / "projectors.safetensors")
    save_file(head, out / "score_head.safetensors")
    write_info(info, out)
    return info


def _lora(weights: Weights) -> LoraSettings:
    """The LoRA by config.json, which has the rank; alpha is twice the rank in the official code."""
    rank = weights.config.get("use_llm_lora")
    if not isinstance(rank, int) or rank < 1:
        raise CheckpointError(
            f"{weights.model}/config.json: use_llm_lora = {rank!r}, where a FineVQ checkpoint of "
            "stage two has the rank of its adapter"
        )
    return LoraSettings(rank=rank, alpha=2 * rank, dropout=DROPOUT)


def _adapter(published: PublishedLanguageModel, rank: int) -> dict[str, Tensor]:
    """The language model's LoRA, float32, by PEFT's names; all shapes are checked first."""
    weights = published.weights
    adapted = {
        stored: [name.removesuffix(".weight") for name in names]
        for stored, names in published.sources.items()
        if names[0].split(".")[-2] in LORA_TARGETS and names[0].endswith(".weight")
    }
    for stored in adapted:
        rows, columns = weights.shape(stored)
        layer = stored.removesuffix(".weight")
        weights.check(f"{layer}.lora_A.weight", (rank, columns))
        weights.check(f"{layer}.lora_B.weight", (rows, rank))
    adapter = {}
    for stored, names in adapted.items():
        layer = stored.removesuffix(".weight")
        a, b = (weights.read(f"{layer}.lora_{x}.weight").float() for x in "AB")
        parts = split_fused(b, published.config) if len(names) > 1 else (b,)
        for name, part in zip(names, parts, strict=True):
            adapter[f"base_model.model.{name}.lora_A.weight"] = a.clone()
            adapter[f"base_model.model.{name}.lora_B.weight"] = part.contiguous()
    return adapter


def _score_head(weights: Weights, hidden: int) -> dict[str, Tensor]:
    """State of the score head, without `mlpscore.ln1`, which the official code never uses."""
    with torch.device("meta"):
        shapes = {n: tuple(t.shape) for n, t in score_head(hidden).state_dict().items()}
    layers = dict.fromkeys(name.split(".")[0] for name in shapes)
    return read_state(
        weights, {layer: f"mlpscore.fc{k}" for k, layer in enumerate(layers, start=1)}, shapes
    )
