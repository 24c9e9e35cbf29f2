"""Importing a published FineVQ checkpoint, as one of ours that says which features it needs."""

import json
from pathlib import Path
from typing import Literal

from ...extract.encode.encoder import Encoder
from ...extract.encode.vision_lora import write_vision_adapter
from ...extract.settings import ExtractSettings
from ...train.model.checkpoint import CheckpointInfo, check_free
from ...train.model.official import import_checkpoint as import_language_side
from ...train.settings import Precision
from ...weights import Weights


def import_checkpoint(
    folder: str,
    out: Path,
    *,
    motion: Literal["frames8", "all"],
    extract: ExtractSettings,
    dtype: str,
    precision: Precision,
) -> CheckpointInfo:
    """Write a published FineVQ checkpoint of stage two in our layout.

    Its base weights stay where they are. Its vision LoRA becomes `out`/vision_adapter. The identity
    of the features names this adapter, and the checkpoint's own SlowFast, whose batch statistics
    changed during training. `out`/extract.toml has the settings that make such features.

    Args:
        folder: of the published checkpoint, or its name on the Hugging Face hub.
        out: folder of the checkpoint to write.
        motion: the motion features: "frames8" as in the official training, "all" as in the official
            evaluation. The checkpoint does not tell which it was made for.
        extract: settings; only their device, precision, decoding and cluster are kept.
        dtype: of the stored features.
        precision: of the language model.

    Raises:
        CheckpointError: it is no such checkpoint, it is damaged, or `out` holds a checkpoint.
    """
    check_free(out)
    weights = Weights(folder)
    if Path(folder).is_dir():
        folder = str(Path(folder).absolute())  # the checkpoint is used from other folders as well
    adapter = ""
    if any(name.startswith("vision_model.") and ".lora_A." in name for name in weights):
        adapter = str((out / "vision_adapter").absolute())
        write_vision_adapter(weights, Path(adapter))
    settings = ExtractSettings.model_validate(
        extract.model_dump()
        | {
            "spatial": extract.spatial.model_dump()
            | {"model": folder, "adapter": adapter, "frames": 8, "sampler": "official"},
            "motion": extract.motion.model_dump() | {"model": folder, "mode": motion},
        }
    )
    encoder = Encoder(settings)
    info = import_language_side(
        folder,
        out,
        features=encoder.identity,
        shapes=encoder.shapes,
        dtype=dtype,
        extract=settings.model_dump(),
        precision=precision,
    )
    (out / "extract.toml").write_text(_toml(settings), "utf-8")
    return info


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string is a TOML string as well


def _toml(settings: ExtractSettings) -> str:
    """What a configuration must say to make the features that the checkpoint needs."""
    spatial, motion = settings.spatial, settings.motion
    return f"""\
# The features that this checkpoint needs: `finevq extract -c extract.toml` with your [dataset].
[extract]
precision = "{settings.precision}"

[extract.spatial]
model = {_quoted(spatial.model)}
adapter = {_quoted(spatial.adapter)}
frames = {spatial.frames}
sampler = "{spatial.sampler}"

[extract.motion]
model = {_quoted(motion.model)}
mode = "{motion.mode}"
"""
