"""The end-to-end stage: decodes videos, and trains a LoRA of the image encoder with the rest.

    frames -- InternViT with LoRA --+
    motion, from the store ---------+--> as on cached features

SlowFast does not train, so its features still come from the store, which also says which videos
can be decoded. The result is a checkpoint with `vision_adapter/`. Its features are others than the
store's: `finevq extract --set extract.spatial.adapter=CHECKPOINT/vision_adapter` makes them, in a
store of their own.

This is the one module of `train` that imports `extract`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from ...cache.store import FeatureStore
from ...dataset.videos import Dataset, Video
from ...errors import ConfigError, IdentityMismatch, VideoError
from ...extract.decode.video import Sampling, decode
from ...extract.encode.encoder import Encoder, encoder_on_cpu
from ...extract.encode.spatial import SpatialEncoder, pixel_shuffle
from ...extract.encode.vision_lora import TARGETS
from ...extract.settings import ExtractSettings
from ..model.checkpoint import CheckpointInfo
from ..settings import LoraSettings, TrainSettings
from .progress import Progress
from .training import Vision, train


def train_end_to_end(
    dataset: Dataset,
    store: FeatureStore,
    settings: TrainSettings,
    extraction: ExtractSettings,
    progress: Progress = lambda done, total, line: None,
    *,
    also: Sequence[Dataset] = (),
) -> CheckpointInfo:
    """Train as `finevq.train.fit.training.train` does, and a LoRA of the image encoder too.

    Args:
        dataset: videos with labels, questions and the split; their files must be there.
        store: features of all videos of both parts, without a LoRA.
        settings: the training's.
        extraction: the `[extract]` settings that made the features.
        progress: is called after every step.
        also: more datasets to learn.

    Returns:
        The content of checkpoint.json; its features and `[extract]` settings are those with the
        LoRA.

    Raises:
        ConfigError: the features have a LoRA already, or `settings` ask for none.
        IdentityMismatch: the store's features were made with other settings or weights.
        VideoError: a video cannot be decoded that could be when its features were made.
        FineVQError: see `finevq.train.fit.training.train`.
    """
    if settings.vision_lora.rank == 0 or extraction.spatial.adapter:
        raise ConfigError(
            "the end-to-end stage trains a new LoRA of the image encoder: set "
            'train.vision_lora.rank to 1 or more, and extract.spatial.adapter to ""'
        )
    encoder = Encoder(extraction.model_copy(update={"compile": False}))  # its `vit` gets a LoRA
    lines = store.layout.identity.difference(encoder.identity)
    if lines:
        raise IdentityMismatch(
            f"the features at {store.url} were made with other settings or weights: "
            f"{'; '.join(lines[:3])}; train with -c and the file that they were extracted with"
        )
    torch.manual_seed(settings.seed)
    vision = Vision(
        VisionEncoder(encoder.spatial, settings.vision_lora),
        # With the spatial frames for a clip nothing else is kept of a video.
        FrameReader(replace(encoder.sampling, mode="frames8")),
        lambda info, folder: _with_adapter(info, folder, extraction),
    )
    given = extraction.model_dump()
    return train(dataset, store, settings, given, progress, also=also, vision=vision)


class VisionEncoder(nn.Module):
    """An InternViT with a LoRA that trains: what `SpatialEncoder` computes, with gradients."""

    mean: Tensor
    std: Tensor

    def __init__(self, spatial: SpatialEncoder, lora: LoraSettings) -> None:
        """Put a LoRA into an image encoder; it starts at zero, where it changes nothing.

        Attributes:
            vit: peft's model around the encoder's.
        """
        super().__init__()
        with warnings.catch_warnings():
            # peft 0.21 reads an attribute that transformers 5.23 has renamed and still serves.
            warnings.simplefilter("ignore", FutureWarning)
            self.vit = get_peft_model(
                spatial.vit,
                LoraConfig(
                    r=lora.rank,
                    lora_alpha=lora.alpha,
                    lora_dropout=lora.dropout,
                    target_modules=list(TARGETS),
                ),
            )
        self.register_buffer("mean", spatial.mean.clone(), persistent=False)
        self.register_buffer("std", spatial.std.clone(), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode the frames of a batch of videos.

        Args:
            frames: RGB, uint8, (B, F, size, size, 3).

        Returns:
            Tokens (B, F, T, D), float32.
        """
        pixels = frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        pixels = (pixels - self.mean) / self.std
        output = self.vit(pixel_values=pixels.to(self.vit.dtype))
        tokens = pixel_shuffle(output.last_hidden_state[:, 1:]).float()
        return tokens.view(*frames.shape[:2], *tokens.shape[1:])


@dataclass(frozen=True)
class FrameReader:
    """Decodes the spatial frames of a video; can be pickled, for reading processes."""

    sampling: Sampling

    def __call__(self, video: Video) -> Tensor:
        """The frames, RGB, uint8, (F, size, size, 3).

        Raises:
            VideoError: the video cannot be decoded; names it.
        """
        try:
            return torch.from_numpy(decode(video.path, self.sampling).frames)
        except VideoError as error:
            raise VideoError(f"{video.id}: {error}") from error


def _with_adapter(
    info: CheckpointInfo, folder: Path, extraction: ExtractSettings
) -> CheckpointInfo:
    """The content of checkpoint.json, with the features that the LoRA in the folder makes."""
    adapter = str((folder / "vision_adapter").absolute())
    spatial = extraction.spatial.model_copy(update={"adapter": adapter})
    adapted = extraction.model_copy(update={"spatial": spatial})
    return replace(
        info, features=encoder_on_cpu(adapted).identity.content, extract=adapted.model_dump()
    )
