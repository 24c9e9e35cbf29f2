"""Both frozen backbones as one encoder, and the identity of what it makes."""

import hashlib
import math
from typing import Any

import torch
from torch import Tensor, nn

from ..cache.identity import Identity
from ..cache.records import Features, Source
from ..errors import ConfigError
from .decode import DecodedVideo, Sampling
from .embedded import embedded_slowfast, embedded_vit
from .motion import MEAN as MOTION_MEAN
from .motion import SLOW_EVERY, MotionEncoder
from .motion import STD as MOTION_STD
from .motion import WIDTH as MOTION_WIDTH
from .sampling import CLIP_FRAMES
from .settings import ExtractSettings
from .spatial import MEAN as SPATIAL_MEAN
from .spatial import STD as SPATIAL_STD
from .spatial import SpatialEncoder

EXTRACTION_VERSION = 1
"""Part of every identity; raise it with any change of code that changes the features."""

EMBEDDED = "embedded"


class Encoder:
    """Turns decoded videos into features: the spatial tokens and the motion vectors."""

    def __init__(self, settings: ExtractSettings) -> None:
        """Load the backbones onto the device.

        Raises:
            ConfigError: an unknown model, or a device that is not there.
        """
        for key, model in (("spatial", settings.spatial.model), ("motion", settings.motion.model)):
            if model != EMBEDDED:
                raise ConfigError(
                    f'extract.{key}.model = "{model}": this version has only "{EMBEDDED}"'
                )
        self.settings = settings
        self.device = pick_device(settings.device, "extract.device")
        self.spatial = SpatialEncoder(embedded_vit())
        self.motion = MotionEncoder(embedded_slowfast())
        # Hashed before they move: the identity is that of the stored weights.
        self.identity = Identity(self._identity())
        self.spatial.to(self.device)
        self.motion.to(self.device)

    @property
    def sampling(self) -> Sampling:
        """What the encoder needs of a video."""
        return Sampling(
            frames=self.settings.spatial.frames,
            frame_size=self.spatial.size,
            clips=self.settings.motion.clips,
            clip_size=self.settings.motion.size,
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The features' shapes: spatial (F, T, D) and motion (C, 2304)."""
        return {
            "spatial": (self.settings.spatial.frames, *self.spatial.token_shape),
            "motion": (self.settings.motion.clips, MOTION_WIDTH),
        }

    def encode(self, video: DecodedVideo) -> Features:
        """The features of one video, float32; each by itself, so its company cannot matter."""
        with self._autocast():
            spatial, motion = self.spatial(video.frames), self.motion(video.clips)
        return Features(
            spatial=_array(spatial),
            motion=_array(motion),
            source=Source(
                sha256=video.sha256,
                frames=video.frame_count,
                fps=video.fps if video.fps is None or math.isfinite(video.fps) else None,
                seconds=video.seconds,
                decoder=video.decoder,
            ),
        )

    def _autocast(self) -> torch.autocast:
        dtype = getattr(torch, self.settings.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    def _identity(self) -> dict[str, Any]:
        s, m = self.settings.spatial, self.settings.motion
        return {
            "version": EXTRACTION_VERSION,
            "precision": self.settings.precision,
            "decoding": "in order; decord, and PyAV where decord is unfit",
            "spatial": {
                "weights": weight_hash(self.spatial.vit),
                "frames": s.frames,
                "sampler": "middles of equal segments",
                "size": self.spatial.size,
                "resize": "PIL bicubic",
                "mean": list(SPATIAL_MEAN),
                "std": list(SPATIAL_STD),
                "tokens": "last block, no class token, pixel shuffle",
            },
            "motion": {
                "weights": weight_hash(self.motion.trunk),
                "clips": m.clips,
                "clip_frames": CLIP_FRAMES,
                "slow_every": SLOW_EVERY,
                "sampler": "windows spread evenly",
                "size": m.size,
                "resize": "PIL bilinear",
                "mean": MOTION_MEAN,
                "std": MOTION_STD,
                "pooling": "mean over space and time",
            },
        }


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
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        # As bytes: NumPy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _array(tensor: Tensor) -> Any:
    return tensor.float().cpu().numpy()
