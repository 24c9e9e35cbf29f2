"""The motion encoder: frames to SlowFast features (paper, equation 4; before the projector)."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .spatial import MEAN as FRAME_MEAN
from .spatial import STD as FRAME_STD
from .spatial import to_device

MEAN, STD = 0.45, 0.225
"""Statistics of RGB in [0, 1] that SlowFast was trained with on Kinetics."""

SLOW_EVERY = 4
"""The slow pathway sees every 4th frame of a clip: 8 of 32, the "8x8" of SLOWFAST_8x8_R50."""

WIDTH = 2048 + 256
"""Channels of the slow and the fast pathway, in this order."""

OFFICIAL_WINDOWS = (8, 7, 7), (32, 7, 7)
"""Frames, height and width of SlowFast's two pooling windows, those of the slow pathway first."""


def _import_create_slowfast() -> Callable[..., nn.Module]:
    """Import pytorchvideo's `create_slowfast`, with or without torchvision.

    `pytorchvideo.models` imports torchvision for one class, the RoIAlign of its detection heads,
    which SlowFast as an encoder does not have. Where torchvision is missing or does not fit the
    installed torch, an empty stand-in takes its place during the import and is then removed.
    """
    try:
        import torchvision.ops  # noqa: F401
    except (ImportError, RuntimeError):
        stand_in, ops = ModuleType("torchvision"), ModuleType("torchvision.ops")
        ops.RoIAlign = None  # type: ignore[attr-defined]
        saved = {name: sys.modules.get(name) for name in ("torchvision", "torchvision.ops")}
        sys.modules.update({"torchvision": stand_in, "torchvision.ops": ops})
        try:
            from pytorchvideo.models.slowfast import create_slowfast
        finally:
            for name, module in saved.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module
    else:
        from pytorchvideo.models.slowfast import create_slowfast
    return create_slowfast  # type: ignore[no-any-return]


def build_slowfast(depth: int) -> nn.Sequential:
    """SlowFast's trunk without its head: two pathways with 2048 and 256 output channels.

    Args:
        depth: 50 for SLOWFAST_8x8_R50; 18 has one block a stage.
    """
    network: Any = _import_create_slowfast()(model_depth=depth, head=None, head_pool=None)
    for module in network.modules():
        if isinstance(module, nn.Conv3d):  # torch.compile cannot trace NumPy's integers
            module.stride = tuple(map(int, module.stride))
    # The last two blocks pool and classify; the trunk is the stem and the four stages.
    return nn.Sequential(*network.blocks[:5])


class MotionEncoder(nn.Module):
    """A frozen SlowFast with normalisation in front and pooling over space and time behind.

    The mode says which frames it takes. "clips": clips of the video, sampled and normalised as in
    SlowFast's own training. "frames8" and "all": as the official FineVQ code, which gives SlowFast
    frames that are normalised for the image encoder: the 8 sampled frames in its training
    ("frames8"), every frame of the video in its evaluation ("all").
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: nn.Sequential, mode: str) -> None:
        """Wrap a trunk.

        Args:
            trunk: of `build_slowfast`, in the dtype to compute in.
            mode: "clips", "frames8" or "all".
        """
        super().__init__()
        self.trunk = trunk.eval().requires_grad_(False)
        self.mode = mode
        mean, std = ([MEAN] * 3, [STD] * 3) if mode == "clips" else (FRAME_MEAN, FRAME_STD)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1, 1), persistent=False)

    @torch.inference_mode()
    def forward(self, clips: NDArray[np.uint8]) -> Tensor:
        """Encode clips, of one video or of several.

        Args:
            clips: RGB, (clips, frames, size, size, 3); as many frames as the mode takes.

        Returns:
            The slow and fast features of each clip side by side, float32, (clips, 2304).
        """
        dtype = next(self.trunk.parameters()).dtype
        # In place, because in mode "all" these floats are the largest array in memory.
        pixels = to_device(clips, self.mean.device).permute(0, 4, 1, 2, 3).float()
        pixels = pixels.div_(255).sub_(self.mean).div_(self.std).to(dtype)
        official = self.mode != "clips"
        pathways = official_pathways(pixels) if official else [pixels[:, :, ::SLOW_EVERY], pixels]
        pathways = self.trunk(pathways)
        if official:
            slow, fast = map(window_mean, pathways, OFFICIAL_WINDOWS)
        else:
            slow, fast = (pathway.mean(dim=(2, 3, 4)) for pathway in pathways)
        return torch.cat([slow, fast], dim=1).float()


def official_pathways(frames: Tensor) -> list[Tensor]:
    """What the official code gives the slow and the fast pathway.

    The slow pathway gets T // 4 frames, spread evenly from the first to the last. The fast pathway
    gets the first 4 * (T // 4) frames. So of 8 frames, the slow pathway gets the first and the last
    one, and the fast pathway all.

    Args:
        frames: (clips, channels, T, height, width), T at least 4.

    Returns:
        The frames of the slow and of the fast pathway.
    """
    count = frames.shape[2]
    slow = torch.linspace(0, count - 1, count // SLOW_EVERY).long()
    return [frames[:, :, slow], frames[:, :, : count // SLOW_EVERY * SLOW_EVERY]]


def window_mean(features: Tensor, window: tuple[int, int, int]) -> Tensor:
    """The mean of average pooling with stride 1: a mean weighted towards the centre.

    SlowFast's head pools with a fixed window. On inputs larger than it was made for, the pooling
    has several outputs, and the official code takes their mean. A position then counts once for
    each window that covers it. Where the window is longer than the features, it is cut to their
    length. The official code repeats the features to the window's length instead, which gives the
    same mean.

    Args:
        features: (clips, channels, frames, height, width).
        window: frames, height and width.

    Returns:
        (clips, channels), float32.
    """
    weights = [
        _window_weights(length, size).to(features.device)
        for length, size in zip(features.shape[2:], window, strict=True)
    ]
    return torch.einsum("ncthw,t,h,w->nc", features.float(), *weights)


def _window_weights(length: int, window: int) -> Tensor:
    """The weight of each of `length` positions in the mean over all windows; they sum to 1."""
    window = min(window, length)
    positions = torch.arange(length)
    first = (positions - window + 1).clamp(min=0)  # the first window that covers a position
    last = positions.clamp(max=length - window)
    return (last - first + 1) / (window * (length - window + 1))
