"""Checkpoints: folders with the weights that training changed, and what is needed to use them.

A folder holds a few MB to a few hundred, without the base model's weights:

    adapter/                  LoRA of the language model, in PEFT's layout; none with a rank of 0
    projectors.safetensors    spatial.* and motion.*
    score_head.safetensors
    vision_adapter/           LoRA of the image encoder, after the end-to-end stage; extraction uses
                              it (extract.spatial.adapter names it), the checkpoint's model does not
    training.csv              see `finevq.train.fit.training_set`
    checkpoint.json           see `CheckpointInfo`; written last: without it a folder is no
                              checkpoint
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import nn

from ...cache.identity import Identity
from ...cache.store import FeatureStore
from ...errors import CheckpointError, IdentityMismatch
from ...weights import SMALL
from ..base.language_model import Base, load_base
from ..prompts import PROMPTS_VERSION
from ..settings import LoraSettings, Precision
from .finevq import FineVQ
from .packing import Packer
from .spec import DEFAULT, Spec
from .trained_weights import LANGUAGE_MODEL, add_lora, load_weights, save_weights

SHIPPED = SMALL / "checkpoint"
"""The folder of the checkpoint that ships."""

FORMAT = 2

SPEC_KEYS = ("profile", "final_relu", "frames", "clips")
"""What early versions wrote, and read, at the top level of checkpoint.json in place of `spec`.

They are still written there, so that these versions read new checkpoints. A setting of `Spec` that
these do not know must raise `FORMAT` where it is not at its default.
"""


@dataclass(frozen=True)
class CheckpointInfo:
    """The content of checkpoint.json.

    Attributes:
        base: the base model, as `train.base` names it.
        base_hash: hash of its language model, see `finevq.train.base.tensors.hash_weights`.
        lora: rank, alpha and dropout of the adapter; a rank of 0 for none.
        features: content of the identity of the features that it was trained on.
        shapes: shapes of one video's features, {"spatial": (F, T, D), "motion": (C, M)}.
        dtype: dtype in which the features were stored.
        mos_range: the MOS that a score of 0 and a score of 1 stand for.
        extract: the `[extract]` settings that make such features of a video file.
        score_weight: weight of the L1 loss.
        run: settings and data of the run that made it, see `finevq.train.fit.runs.run_content`.
        precision: dtype of the frozen language model.
        spec: how the model reads a video.
        language_weight: weight of the language loss.
        full: whether all weights of the language model were trained, and are in the folder.
        prompts: version of the prompts.
        format: version of checkpoint.json.
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
    spec: Spec = DEFAULT
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

    The adapter is put into the base's language model itself: load a base for each model.

    Args:
        info: what checkpoint.json says, or will say.
        base: the base model of that name and hash.
        vision: see `FineVQ`.

    Raises:
        CheckpointError: the base model's tokenizer does not have the tokens of an InternVL.
    """
    limit = int(base.language_model.config.max_position_embeddings)
    packer = Packer(base.tokenizer, base.chat, limit, info.spec)
    language_model = add_lora(base.language_model, LoraSettings(**info.lora))
    if info.full:
        language_model.requires_grad_(True)
    model = FineVQ(
        language_model,
        spatial_width=info.shapes["spatial"][-1],
        motion_width=info.shapes["motion"][-1],
        image_id=packer.image_id,
        spec=info.spec,
        language_weight=info.language_weight,
        score_weight=info.score_weight,
        vision=vision,
    )
    return model, packer


def save_checkpoint(model: FineVQ, info: CheckpointInfo, folder: Path) -> None:
    """Write a whole checkpoint."""
    save_weights(model, folder)
    write_info(info, folder)


def write_info(info: CheckpointInfo, folder: Path) -> None:
    """Write checkpoint.json, which makes a folder with weights a checkpoint."""
    part = folder / "checkpoint.json.part"
    content = asdict(info)
    content |= {key: content["spec"][key] for key in SPEC_KEYS}
    part.write_text(json.dumps(content, indent=2), "utf-8")
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
        content = json.loads(file.read_text("utf-8"))
        versions = content.get("format"), content.get("prompts")
        if isinstance(versions[0], int) and versions != (FORMAT, PROMPTS_VERSION):
            raise CheckpointError(
                f"{file}: format {versions[0]} with prompts {versions[1]}; this version reads "
                f"format {FORMAT} with prompts {PROMPTS_VERSION}: train again"
            )
        return TypeAdapter(CheckpointInfo).validate_python(_with_spec(content))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: no checkpoint there; make one with `finevq train` or `finevq demo`, or "
            "name another with --checkpoint or train.start"
        ) from error
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{file}: damaged, not the content of a checkpoint") from error


def _with_spec(content: dict[str, Any]) -> dict[str, Any]:
    """The content of checkpoint.json with `spec` alone in place of the keys of early versions.

    Raises:
        ValueError: `spec` and these keys differ.
    """
    early = {key: content[key] for key in SPEC_KEYS if key in content}
    spec = content.get("spec", early)
    if any(spec.get(key) != value for key, value in early.items()):
        raise ValueError("spec differs from the keys that it stands for")
    rest = {key: value for key, value in content.items() if key not in SPEC_KEYS}
    return rest | {"spec": spec}


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
    """SHA-256 of a checkpoint's weights; predictions and score files name their checkpoint by it.

    Raises:
        CheckpointError: a file is missing.
    """
    total = hashlib.sha256()
    names = ["projectors.safetensors", "score_head.safetensors"]
    if (folder / "adapter").is_dir():
        names.insert(0, "adapter/adapter_model.safetensors")
    if (folder / LANGUAGE_MODEL).is_file():
        names.insert(0, LANGUAGE_MODEL)
    for name in names:
        file = folder / name
        try:
            total.update(file.read_bytes())
        except FileNotFoundError as error:
            raise CheckpointError(f"{file}: missing; the checkpoint is not whole") from error
    return total.hexdigest()
