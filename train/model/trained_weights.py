"""The files of trained weights in a checkpoint: adapters, projectors and score head."""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from ...errors import CheckpointError
from ...weights import share_as_umask_says
from ..settings import LoraSettings
from .finevq import FineVQ

LANGUAGE_MODEL = "language_model.safetensors"
"""All weights of the language model, where they were trained."""

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""Every linear layer of a Llama block (paper, section 4.3, on the language model)."""


def add_lora(language_model: PreTrainedModel, lora: LoraSettings) -> Any:
    """The language model with a fresh adapter, or as it is with a rank of 0."""
    if not lora.rank:
        return language_model
    with warnings.catch_warnings():
        # peft 0.21 reads an attribute that transformers 5.23 has renamed and still serves.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(language_model, lora_config(lora))


def lora_config(lora: LoraSettings) -> LoraConfig:
    """PEFT's configuration of the adapter."""
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=LORA_TARGETS,
        task_type="CAUSAL_LM",
    )


def _projectors(model: FineVQ) -> nn.ModuleDict:
    return nn.ModuleDict({"spatial": model.spatial_projector, "motion": model.motion_projector})


def adapters(model: FineVQ) -> dict[str, PeftModel]:
    """The parts of a model that have a LoRA, by the folder of a checkpoint that holds it."""
    modules: dict[str, Any] = {"adapter": model.language_model}
    if model.vision is not None:
        modules["vision_adapter"] = model.vision.vit
    return {name: module for name, module in modules.items() if isinstance(module, PeftModel)}


def save_weights(model: FineVQ, folder: Path) -> None:
    """Write the trained weights, without checkpoint.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, adapted in adapters(model).items():
        adapted.save_pretrained(str(folder / name))
    if is_full(model):
        save_file(model.language_model.state_dict(), folder / LANGUAGE_MODEL)
    save_file(_projectors(model).state_dict(), folder / "projectors.safetensors")
    save_file(model.score_head.state_dict(), folder / "score_head.safetensors")
    share_as_umask_says(folder)


def load_weights(model: FineVQ, folder: Path) -> None:
    """Read the trained weights into a model of the same shape.

    Raises:
        CheckpointError: a file is missing or damaged, or its tensors do not fit.
    """
    for name, adapted in adapters(model).items():
        load_adapter(adapted, folder / name)
    if is_full(model):
        load_language_model(model, folder)
    load_heads(model, folder)


def load_adapter(adapted: PeftModel, folder: Path) -> None:
    """Read a LoRA into a model that has one of the same shape.

    Raises:
        CheckpointError: the file is missing or damaged, or its tensors do not fit.
    """
    file = folder / "adapter_model.safetensors"
    tensors = _tensors(file)
    try:
        result: Any = set_peft_model_state_dict(adapted, tensors)
    except RuntimeError as error:
        raise _unfit(file, error) from error
    if result.unexpected_keys:
        raise CheckpointError(f"{folder}: has the unknown tensor {result.unexpected_keys[0]}")
    missing = [key for key in result.missing_keys if "lora_" in key]
    if missing:
        raise CheckpointError(f"{folder}: lacks the tensor {missing[0]}")


def load_heads(model: FineVQ, folder: Path) -> None:
    """Read projectors and score head.

    Raises:
        CheckpointError: a file is missing or damaged, or its tensors do not fit.
    """
    for name, module in (("projectors", _projectors(model)), ("score_head", model.score_head)):
        _load_into(module, folder / f"{name}.safetensors")


def is_full(model: FineVQ) -> bool:
    """Whether all weights of the language model train; a LoRA's train beside frozen ones."""
    return all(weight.requires_grad for weight in model.language_model.parameters())


def load_language_model(model: FineVQ, folder: Path) -> None:
    """Read all weights of the language model.

    Raises:
        CheckpointError: the file is missing or damaged, or its tensors do not fit.
    """
    _load_into(model.language_model, folder / LANGUAGE_MODEL)


def _load_into(module: nn.Module, file: Path) -> None:
    try:
        module.load_state_dict(_tensors(file))
    except RuntimeError as error:
        raise _unfit(file, error) from error


def _unfit(file: Path, error: RuntimeError) -> CheckpointError:
    reason = " ".join(str(error).split())
    return CheckpointError(f"{file}: does not fit the model: {reason}")


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except FileNotFoundError as error:
        raise CheckpointError(f"{file}: missing; the checkpoint is not whole") from error
    except SafetensorError as error:
        raise CheckpointError(f"{file}: damaged: {error}") from error
