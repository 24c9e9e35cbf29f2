"""The image encoder: frames to InternViT tokens (paper, equation 3; before the projector)."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import InternVLVisionModel

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of RGB in [0, 1] on ImageNet, as in InternViT's training."""


def pixel_shuffle(patches: Tensor) -> Tensor:
    """Join 2 x 2 neighbouring patches into one token, as InternVL does (its "v2").

    Args:
        patches: (frames, H * W, D), row-major over a square grid of even size.

    Returns:
        (frames, H * W / 4, 4 * D); a token's channels are those of its top-left, top-right,
        bottom-left and bottom-right patch.
    """
    frames, count, depth = patches.shape
    side = round(count**0.5)
    grid = patches.view(frames, side // 2, 2, side // 2, 2, depth)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(frames, count // 4, 4 * depth)


def to_device(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Move pixels to the device as uint8; to a GPU from pinned memory, without waiting for it."""
    tensor = torch.from_numpy(pixels)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor


class SpatialEncoder(nn.Module):
    """A frozen InternViT with normalisation in front and pixel shuffle behind."""

    mean: Tensor
    std: Tensor

    def __init__(self, vit: "InternVLVisionModel") -> None:
        """Wrap a model that is already in the dtype to compute in.

        Attributes:
            size: height and width in pixels of the frames it takes.
            token_shape: number of tokens of a frame and their width: (256, 4096) for
                InternViT-300M.
        """
        super().__init__()
        self.vit = vit.eval().requires_grad_(False)
        config: Any = vit.config
        self.size = int(config.image_size[0])
        side = self.size // int(config.patch_size[0])
        self.token_shape = (side * side // 4, 4 * int(config.hidden_size))
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    @torch.inference_mode()
    def forward(self, frames: NDArray[np.uint8]) -> Tensor:
        """Encode frames, of one video or of several.

        Args:
            frames: RGB, (frames, size, size, 3).

        Returns:
            Tokens of the last block, without the class token, float32, (frames, tokens, width).
        """
        pixels = to_device(frames, self.mean.device).permute(0, 3, 1, 2).float() / 255
        pixels = (pixels - self.mean) / self.std
        output: Any = self.vit(pixel_values=pixels.to(self.vit.dtype))
        return pixel_shuffle(output.last_hidden_state[:, 1:]).float()
