"""Both frozen backbones as one encoder, and the identity of what it makes."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.utils.import_utils import is_flash_attn_2_available

from ..cache.identity import Identity
from ..cache.records import Failure, Features, Source
from ..errors import ConfigError
from ..weights import tensor_hash
from .decode import DecodedVideo, Sampling
from .embedded import embedded_slowfast, embedded_vit
from .internvit import load_internvit
from .motion import MEAN as MOTION_MEAN
from .motion import SLOW_EVERY, MotionEncoder
from .motion import STD as MOTION_STD
from .motion import WIDTH as MOTION_WIDTH
from .sampling import CLIP_FRAMES
from .settings import ExtractSettings
from .slowfast import load_slowfast
from .spatial import MEAN as SPATIAL_MEAN
from .spatial import STD as SPATIAL_STD
from .spatial import SpatialEncoder
from .vision_lora import merge_adapter

EXTRACTION_VERSION = 1
"""Part of every identity; raise it with any change of code that changes the features."""

EMBEDDED = "embedded"

log = logging.getLogger(__name__)

MIDDLES = {
    "middles": "middles of equal segments",
    "official": "middles of equal segments by the official formula",
}
WHOLE = {"frames8": "the spatial frames", "all": "every frame by the official formula"}
"""The samplers as the identity names them."""

OFFICIAL_MIN_SIZE = 224
"""The smallest frames of which SlowFast leaves 7 x 7 places, the official pooling's window."""


