"""The motion encoder: clips to SlowFast features (paper, equation 4; before the projector)."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

MEAN, STD = 0.45, 0.225
"""Statistics of RGB in [0, 1] that SlowFast was trained with on Kinetics."""

SLOW_EVERY = 4
"""The slow pathway sees every 4th frame of a clip: 8 of 32, the "8x8" of SLOWFAST_8x8_R50."""

WIDTH = 2048 + 256
"""Channels of the slow and the fast pathway, in this order."""


def _slowfast_builder() -> Callable[..., nn.Module]:
    """Pytorchvideo's `create_slowfast`, imported without torchvision.

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


def build_slowfast(depth: int) -> nn.ModuleList:
    """SlowFast's trunk without its head: two pathways with 2048 and 256 output channels.

    Args:
        depth: 50 for SLOWFAST_8x8_R50; 18 has one block a stage.
    """
    network: Any = _slowfast_builder()(model_depth=depth, head=None, head_pool=None)
    # The last two blocks pool and classify; the trunk is the stem and the four stages.
    return nn.ModuleList(list(network.blocks)[:5])


class MotionEncoder(nn.Module):
    """A frozen SlowFast with normalisation in front and global average pooling behind."""

    def __init__(self, trunk: nn.ModuleList) -> None:
        super().__init__()
        self.trunk = trunk.eval().requires_grad_(False)

    @torch.inference_mode()
    def forward(self, clips: NDArray[np.uint8]) -> Tensor:
        """Encode the clips of one video.

        Args:
            clips: RGB, (clips, 32, size, size, 3), consecutive frames.

        Returns:
            The slow and fast features of each clip side by side, float32, (clips, 2304).
        """
        device = next(self.trunk.parameters()).device
        pixels = torch.from_numpy(clips).to(device).permute(0, 4, 1, 2, 3).float() / 255
        fast = (pixels - MEAN) / STD
        pathways = [fast[:, :, ::SLOW_EVERY], fast]
        for block in self.trunk:
            pathways = block(pathways)
        slow, fast = (pathway.mean(dim=(2, 3, 4)) for pathway in pathways)
        return torch.cat([slow, fast], dim=1).float()
