"""Checkpoints: what training changed, and what is needed to use it; a few MB to a few hundred.

adapter/                  LoRA of the language model, in PEFT's layout; none with a rank of 0
language_model.safetensors  all weights of the language model instead, if they were trained
projectors.safetensors    spatial.* and motion.*
score_head.safetensors
vision_adapter/           LoRA of the image encoder, after the end-to-end stage; it is not used from
here: extract.spatial.adapter names it, and the features have it
training.csv              see `finevq.train.training_set`
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
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..cache.identity import Identity
from ..cache.store import FeatureStore
from ..errors import CheckpointError, IdentityMismatch
from .base import Base, load_base
from .model import FineVQ
from .packing import Packer
from .prompts import PROMPTS_VERSION, ProfileName
from .settings import LoraSettings, Precision, Used

FORMAT = 2

LANGUAGE_MODEL = "language_model.safetensors"

# Every linear layer of a Llama block (paper, section 4.3, on the language model).
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class CheckpointInfo:
    """The content of checkpoint.json.

    Attributes:
        base: the base model, as `train.base` names it.
        base_hash: of its language model's weights, see `finevq.train.base.hash_of`.
        lora: rank, alpha and dropout of the adapter; a rank of 0 for none.
        features: content of the identity of the features it was trained on.
        shapes: of one video's features, {"spatial": (F, T, D), "motion": (C, M)}.
        dtype: in which the features were stored.
        mos_range: lowest and highest MOS of the training data; a score of 0 and of 1.
        extract: the `[extract]` settings that make such features of a video file.
        score_weight: of the L1 loss.
        run: what the run that made it was given, see `finevq.train.fit`.
        precision: dtype of the frozen language model.
        profile: wording of the ratings.
        final_relu: whether a ReLU ends the score head.
        frames: how many of the stored frames the model looks at, see `finevq.train.packing.picked`.
        clips: how many of the stored clips.
        language_weight: of the language loss.
        full: whether all weights of the language model were trained, and are in the folder.
        prompts: version of the prompts.
        format: version of this layout.
    """

    base: str
    base_hash: str
    lora: dict[str, Any]
    features: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    dtype: str
    mos_range: tuple[float, float]
    extract: dict[str, Any]
    score_weight: float
    run: dict[str, Any]
    precision: Precision = "float32"
    profile: ProfileName = "finevq"
    final_relu: bool = False
    frames: Used = "all"
    clips: Used = "all"
    language_weight: float = 1.0
    full: bool = False
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


def build_model(
    info: CheckpointInfo, base: Base, vision: nn.Module | None = None
) -> tuple[FineVQ, Packer]:
    """The model with fresh projectors, adapter and score head, and its packer.

    The adapter is put into the base's language model, which serves one model alone.

    Args:
        info: what checkpoint.json says, or will say.
        base: of that name and hash.
        vision: see `FineVQ`.

    Raises:
        CheckpointError: the base model's tokenizer does not have the tokens of an InternVL.
    """
    limit = int(base.language_model.config.max_position_embeddings)
    packer = Packer(base.tokenizer, base.chat, limit, info.frames, info.clips)
    lora = LoraSettings(**info.lora)
    language_model: Any = base.language_model
    if lora.rank:
        with warnings.catch_warnings():
            # peft 0.21 reads an attribute that transformers 5.23 has renamed and still serves.
            warnings.simplefilter("ignore", FutureWarning)
            language_model = get_peft_model(base.language_model, lora_config(lora))
    if info.full:
        language_model.requires_grad_(True)
    model = FineVQ(
        language_model,
        spatial_width=info.shapes["spatial"][-1],
        motion_width=info.shapes["motion"][-1],
        image_id=packer.image_id,
        frames=info.frames,
        clips=info.clips,
        language_weight=info.language_weight,
        score_weight=info.score_weight,
        final_relu=info.final_relu,
        vision=vision,
    )
    return model, packer


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


def _adapters(model: FineVQ) -> dict[str, PeftModel]:
    """What has a LoRA, by the folder that it is saved in."""
    found: dict[str, Any] = {"adapter": model.language_model}
    if model.vision is not None:
        found["vision_adapter"] = model.vision.vit
    return {name: module for name, module in found.items() if isinstance(module, PeftModel)}


def save_weights(model: FineVQ, folder: Path) -> None:
    """Write the trained weights, without checkpoint.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, adapted in _adapters(model).items():
        adapted.save_pretrained(str(folder / name))
    if _is_full(model):
        save_file(model.language_model.state_dict(), folder / LANGUAGE_MODEL)
    save_file(_projectors(model).state_dict(), folder / "projectors.safetensors")
    save_file(model.score_head.state_dict(), folder / "score_head.safetensors")


def load_weights(model: FineVQ, folder: Path) -> None:
    """Read the trained weights into a model of the same shape.

    Raises:
        CheckpointError: a file is missing or damaged, or its tensors do not fit.
    """
    for name, adapted in _adapters(model).items():
        _load_adapter(adapted, folder / name)
    if _is_full(model):
        _load_into(model.language_model, folder / LANGUAGE_MODEL)
    _load_heads(model, folder)


