"""A LoRA of the image encoder: merged into it, or taken out of a published FineVQ checkpoint.

An adapter is a folder in the layout of peft, with adapter_config.json and
adapter_model.safetensors, for the modules of InternVLVisionModel. It is merged before features are
extracted, so it costs no time there. The identity hashes the adapter apart from the encoder.
"""

import warnings
from pathlib import Path
from typing import Any, Literal

from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import BaseModel, ValidationError
from safetensors.torch import save_file
from torch import Tensor
from transformers import InternVLVisionModel

from ...cache.identity import canonical_json
from ...errors import CheckpointError
from ...weights import Weights, open_safetensors, share_as_umask_says, tensor_hash
from .internvit import ORIGINAL, empty_internvit, find_layout, original_name, take_third

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"

TARGETS = ("q_proj", "k_proj", "v_proj", "projection_layer", "fc1", "fc2")
"""Modules of an InternVLVisionModel to which the official code gives a LoRA."""

OFFICIAL_SCALE = 2
"""alpha / rank in the official code, which stores no alpha."""

PEFT_PREFIX = "base_model.model."


class AdapterConfig(BaseModel, frozen=True, strict=True):
    """The part of adapter_config.json that decides how the tensors are merged.

    Refused are other kinds of adapters, such as DoRA, and initialisations that change the base
    model, such as PiSSA.
    """

    peft_type: Literal["LORA"]
    r: int
    lora_alpha: float
    target_modules: list[str] | str
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}
    use_rslora: bool = False
    use_dora: Literal[False] = False
    init_lora_weights: bool = True


def merge_adapter(vit: InternVLVisionModel, folder: Path) -> str:
    """Merge an adapter into an image encoder, in place; the encoder becomes float32.

    Returns:
        SHA-256, in hex, of the adapter's tensors, ranks and scales.

    Raises:
        CheckpointError: a file is missing or damaged, the adapter is no LoRA, or a tensor is
            missing, is unknown or has another shape; the message names the file or the tensor.
    """
    config = _read_config(folder)
    file = open_safetensors(folder / TENSORS)
    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    fields = config.model_dump(exclude={"target_modules", "use_dora", "init_lora_weights"})
    with warnings.catch_warnings():
        # peft 0.21 reads an attribute that transformers 5.23 has renamed and still serves.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            wrapped = get_peft_model(vit.float(), LoraConfig(**config.model_dump()))
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"{folder}: is no adapter of an InternViT: {' '.join(str(error).split())}"
            ) from error
        _check_fit(folder / TENSORS, tensors, get_peft_model_state_dict(wrapped))
        set_peft_model_state_dict(wrapped, tensors)
        merged: Any = wrapped
        merged.merge_and_unload()
    return tensor_hash(tensors, canonical_json(fields))


def _read_config(folder: Path) -> AdapterConfig:
    file = folder / CONFIG
    try:
        return AdapterConfig.model_validate_json(file.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"{file}: cannot be read; an adapter is a folder with {CONFIG} and {TENSORS}"
        ) from error
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(str(part) for part in detail["loc"])
        raise CheckpointError(
            f"{file}: no LoRA that can be merged: {key} {detail['msg']}"
        ) from error


def _check_fit(file: Path, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name in sorted(tensors.keys() | expected.keys()):
        if name not in tensors:
            raise CheckpointError(f"{file}: has no tensor {name}")
        if name not in expected:
            raise CheckpointError(
                f"{file}: has the tensor {name}, which is none of an InternViT's LoRA"
            )
        if tensors[name].shape != expected[name].shape:
            raise CheckpointError(
                f"{file}: {name} has the shape {tuple(tensors[name].shape)}, where the image "
                f"encoder and {CONFIG} need {tuple(expected[name].shape)}"
            )


def write_vision_adapter(weights: Weights, folder: Path) -> None:
    """Write the LoRA of a published FineVQ checkpoint's image encoder as an adapter.

    Its LoRA on the fused qkv becomes three LoRAs that share A, each with its own rows of B. That
    is exact, because each row of B A depends on that row of B alone. alpha is twice the rank, as
    always in the official code.

    Args:
        weights: of the checkpoint.
        folder: of the adapter; it is made where it is not there, and its two files are replaced.

    Raises:
        CheckpointError: the checkpoint has no such LoRA, or a tensor of it is missing or has
            another shape.
    """
    layout, prefix = find_layout(weights)
    adapted = [name for name in weights if name.startswith(prefix) and ".lora_A." in name]
    if layout != ORIGINAL or not adapted:
        raise CheckpointError(
            f"{weights.model}: has no LoRA of its image encoder, so there is no adapter to take out"
        )
    rank = weights.shape(adapted[0])[0]
    tensors = _published_lora(weights, prefix, rank)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / TENSORS)
    share_as_umask_says(folder)
    LoraConfig(
        r=rank,
        lora_alpha=OFFICIAL_SCALE * rank,
        target_modules=list(TARGETS),
        lora_dropout=0.05,
        inference_mode=True,
    ).save_pretrained(str(folder))


def _published_lora(weights: Weights, prefix: str, rank: int) -> dict[str, Tensor]:
    """The LoRA's tensors under the names that peft gives them in an InternVLVisionModel."""
    linears = {
        name.removesuffix("weight"): tensor.shape
        for name, tensor in empty_internvit(weights).state_dict().items()
        if name.endswith("weight") and name.split(".")[-2] in TARGETS
    }
    tensors: dict[str, Tensor] = {}
    for name, (rows, columns) in linears.items():
        source, third = original_name(name)
        a, b = (f"{prefix}{source}lora_{side}.weight" for side in "AB")
        all_rows = rows if third is None else 3 * rows
        # A copy, as safetensors stores no tensor under two names.
        tensors[f"{PEFT_PREFIX}{name}lora_A.weight"] = weights.read(a, (rank, columns)).clone()
        tensors[f"{PEFT_PREFIX}{name}lora_B.weight"] = take_third(
            weights.read(b, (all_rows, rank)), third
        )
    return tensors
