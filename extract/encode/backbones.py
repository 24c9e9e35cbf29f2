"""Loading the two frozen backbones that the settings name, with the hashes of their weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import ConfigError
from ...weights import tensor_hash
from ..settings import ExtractSettings
from .embedded import embedded_slowfast, embedded_vit
from .internvit import load_internvit
from .motion import MotionEncoder
from .slowfast import load_slowfast
from .spatial import SpatialEncoder
from .vision_lora import merge_adapter

EMBEDDED = "embedded"
"""The `model` of a backbone whose weights are computed here, not read from a file."""

OFFICIAL_MIN_SIZE = 224
"""Height and width of the smallest frames for the official pooling, whose window is 7 x 7 places:
SlowFast makes one place of 32 x 32 pixels."""


@dataclass(frozen=True)
class WeightHashes:
    """SHA-256, in hex, of the weights as they are stored, before they are merged or cast.

    Attributes:
        vit: of the InternViT without a LoRA.
        slowfast: of the SlowFast.
        adapter: of the InternViT's LoRA; None without one.
    """

    vit: str
    slowfast: str
    adapter: str | None


@dataclass(frozen=True)
class Backbones:
    """Both backbones, on the device and in the dtype to compute in."""

    spatial: SpatialEncoder
    motion: MotionEncoder
    hashes: WeightHashes


def load_backbones(settings: ExtractSettings, device: torch.device) -> Backbones:
    """Load both backbones, and merge the LoRA into the InternViT if there is one.

    Raises:
        ConfigError: the motion mode does not go with the number or the size of the frames.
        CheckpointError: weights are missing, damaged or of another architecture.
    """
    spatial, motion = settings.spatial, settings.motion
    vit: Any = (
        embedded_vit(takes_pieces(settings))
        if spatial.model == EMBEDDED
        else load_internvit(spatial.model)
    )
    _check_mode(settings, vit.config.image_size[0])
    trunk = embedded_slowfast() if motion.model == EMBEDDED else load_slowfast(motion.model)
    vit_hash = weight_hash(vit)  # merging changes it
    adapter_hash = merge_adapter(vit, Path(spatial.adapter)) if spatial.adapter else None
    hashes = WeightHashes(vit_hash, weight_hash(trunk), adapter_hash)
    vit.set_attn_implementation(spatial.attention)
    dtype: torch.dtype = getattr(torch, settings.precision)
    return Backbones(
        SpatialEncoder(vit.to(dtype)).to(device),
        MotionEncoder(trunk.to(dtype), motion.mode).to(device),
        hashes,
    )


def takes_pieces(settings: ExtractSettings) -> bool:
    """Whether the InternViT takes frames in pieces (`finevq.extract.decode.pieces`).

    The embedded one does, except where the official motion modes show its frames to SlowFast too.
    """
    return settings.spatial.model == EMBEDDED and settings.motion.mode == "clips"


def weight_hash(module: nn.Module) -> str:
    """SHA-256 of all parameters and buffers that are saved, by name, shape, dtype and value."""
    return tensor_hash(module.state_dict())


def _check_mode(settings: ExtractSettings, size: int) -> None:
    """Refuse a motion mode that cannot use the spatial frames, which are `size` pixels wide."""
    mode, frames = settings.motion.mode, settings.spatial.frames
    if mode == "frames8" and frames != 8:
        raise ConfigError(
            f'extract.motion.mode = "frames8": needs extract.spatial.frames = 8, not {frames}'
        )
    if mode != "clips" and size < OFFICIAL_MIN_SIZE:
        raise ConfigError(
            f'extract.motion.mode = "{mode}": needs frames of at least {OFFICIAL_MIN_SIZE} pixels, '
            f'and extract.spatial.model takes {size}; set the mode to "clips"'
        )
