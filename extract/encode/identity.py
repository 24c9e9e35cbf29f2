"""The identity of features: everything that decides their values, and nothing else.

Two stores with one identity hold features that may be mixed. So a setting belongs here if it
changes values (weights, sampling, resizing, precision), and does not if it changes only how the
work is done (device, processes, cluster, compilation, kind of attention).
"""

from typing import Any

from ...cache.identity import Identity
from ..decode.sampling import CLIP_FRAMES
from ..settings import ExtractSettings
from .backbones import WeightHashes
from .motion import MEAN as MOTION_MEAN
from .motion import SLOW_EVERY
from .motion import STD as MOTION_STD
from .spatial import MEAN as SPATIAL_MEAN
from .spatial import STD as SPATIAL_STD

EXTRACTION_VERSION = 2
"""Part of every identity; raise it with any change of code that changes the features."""

DECODERS = {
    "pyav": "in order, by PyAV",
    "decord": "in order; decord, and PyAV where decord is unfit",
}
"""What an identity says of `extract.decode.decoder`."""

FRAME_SAMPLERS = {
    "middles": "middles of equal segments",
    "official": "middles of equal segments by the official formula",
}
"""What an identity says of `extract.spatial.sampler`."""

OFFICIAL_MOTION_SAMPLERS = {
    "frames8": "the spatial frames",
    "all": "every frame by the official formula",
}
"""What an identity says of the two official values of `extract.motion.mode`."""


def features_identity(
    settings: ExtractSettings, hashes: WeightHashes, frame_size: int, *, pieces: bool
) -> Identity:
    """The identity of the features that these settings and weights make.

    Args:
        settings: of the extraction.
        hashes: of the backbones' weights.
        frame_size: height and width in pixels of the frames that the InternViT takes.
        pieces: whether these are made of pieces, see `finevq.extract.decode.pieces`.
    """
    spatial, mode = settings.spatial, settings.motion.mode
    frames = {
        "size": frame_size,
        "resize": "pieces at two scales, PIL bicubic" if pieces else "PIL bicubic",
        "mean": list(SPATIAL_MEAN),
        "std": list(SPATIAL_STD),
    }
    return Identity(
        {
            "version": EXTRACTION_VERSION,
            "precision": settings.precision,
            "decoding": DECODERS[settings.decode.decoder],
            "damaged": settings.decode.damaged,
            "spatial": {
                "weights": hashes.vit,
                "adapter": hashes.adapter,
                "frames": spatial.frames,
                "sampler": FRAME_SAMPLERS[spatial.sampler],
                **frames,
                "tokens": "last block, no class token, pixel shuffle",
            },
            "motion": {
                "weights": hashes.slowfast,
                "mode": mode,
                **(_clips(settings) if mode == "clips" else _official_motion(mode, frames)),
            },
        }
    )


def _clips(settings: ExtractSettings) -> dict[str, Any]:
    """How the clips of mode "clips" are made and pooled."""
    return {
        "clips": settings.motion.clips,
        "clip_frames": CLIP_FRAMES,
        "slow_every": SLOW_EVERY,
        "sampler": "windows spread evenly",
        "size": settings.motion.size,
        "resize": "torch bilinear, antialiased, 8 bits",
        "mean": MOTION_MEAN,
        "std": MOTION_STD,
        "pooling": "mean over space and time",
    }


def _official_motion(mode: str, frames: dict[str, Any]) -> dict[str, Any]:
    """How the frames of an official mode are made, which is as the spatial ones, and pooled."""
    return {
        "sampler": OFFICIAL_MOTION_SAMPLERS[mode],
        **frames,
        "pooling": "mean over windows",
    }
