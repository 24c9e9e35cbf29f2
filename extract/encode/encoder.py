"""Both frozen backbones as one encoder, which turns decoded videos into features in batches."""

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch

from ...cache.records import Failure, Features, Source
from ...errors import ConfigError
from ..decode.official import check_decoder
from ..decode.video import DecodedVideo, Sampling
from ..device import check_device
from ..settings import ExtractSettings
from .backbones import load_backbones, takes_pieces
from .identity import features_identity
from .motion import WIDTH as MOTION_WIDTH

log = logging.getLogger(__name__)


class Encoder:
    """Turns decoded videos into features: the spatial tokens and the motion vectors.

    Attributes:
        identity: of the features.
        pieces: whether the frames are made of pieces, see `finevq.extract.decode.pieces`.
        videos_per_batch: how many videos share a forward pass; halved when the GPU's memory is too
            small for them.
    """

    def __init__(self, settings: ExtractSettings) -> None:
        """Load the backbones onto the device, in the dtype that `precision` names.

        Raises:
            ConfigError: a device, a decoder, flash-attention or a compiler that is not there, or
                settings that do not go together.
            CheckpointError: weights that are missing, damaged or of another architecture.
        """
        self.settings = settings
        check_decoder(settings.decode)
        self.device = check_device(settings)
        backbones = load_backbones(settings, self.device)
        self.spatial, self.motion = backbones.spatial, backbones.motion
        self.pieces = takes_pieces(settings)
        self.identity = features_identity(
            settings, backbones.hashes, self.spatial.size, pieces=self.pieces
        )
        self.videos_per_batch = 1
        if self.device.type == "cuda":
            # On a CPU both are slower (benchmarks/forward.py).
            self.videos_per_batch = settings.videos_per_batch
            self.motion.trunk.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if settings.compile:
            self._compile()

    def _compile(self) -> None:
        """Compile both backbones now, so that no video has to wait for it later."""
        self.spatial.vit.compile(dynamic=False)
        if self.settings.motion.mode != "all":  # there each length of a video needs its own code
            self.motion.trunk.compile(dynamic=False)
        try:
            self.encode_all([_black_video(self.sampling)] * self.videos_per_batch)
        except Exception as error:  # whatever a missing compiler makes torch raise
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"extract.compile = true: torch.compile fails here ({reason}); set it to false, or "
                "install the compiler that it needs"
            ) from error

    @property
    def sampling(self) -> Sampling:
        """Which frames and clips of a video the encoder takes."""
        return Sampling(
            frames=self.settings.spatial.frames,
            frame_size=self.spatial.size,
            sampler=self.settings.spatial.sampler,
            mode=self.settings.motion.mode,
            clips=self.settings.motion.clips,
            clip_size=self.settings.motion.size,
            pieces=self.pieces,
            damaged=self.settings.decode.damaged,
            decoder=self.settings.decode.decoder,
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

        The other videos of a batch do not change a video's features, but for the rounding of a
        GPU's kernels, which depends on the size of the batch. Where the GPU's memory does not hold
        a batch, this one and all later ones are halved; a video that does not fit alone is a
        failure.
        """
        results: list[Features | Failure] = []
        while len(results) < len(videos):
            batch = videos[len(results) : len(results) + self.videos_per_batch]
            try:
                results += self._encode(batch)
                continue
            except torch.cuda.OutOfMemoryError:
                pass  # leave the handler first: its traceback keeps the tensors of the failed pass
            torch.cuda.empty_cache()
            size = self.videos_per_batch if self.settings.compile else len(batch)
            if size == 1:
                results.append(Failure("needs more GPU memory than there is"))
            else:
                self.videos_per_batch = size // 2
                log.warning("out of GPU memory: %d videos a batch now", self.videos_per_batch)
        return results

    def _encode(self, videos: Sequence[DecodedVideo]) -> list[Features]:
        # Compiled code takes one size of batch, so copies of the first video fill a smaller one up.
        missing = self.videos_per_batch - len(videos) if self.settings.compile else 0
        batch = [*videos, *[videos[0]] * missing]
        # Neither the number format nor the choice of kernels may depend on earlier batches.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            spatial = self.spatial(np.concatenate([video.frames for video in batch])).cpu()
            if self.settings.motion.mode == "all":  # videos of other lengths cannot be stacked
                motion = torch.cat([self.motion(video.clips).cpu() for video in videos])
            else:
                motion = self.motion(np.concatenate([video.clips for video in batch])).cpu()
        parts = [features.chunk(len(batch)) for features in (spatial, motion)]
        return [
            Features(tokens.numpy(), vectors.numpy(), _source(video))
            for video, tokens, vectors in zip(videos, *parts, strict=not missing)
        ]


def encoder_on_cpu(settings: ExtractSettings) -> Encoder:
    """An encoder for its identity and shapes alone: it needs neither the job's GPU nor a compiler.

    The features' identity is the same on every device.
    """
    spatial = settings.spatial.model_copy(update={"attention": "sdpa"})
    changes = {"device": "cpu", "compile": False, "spatial": spatial}
    return Encoder(settings.model_copy(update=changes))


def _black_video(sampling: Sampling) -> DecodedVideo:
    """What decoding a black video of 8 frames gives."""
    windows = sampling.windows(8)
    size = sampling.frame_size
    clip_size = sampling.clip_size if sampling.mode == "clips" else size
    return DecodedVideo(
        frames=np.zeros((sampling.frames, size, size, 3), np.uint8),
        clips=np.zeros((len(windows), len(windows[0]), clip_size, clip_size, 3), np.uint8),
        frame_count=8,
        fps=None,
        seconds=None,
        decoder="pyav",
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
        concealed=video.concealed,
        missing=video.missing,
    )