def start_from(model: FineVQ, info: CheckpointInfo, folder: Path) -> None:
    """Read another run's weights: projectors, score head, and the adapter, if it has one.

    Args:
        model: with fresh weights.
        info: of the run that starts.
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
        _load_into(model.language_model, folder / LANGUAGE_MODEL)
    adapter = _adapters(model).get("adapter")
    if other.lora["rank"]:
        for key in ("rank", "alpha"):
            if other.lora[key] != info.lora[key]:
                raise CheckpointError(
                    f"{folder}: has a LoRA with a {key} of {other.lora[key]}, not "
                    f"{info.lora[key]}: set train.lora.{key} to it, or train.start to another"
                )
        assert adapter is not None
        _load_adapter(adapter, folder / "adapter")
    _load_heads(model, folder)


def _load_adapter(adapted: PeftModel, folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    tensors = _tensors(file)
    try:
        result: Any = set_peft_model_state_dict(adapted, tensors)
    except RuntimeError as error:
        raise _unfit(file, error) from error
    if result.unexpected_keys:
        raise CheckpointError(f"{folder}: has the unknown tensor {result.unexpected_keys[0]}")
    absent = [key for key in result.missing_keys if "lora_" in key]
    if absent:
        raise CheckpointError(f"{folder}: lacks the tensor {absent[0]}")


def _load_heads(model: FineVQ, folder: Path) -> None:
    for name, module in (("projectors", _projectors(model)), ("score_head", model.score_head)):
        _load_into(module, folder / f"{name}.safetensors")


def _load_into(module: nn.Module, file: Path) -> None:
    try:
        module.load_state_dict(_tensors(file))
    except RuntimeError as error:
        raise _unfit(file, error) from error


def _is_full(model: FineVQ) -> bool:
    """Whether the language model's own weights train; a LoRA's do beside frozen ones."""
    return all(weight.requires_grad for weight in model.language_model.parameters())


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
    write_info(info, folder)


def write_info(info: CheckpointInfo, folder: Path) -> None:
    """Write checkpoint.json, which makes a folder with weights a checkpoint."""
    part = folder / "checkpoint.json.part"
    part.write_text(json.dumps(asdict(info), indent=2), "utf-8")
    os.replace(part, folder / "checkpoint.json")


def check_free(folder: Path) -> None:
    """Refuse a folder that holds a checkpoint.

    Raises:
        CheckpointError: it does.
    """
    if (folder / "checkpoint.json").exists():
        raise CheckpointError(f"{folder}: holds a checkpoint already; choose another folder")


def read_info(folder: Path) -> CheckpointInfo:
    """The content of a checkpoint's checkpoint.json.

    Raises:
        CheckpointError: there is none, or it is of another version.
    """
    file = folder / "checkpoint.json"
    try:
        text = file.read_text("utf-8")
        content = json.loads(text)
        versions = content.get("format"), content.get("prompts")
        if isinstance(versions[0], int) and versions != (FORMAT, PROMPTS_VERSION):
            raise CheckpointError(
                f"{file}: format {versions[0]} with prompts {versions[1]}; this version reads "
                f"format {FORMAT} with prompts {PROMPTS_VERSION}: train again"
            )
        return TypeAdapter(CheckpointInfo).validate_json(text)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: no checkpoint there; make one with `finevq train` or `finevq demo`, or "
            "name another with --checkpoint"
        ) from error
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{file}: damaged, not the content of a checkpoint") from error


def load_checkpoint(folder: Path) -> tuple[FineVQ, Packer, CheckpointInfo]:
    """A trained model in evaluation mode, its packer, and what checkpoint.json says.

    Raises:
        CheckpointError: as `read_info`, `load_base` and `load_weights`, and if the base model is
            not the one that it was trained on.
    """
    info = read_info(folder)
    base = load_base(info.base, info.precision)
    if base.hash != info.base_hash:
        raise CheckpointError(
            f"{folder}: was trained on another base model than the one at {info.base} (SHA-256 "
            f"{info.base_hash[:12]}, not {base.hash[:12]}); put the first back, or train again"
        )
    model, packer = build_model(info, base)
    load_weights(model, folder)
    return model.eval(), packer, info


def digest(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights, by which its predictions know it.

    Raises:
        CheckpointError: a file is missing.
    """
    total = hashlib.sha256()
    names = ["projectors", "score_head"]
    if (folder / "adapter").is_dir():
        names.insert(0, "adapter/adapter_model")
    if (folder / LANGUAGE_MODEL).is_file():
        names.insert(0, "language_model")
    for name in names:
        file = folder / f"{name}.safetensors"
        try:
            total.update(file.read_bytes())
        except FileNotFoundError as error:
            raise CheckpointError(f"{file}: missing; the checkpoint is not whole") from error
    return total.hexdigest()
