"""Scoring video files: decode, encode as for the checkpoint's training, and rate on the fly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cache.values import as_read
from ..dataset.videos import DIMENSIONS
from ..errors import CheckpointError, VideoError
from ..extract.decode_pool import DecodePool
from ..extract.encoder import Encoder
from ..extract.settings import ExtractSettings
from ..train.checkpoint import load_checkpoint
from ..train.prompts import rating
from .predict import Predictor


@dataclass(frozen=True)
class Rating:
    """One dimension of a video: a score on the scale of the training data, and a word."""

    score: float
    level: str


@dataclass(frozen=True)
class ScoreCard:
    """What the model says of one file.

    Attributes:
        video: the path as it was given.
        scale: lowest and highest score.
        ratings: by dimension, all six; empty if the file could not be decoded.
        error: why not, else None.
    """

    video: str
    scale: tuple[float, float]
    ratings: dict[str, Rating]
    error: str | None = None


def score(videos: Sequence[str], checkpoint: Path) -> Iterator[ScoreCard]:
    """Rate video files in the order given; one that cannot be decoded does not stop the others.

    Features are rounded to the type in which the training features were stored, so that a file's
    scores are those that `finevq evaluate` finds through the store.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, or this installation no longer makes
            the features that it was trained on.
    """
    model, packer, info = load_checkpoint(checkpoint)
    settings = ExtractSettings.model_validate(info.extract)
    encoder = Encoder(settings)
    lines = info.identity.difference(encoder.identity)
    if lines:
        raise CheckpointError(
            f"{checkpoint}: was trained on features that this installation does not make: "
            f"{'; '.join(lines[:3])}"
        )
    predictor = Predictor(model, packer, encoder.device)
    prompts = [rating(dimension, profile=info.profile) for dimension in DIMENSIONS]
    low, high = info.mos_range
    with DecodePool(encoder.sampling, settings.decode) as pool:
        for name, outcome in zip(videos, pool.decode_all(videos), strict=True):
            if isinstance(outcome, VideoError):
                yield ScoreCard(name, info.mos_range, {}, str(outcome))
                continue
            features = encoder.encode(outcome)
            answers = predictor.answer(*as_read(features, info.dtype), prompts)
            ratings = {
                a.prompt.item: Rating(low + a.score * (high - low), a.choice) for a in answers
            }
            yield ScoreCard(name, info.mos_range, ratings)
