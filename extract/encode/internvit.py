"""InternViT's published weights, of whatever layout, as transformers' InternVLVisionModel.

Two layouts are read, each inside a whole checkpoint or alone: the original one of InternVL and
InternViT, with a fused qkv, which FineVQ's checkpoints have too, and the native one of
transformers. Only the image encoder's tensors are read, and no code that comes with them is run.
"""

from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import InternVLVisionConfig, InternVLVisionModel

from ...errors import CheckpointError
from ...weights import Weights

ORIGINAL, NATIVE = "intern_vit_6b", "internvl_vision"
"""The `model_type` of an image encoder in config.json; the original one, whatever its size."""

PREFIXES = {
    ORIGINAL: ("vision_model.", ""),
    NATIVE: ("vision_tower.", "model.vision_tower.", ""),
}
"""What its tensors' names may begin with, by layout."""

TOKENS: dict[str, tuple[tuple[str, Any, Any], ...]] = {
    ORIGINAL: (
        ("select_layer", -1, -1),
        ("ps_version", "v1", "v2"),
        ("downsample_ratio", 0.5, 0.5),
    ),
    NATIVE: (
        ("vision_feature_layer", -1, -1),
        ("vision_feature_select_strategy", "default", "default"),
        ("downsample_ratio", 0.5, 0.5),
    ),
}
"""How a whole checkpoint makes tokens of the encoder's output, by layout: key of config.json, what
it means to leave it out, and the value that `SpatialEncoder` implements."""

ORIGINAL_KEYS = {
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "num_channels": "num_channels",
    "image_size": "image_size",
    "patch_size": "patch_size",
    "hidden_act": "hidden_act",
    "norm_type": "norm_type",
    "layer_norm_eps": "layer_norm_eps",
    "attention_bias": "qkv_bias",
    "use_qk_norm": "qk_normalization",
}
"""Settings that decide the output: their native and their original names."""

ORIGINAL_NAMES = (
    ("embeddings.cls_token", "embeddings.class_embedding"),
    ("embeddings.position_embeddings", "embeddings.position_embedding"),
    ("embeddings.patch_embeddings.projection", "embeddings.patch_embedding"),
    ("encoder.layer.", "encoder.layers."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".lambda_", ".ls"),
    (".attention.", ".attn."),
    (".projection_layer.", ".proj."),
)
"""Parts of a tensor's native name, and what they are in the original layout."""

FUSED = (".q_proj.", ".k_proj.", ".v_proj.")
"""What the original layout holds below one another in one tensor, qkv."""


def load_internvit(model: str) -> InternVLVisionModel:
    """The image encoder of a published checkpoint, in the dtype in which it is stored.

    Args:
        model: a folder or a name on the Hugging Face hub: of InternVL2 or 2.5, of a native InternVL
            (`-hf`), of FineVQ (then without its LoRA), or of an InternViT alone.

    Raises:
        CheckpointError: another architecture, a file that is missing or damaged, or a tensor that
            is missing or has another shape; all shapes are checked before any tensor is read.
    """
    weights = Weights(model)
    vit = empty_internvit(weights)
    layout, prefix = find_layout(weights)
    shapes = {name: tuple(tensor.shape) for name, tensor in vit.state_dict().items()}
    sources = {name: (name, None) if layout == NATIVE else original_name(name) for name in shapes}
    for name, (source, third) in sources.items():
        rows, *rest = shapes[name]
        weights.check(prefix + source, (rows if third is None else 3 * rows, *rest))
    tensors = {
        name: split(weights.read(prefix + source), third)
        for name, (source, third) in sources.items()
    }
    vit.load_state_dict(tensors, assign=True)
    return vit


def empty_internvit(weights: Weights) -> InternVLVisionModel:
    """The model that config.json describes, without values.

    Raises:
        CheckpointError: there is no InternViT, or one whose tokens are made in another way.
    """
    layout, _ = find_layout(weights)
    part: dict[str, Any] = weights.config.get("vision_config", weights.config)
    if layout == ORIGINAL:
        missing = next((key for key in ORIGINAL_KEYS.values() if key not in part), None)
        if missing:
            raise CheckpointError(
                f"{weights.model}: config.json lacks the image encoder's {missing}"
            )
        part = {native: part[original] for native, original in ORIGINAL_KEYS.items()}
    if "vision_config" in weights.config:
        _check_tokens(weights, layout)
    try:
        config = InternVLVisionConfig(**part)
        with torch.device("meta"):
            vit = InternVLVisionModel(config)
    except (StrictDataclassError, ArithmeticError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{weights.model}: config.json describes no possible InternViT: {reason}"
        ) from error
    height, width = vit.embeddings.patch_embeddings.patch_shape
    if height != width or height % 2:
        raise CheckpointError(
            f"{weights.model}: its InternViT cuts a frame into {height} x {width} patches, where "
            "only a square of an even side is supported"
        )
    return vit


def find_layout(weights: Weights) -> tuple[str, str]:
    """The layout, ORIGINAL or NATIVE, and what the names of its tensors begin with.

    Raises:
        CheckpointError: config.json describes something else.
    """
    part = weights.config.get("vision_config", weights.config)
    layout = part.get("model_type") if isinstance(part, dict) else None
    if layout not in PREFIXES:
        kind = weights.config.get("model_type", "no model")
        raise CheckpointError(
            f"{weights.model}: config.json describes {kind}, which has no InternViT; give an "
            "InternVL, InternViT or FineVQ checkpoint"
        )
    # A whole checkpoint without the encoder is told by the first tensor that is then missing.
    first, *others = PREFIXES[layout]
    prefixes = (
        p for p in (first, *others) if any(name.startswith(f"{p}embeddings.") for name in weights)
    )
    return layout, next(prefixes, first)


def _check_tokens(weights: Weights, layout: str) -> None:
    for key, default, needed in TOKENS[layout]:
        value = weights.config.get(key, default)
        if value != needed:
            raise CheckpointError(
                f"{weights.model}: config.json has {key} = {value!r}, where only {needed!r} is "
                "supported"
            )
    forced = weights.config.get("force_image_size")
    size = weights.config["vision_config"].get("image_size")
    if forced not in (None, size):
        raise CheckpointError(
            f"{weights.model}: config.json has force_image_size = {forced!r}, but an image encoder "
            f"for {size!r}"
        )


def original_name(name: str) -> tuple[str, int | None]:
    """A tensor's name in the original layout, and which third of it, if it is one of qkv."""
    for native, original in ORIGINAL_NAMES:
        name = name.replace(native, original)
    for third, projection in enumerate(FUSED):
        if projection in name:
            return name.replace(projection, ".qkv."), third
    return name, None


def split(tensor: Tensor, third: int | None) -> Tensor:
    """One third of a fused tensor's rows, or all of a tensor that is not fused."""
    return tensor if third is None else tensor.chunk(3)[third].clone()
