"""InternViT's published weights, in either layout, as transformers' InternVLVisionModel.

Two layouts are read. The original one of InternVL and InternViT has a fused qkv; FineVQ's
checkpoints have it too. The native one is that of transformers. The encoder may stand alone or in
a whole checkpoint. Only the encoder's tensors are read, and no code of the checkpoint is run.
"""

from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import InternVLVisionConfig, InternVLVisionModel

from ...errors import CheckpointError
from ...weights import Weights

ORIGINAL, NATIVE = "intern_vit_6b", "internvl_vision"
"""The layouts, by the `model_type` of the image encoder in config.json. The original layout says
"6b" for encoders of every size."""

PREFIXES = {
    ORIGINAL: ("vision_model.", ""),
    NATIVE: ("vision_tower.", "model.vision_tower.", ""),
}
"""What the names of the encoder's tensors may begin with, by layout."""

TOKEN_SETTINGS: dict[str, tuple[tuple[str, Any, Any], ...]] = {
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
"""How a whole checkpoint makes tokens of the encoder's output, by layout: a key of config.json, its
value where the key is left out, and the value that `SpatialEncoder` implements."""

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
"""Settings that decide the encoder's output: native name -> original name."""

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
"""Parts of a tensor's name: native, and what replaces it in the original layout."""

FUSED_PROJECTIONS = (".q_proj.", ".k_proj.", ".v_proj.")
"""The three whose rows the original layout stacks in one tensor, qkv, in this order."""


def load_internvit(model: str) -> InternVLVisionModel:
    """Load the image encoder of a published checkpoint, in the dtype in which it is stored.

    Args:
        model: a folder or a name on the Hugging Face hub: of InternVL2 or 2.5, of a native InternVL
            (`-hf`), of FineVQ (its LoRA is left out), or of an InternViT alone.

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
        name: take_third(weights.read(prefix + source), third)
        for name, (source, third) in sources.items()
    }
    vit.load_state_dict(tensors, assign=True)
    return vit


def empty_internvit(weights: Weights) -> InternVLVisionModel:
    """The model that config.json describes, on the meta device, without values.

    Raises:
        CheckpointError: config.json describes no InternViT, or another way to make its tokens.
    """
    layout, _ = find_layout(weights)
    vision: dict[str, Any] = weights.config.get("vision_config", weights.config)
    if layout == ORIGINAL:
        missing = next((key for key in ORIGINAL_KEYS.values() if key not in vision), None)
        if missing:
            raise CheckpointError(
                f"{weights.model}: config.json lacks the image encoder's {missing}"
            )
        vision = {native: vision[original] for native, original in ORIGINAL_KEYS.items()}
    if "vision_config" in weights.config:
        _check_tokens(weights, layout)
    try:
        config = InternVLVisionConfig(**vision)
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
    """The layout, ORIGINAL or NATIVE, and the prefix of the encoder's tensors.

    Raises:
        CheckpointError: config.json describes no InternViT.
    """
    vision = weights.config.get("vision_config", weights.config)
    layout = vision.get("model_type") if isinstance(vision, dict) else None
    if layout not in PREFIXES:
        kind = weights.config.get("model_type", "no model")
        raise CheckpointError(
            f"{weights.model}: config.json describes {kind}, which has no InternViT; give an "
            "InternVL, InternViT or FineVQ checkpoint"
        )
    # Without a match the first prefix is taken; reading then names the first missing tensor.
    first, *others = PREFIXES[layout]
    prefixes = (
        p for p in (first, *others) if any(name.startswith(f"{p}embeddings.") for name in weights)
    )
    return layout, next(prefixes, first)


def _check_tokens(weights: Weights, layout: str) -> None:
    for key, default, needed in TOKEN_SETTINGS[layout]:
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
    """A tensor's name in the original layout, and which third of that tensor it is, if of qkv."""
    for native, original in ORIGINAL_NAMES:
        name = name.replace(native, original)
    for third, projection in enumerate(FUSED_PROJECTIONS):
        if projection in name:
            return name.replace(projection, ".qkv."), third
    return name, None


def take_third(tensor: Tensor, third: int | None) -> Tensor:
    """One third of a fused tensor's rows, or all of a tensor that is not fused."""
    return tensor if third is None else tensor.chunk(3)[third].clone()
