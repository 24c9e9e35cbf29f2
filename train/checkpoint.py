"""Checkpoints: what training changed, and what is needed to use it; a few MB to a few hundred.

adapter/                  LoRA of the language model, in PEFT's layout
projectors.safetensors    spatial.* and motion.*
score_head.safetensors
checkpoint.json           base model and its hash, identity of the features, settings; written
last: a folder without it is no checkpoint
"""

import hashlib
import json
import os
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..cache.identity import Identity
from ..cache.store import FeatureStore
from ..errors import CheckpointError, IdentityMismatch
from .embedded import embedded_language_model, embedded_tokenizer
from .model import FineVQ
from .packing import Packer
from .prompts import PROMPTS_VERSION
from .settings import LoraSettings

FORMAT = 1
EMBEDDED = "embedded"

# Every linear layer of a Llama block (paper, section 4.3, on the language model).
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class CheckpointInfo:
    """The content of checkpoint.json.

    Attributes:
        base: the language model, as `train.base` names it.
        lora: rank, alpha and dropout of the adapter.
        features: content of the identity of the features it was trained on.
        shapes: of one video's features, {"spatial": (F, T, D), "motion": (C, M)}.
        dtype: in which the features were stored.
        mos_range: lowest and highest MOS of the training data; a score of 0 and of 1.
        extract: the `[extract]` settings that make such features of a video file.
        score_weight: of the L1 loss.
        run: what the run that made it was given, see `finevq.train.fit`.
        prompts: version of the prompts.
        format: version of this layout.
    """

    base: str
    lora: dict[str, Any]
    features: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    dtype: str
    mos_range: tuple[float, float]
    extract: dict[str, Any]
    score_weight: float
    run: dict[str, Any]
    prompts: int = PROMPTS_VERSION
    format: int = FORMAT

    @property
    def identity(self) -> Identity:
        """The features' identity."""
        return Identity(self.features)

    def check_features(self, store: FeatureStore) -> None:
        """Refuse a store with other features than those that the model was trained on.

        Raises:
            IdentityMismatch: names the first differences.
        """
        lines = store.layout.identity.difference(self.identity)
        if lines:
            raise IdentityMismatch(
                f"the features at {store.url} are not those that the checkpoint was trained on: "
                f"{'; '.join(lines[:3])}; extract with the checkpoint's settings, or train again"
            )


def build_model(info: CheckpointInfo) -> tuple[FineVQ, Packer]:
    """The model with fresh projectors, adapter and score head, and its packer.

    Raises:
        CheckpointError: a base model that this version does not have.
    """
    if info.base != EMBEDDED:
        raise CheckpointError(f'train.base = "{info.base}": this version has only "{EMBEDDED}"')
    packer = Packer(embedded_tokenizer())
    base = embedded_language_model(len(packer.tokenizer))
    lora = LoraSettings(**info.lora)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=LORA_TARGETS,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft 0.21 reads an attribute that transformers 5.23 has renamed and still serves.
        warnings.simplefilter("ignore", FutureWarning)
        language_model = get_peft_model(base, config)
    assert isinstance(language_model, PeftModel)
    model = FineVQ(
        language_model,
        spatial_width=info.shapes["spatial"][-1],
        motion_width=info.shapes["motion"][-1],
        image_id=packer.image_id,
        score_weight=info.score_weight,
    )
    return model, packer


def _projectors(model: FineVQ) -> nn.ModuleDict:
    return nn.ModuleDict({"spatial": model.spatial_projector, "motion": model.motion_projector})


def save_weights(model: FineVQ, folder: Path) -> None:
    """Write the trained weights, without checkpoint.json."""
    folder.mkdir(parents=True, exist_ok=True)
    model.language_model.save_pretrained(str(folder / "adapter"))
    save_file(_projectors(model).state_dict(), folder / "projectors.safetensors")
    save_file(model.score_head.state_dict(), folder / "score_head.safetensors")


def load_weights(model: FineVQ, folder: Path) -> None:
    """Read the trained weights into a model of the same shape.

    Raises:
        CheckpointError: a file is missing or damaged, or its tensors do not fit.
    """
    file = folder / "adapter" / "adapter_model.safetensors"
    adapter = _tensors(file)
    try:
        result: Any = set_peft_model_state_dict(model.language_model, adapter)
    except RuntimeError as error:
        raise _unfit(file, error) from error
    if result.unexpected_keys:
        raise CheckpointError(
            f"{folder}/adapter: has the unknown tensor {result.unexpected_keys[0]}"
        )
    absent = [key for key in result.missing_keys if "lora_" in key]
    if absent:
        raise CheckpointError(f"{folder}/adapter: lacks the tensor {absent[0]}")
    for name, module in (("projectors", _projectors(model)), ("score_head", model.score_head)):
        file = folder / f"{name}.safetensors"
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


def save_checkpoint(model: FineVQ, info: CheckpointInfo, folder: Path) -> None:
    """Write a whole checkpoint."""
    save_weights(model, folder)
    part = folder / "checkpoint.json.part"
    part.write_text(json.dumps(asdict(info), indent=2), "utf-8")
    os.replace(part, folder / "checkpoint.json")


def read_info(folder: Path) -> CheckpointInfo:
    """The content of a checkpoint's checkpoint.json.

    Raises:
        CheckpointError: there is none, or it is of another version.
    """
    file = folder / "checkpoint.json"
    try:
        info = TypeAdapter(CheckpointInfo).validate_json(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: no checkpoint there; make one with `finevq train` or `finevq demo`, or "
            "name another with --checkpoint"
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: damaged, not the content of a checkpoint") from error
    if (info.format, info.prompts) != (FORMAT, PROMPTS_VERSION):
        raise CheckpointError(
            f"{file}: format {info.format} with prompts {info.prompts}; this version reads format "
            f"{FORMAT} with prompts {PROMPTS_VERSION}: train again"
        )
    return info


def load_checkpoint(folder: Path) -> tuple[FineVQ, Packer, CheckpointInfo]:
    """A trained model in evaluation mode, its packer, and what checkpoint.json says.

    Raises:
        CheckpointError: as `read_info` and `load_weights`.
    """
    info = read_info(folder)
    model, packer = build_model(info)
    load_weights(model, folder)
    return model.eval(), packer, info


def digest(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights, by which its predictions know it.

    Raises:
        CheckpointError: a file is missing.
    """
    total = hashlib.sha256()
    for name in ("adapter/adapter_model.safetensors", "projectors", "score_head"):
        file = folder / (name if "." in name else f"{name}.safetensors")
        try:
            total.update(file.read_bytes())
        except FileNotFoundError as error:
            raise CheckpointError(f"{file}: missing; the checkpoint is not whole") from error
    return total.hexdigest()
