"""SlowFast's published weights: pytorchvideo's own file, or those inside a FineVQ checkpoint.

The two have equal convolutions but different BatchNorm statistics: the official FineVQ training
leaves BatchNorm in training mode, so the statistics in a FineVQ checkpoint have changed.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ...weights import Weights, open_safetensors, read_pth
from .motion import build_slowfast

FILE_PREFIX, CHECKPOINT_PREFIX = "blocks.", "slowfast_model.feature_extraction."
"""What precedes the number of a block in a tensor's name, in a single file and a checkpoint."""

DEPTHS = {1: 18, 6: 50}
"""Depth of the network by the number of residual blocks in its third stage."""


def load_slowfast(model: str) -> nn.Sequential:
    """Load the trunk of a published SlowFast, in the dtype in which it is stored.

    Args:
        model: a `.pyth` of pytorchvideo such as SLOWFAST_8x8_R50.pyth, a `.safetensors` with the
            same names, or the folder or hub name of a published FineVQ checkpoint.

    Raises:
        CheckpointError: a file is missing or damaged or holds code; a tensor is missing, unknown
            or has another shape.
    """
    prefix, tensors = _trunk_tensors(model)
    if not tensors:
        raise CheckpointError(
            f"{model}: holds no SlowFast, whose tensors have names like {prefix}0.*"
        )
    block = re.compile(r"3\.multipathway_blocks\.0\.res_blocks\.(\d+)\.")
    blocks = len({found[1] for name in tensors if (found := block.match(name))})
    if blocks not in DEPTHS:
        raise CheckpointError(
            f"{model}: holds a SlowFast with {blocks} blocks in its third stage; only "
            f"SLOWFAST_8x8_R50, with 6, is supported"
        )
    with torch.device("meta"):
        trunk = build_slowfast(DEPTHS[blocks])
    _check_fit(model, prefix, tensors, trunk)
    trunk.load_state_dict(tensors, assign=True)
    return trunk


def _trunk_tensors(model: str) -> tuple[str, dict[str, Tensor]]:
    """The prefix of the tensors' names, and the tensors of blocks 0 to 4 by name without it."""
    path = Path(model)
    if path.suffix in {".pyth", ".pth"}:
        stored: Mapping[str, Tensor] = read_pth(path)
        prefix, names, read = FILE_PREFIX, list(stored), stored.__getitem__
    elif path.suffix == ".safetensors":
        file = open_safetensors(path)
        prefix, names, read = FILE_PREFIX, list(file.keys()), file.get_tensor
    else:
        weights = Weights(model)
        prefix, names, read = CHECKPOINT_PREFIX, list(weights), weights.read
    # Blocks 5 and 6 pool and classify; the trunk ends before them.
    in_trunk = re.compile(re.escape(prefix) + r"[0-4]\.")
    return prefix, {name.removeprefix(prefix): read(name) for name in names if in_trunk.match(name)}


def _check_fit(
    model: str, prefix: str, tensors: Mapping[str, Tensor], trunk: nn.Sequential
) -> None:
    expected = trunk.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise CheckpointError(f"{model}: has no tensor {prefix}{name}")
        if name not in expected:
            raise CheckpointError(f"{model}: has the tensor {prefix}{name}, unknown to SlowFast")
        if tensors[name].shape != expected[name].shape:
            raise CheckpointError(
                f"{model}: {prefix}{name} has the shape {tuple(tensors[name].shape)}, where "
                f"SlowFast has {tuple(expected[name].shape)}"
            )