class Encoder:
    """Turns decoded videos into features: the spatial tokens and the motion vectors."""

    def __init__(self, settings: ExtractSettings) -> None:
        """Load the backbones onto the device, in the dtype that `precision` names.

        Raises:
            ConfigError: a device, flash-attention or a compiler that is not there, or settings that
                do not go together.
            CheckpointError: weights that are missing, damaged or of another architecture.
        """
        self.settings = settings
        self.device = check_device(settings)
        spatial, motion = settings.spatial, settings.motion
        # The official modes show SlowFast the single frames, which are whole then.
        self.pieces = spatial.model == EMBEDDED and motion.mode == "clips"
        vit: Any = (
            embedded_vit(self.pieces)
            if spatial.model == EMBEDDED
            else load_internvit(spatial.model)
        )
        _check_mode(settings, vit.config.image_size[0])
        trunk = embedded_slowfast() if motion.model == EMBEDDED else load_slowfast(motion.model)
        # Hashed as they are stored, before anything is merged, cast or moved.
        hashes = {"vit": weight_hash(vit), "slowfast": weight_hash(trunk), "adapter": None}
        if spatial.adapter:
            hashes["adapter"] = merge_adapter(vit, Path(spatial.adapter))
        vit.set_attn_implementation(spatial.attention)
        dtype: torch.dtype = getattr(torch, settings.precision)
        self.spatial = SpatialEncoder(vit.to(dtype)).to(self.device)
        self.motion = MotionEncoder(trunk.to(dtype), motion.mode).to(self.device)
        self.videos_per_batch = 1
        if self.device.type == "cuda":
            # On a CPU both are slower (benchmarks/forward.py).
            self.videos_per_batch = settings.videos_per_batch
            self.motion.trunk.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.identity = Identity(self._identity(hashes))
        if settings.compile:
            self._compile()

    def _compile(self) -> None:
        """Have both backbones compiled, and wait for it: nothing is compiled while videos wait."""
        self.spatial.vit.compile(dynamic=False)
        if self.settings.motion.mode != "all":  # there each video would need code of its own
            self.motion.trunk.compile(dynamic=False)
        try:
            self.encode_all([_black(self.sampling)] * self.videos_per_batch)
        except Exception as error:  # whatever a missing compiler makes torch raise
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"extract.compile = true: torch.compile fails here ({reason}); set it to false, or "
                "install the compiler that it needs"
            ) from error

    @property
    def sampling(self) -> Sampling:
        """What the encoder needs of a video."""
        return Sampling(
            frames=self.settings.spatial.frames,
            frame_size=self.spatial.size,
            sampler=self.settings.spatial.sampler,
            mode=self.settings.motion.mode,
            clips=self.settings.motion.clips,
            clip_size=self.settings.motion.size,
            pieces=self.pieces,
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The features' shapes: spatial (F, T, D) and motion (C, 2304)."""
        motion = self.settings.motion
        return {
            "spatial": (self.settings.spatial.frames, *self.spatial.token_shape),
            "motion": (motion.clips if motion.mode == "clips" else 1, MOTION_WIDTH),
        }

    def encode(self, video: DecodedVideo) -> Features:
        """The features of one video, float32."""
        return self._encode([video])[0]

    def encode_all(self, videos: Sequence[DecodedVideo]) -> list[Features | Failure]:
        """The features of several videos, `videos_per_batch` at a time.

        A video's features do not depend on its company, up to the rounding of a GPU's kernels for
        another batch size. Where the GPU's memory does not hold a batch, this one and all later
        ones are halved; a video that does not fit by itself is a failure.
        """
        results: list[Features | Failure] = []
        while len(results) < len(videos):
            batch = videos[len(results) : len(results) + self.videos_per_batch]
            try:
                results += self._encode(batch)
                continue
            except torch.cuda.OutOfMemoryError:
                pass  # what the error refers to must be gone before the next attempt
            torch.cuda.empty_cache()
            size = self.videos_per_batch if self.settings.compile else len(batch)
            if size == 1:
                results.append(Failure("needs more GPU memory than there is"))
            else:
                self.videos_per_batch = size // 2
                log.warning("out of GPU memory: %d videos a batch now", self.videos_per_batch)
        return results

    def _encode(self, videos: Sequence[DecodedVideo]) -> list[Features]:
        # Compiled code is for one size of batch, which the first video fills up.
        missing = self.videos_per_batch - len(videos) if self.settings.compile else 0
        batch = [*videos, *[videos[0]] * missing]
        # Neither the type nor the choice of kernels may depend on what was encoded before.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            spatial = self.spatial(np.concatenate([video.frames for video in batch])).cpu()
            if self.settings.motion.mode == "all":  # as long as the video: not to be stacked
                motion = torch.cat([self.motion(video.clips).cpu() for video in videos])
            else:
                motion = self.motion(np.concatenate([video.clips for video in batch])).cpu()
        parts = [features.chunk(len(batch)) for features in (spatial, motion)]
        return [
            Features(tokens.numpy(), vectors.numpy(), _source(video))
            for video, tokens, vectors in zip(videos, *parts, strict=not missing)
        ]

    def _identity(self, hashes: dict[str, str | None]) -> dict[str, Any]:
        s = self.settings.spatial
        frames = {
            "size": self.spatial.size,
            "resize": "pieces at two scales, PIL bicubic" if self.pieces else "PIL bicubic",
            "mean": list(SPATIAL_MEAN),
            "std": list(SPATIAL_STD),
        }
        return {
            "version": EXTRACTION_VERSION,
            "precision": self.settings.precision,
            "decoding": "in order; decord, and PyAV where decord is unfit",
            "spatial": {
                "weights": hashes["vit"],
                "adapter": hashes["adapter"],
                "frames": s.frames,
                "sampler": MIDDLES[s.sampler],
                **frames,
                "tokens": "last block, no class token, pixel shuffle",
            },
            "motion": {
                "weights": hashes["slowfast"],
                "mode": self.settings.motion.mode,
                **(self._clips() if self.settings.motion.mode == "clips" else self._whole(frames)),
            },
        }

    def _clips(self) -> dict[str, Any]:
        """What mode "clips" adds to the identity."""
        return {
            "clips": self.settings.motion.clips,
            "clip_frames": CLIP_FRAMES,
            "slow_every": SLOW_EVERY,
            "sampler": "windows spread evenly",
            "size": self.settings.motion.size,
            "resize": "torch bilinear, antialiased, 8 bits",
            "mean": MOTION_MEAN,
            "std": MOTION_STD,
            "pooling": "mean over space and time",
        }

    def _whole(self, frames: dict[str, Any]) -> dict[str, Any]:
        """What the official modes add to it; `frames` says how single frames are prepared."""
        return {
            "sampler": WHOLE[self.settings.motion.mode],
            **frames,
            "pooling": "mean over windows",
        }


def identify(settings: ExtractSettings) -> Encoder:
    """An encoder for its identity and shapes alone, on machines without the device of the job."""
    spatial = settings.spatial.model_copy(update={"attention": "sdpa"})
    changes = {"device": "cpu", "compile": False, "spatial": spatial}
    return Encoder(settings.model_copy(update=changes))


def check_device(settings: ExtractSettings) -> torch.device:
    """The device that the settings ask for.

    Raises:
        ConfigError: it is not there, or does not go with the settings.
    """
    device = pick_device(settings.device, "extract.device")
    _check_attention(settings, device)
    return device


def _check_attention(settings: ExtractSettings, device: torch.device) -> None:
    if settings.spatial.attention != "flash_attention_2":
        return
    if not is_flash_attn_2_available() or device.type != "cuda":
        reason = "needs the package flash-attn and a GPU, which are not both here"
    elif settings.precision == "float32":
        reason = 'needs extract.precision = "bfloat16" or "float16"'
    else:
        return
    raise ConfigError(
        f'extract.spatial.attention = "flash_attention_2": {reason}; or set it to "sdpa"'
    )


def _check_mode(settings: ExtractSettings, size: int) -> None:
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


def pick_device(name: str, key: str) -> torch.device:
    """The device for "auto", "cpu" or "cuda".

    Raises:
        ConfigError: "cuda" on a machine where torch sees no GPU; the message names the setting.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f'{key} = "cuda": torch sees no GPU here; set it to "auto" or "cpu"')
    return torch.device(name)


def weight_hash(module: nn.Module) -> str:
    """SHA-256 of all parameters and buffers that are saved, by name, shape, dtype and value."""
    return tensor_hash(module.state_dict())


def _black(sampling: Sampling) -> DecodedVideo:
    """What a black video of 8 frames decodes to."""
    windows = sampling.windows(8)
    size = sampling.frame_size
    side = sampling.clip_size if sampling.mode == "clips" else size
    return DecodedVideo(
        frames=np.zeros((sampling.frames, size, size, 3), np.uint8),
        clips=np.zeros((len(windows), len(windows[0]), side, side, 3), np.uint8),
        frame_count=8,
        fps=None,
        seconds=None,
        decoder="decord",
        sha256="",
        decoding_s=0.0,
    )


def _source(video: DecodedVideo) -> Source:
    return Source(
        sha256=video.sha256,
        frames=video.frame_count,
        fps=video.fps if video.fps is None or math.isfinite(video.fps) else None,
        seconds=video.seconds,
        decoder=video.decoder,
    )
