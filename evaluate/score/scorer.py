"""Scoring video files without a store: decode, encode as for the training, rate."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...cache.identity import Identity
from ...cache.records import Failure
from ...cache.values import as_read
from ...dataset.questions import LEVELS, classify, level
from ...dataset.videos import DIMENSIONS
from ...errors import CheckpointError, VideoError
from ...extract.decode.pool import DecodePool
from ...extract.decode.video import DecodedVideo
from ...extract.device import pick_device
from ...extract.encode.encoder import Encoder
from ...extract.settings import ExtractSettings
from ...train.base.language_model import EMBEDDED
from ...train.fit.training_set import read_training_set
from ...train.model.checkpoint import SHIPPED, digest, load_checkpoint
from ...train.prompts import PROFILES, ProfileName, Prompt, rating
from ..predict.predictor import Answer, Predictor
from .scorecard import Rating, Reply, ScoreCard

LOG = logging.getLogger(__name__)


class Scorer:
    """A checkpoint with the backbones that made its training features, ready to rate files.

    Features are rounded to the type in which the training features were stored, so that a file has
    the scores that `finevq evaluate` computes from a feature store.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        settings: ExtractSettings | None = None,
        *,
        device: str = "auto",
        max_tokens: int | None = None,
    ) -> None:
        """Load the model and the backbones.

        Args:
            checkpoint: its folder; None for the small one that ships (docs/small-model.md).
            settings: say on which device, with which attention and whether compiled the backbones
                run, in which processes files are decoded, and whether damaged ones are rated; the
                checkpoint decides all else. None: a GPU where there is one, nothing compiled, the
                rest as for the checkpoint.
            device: of the language model: "auto", "cpu" or "cuda".
            max_tokens: of a sequence, see `Predictor`.

        Raises:
            CheckpointError: the checkpoint is missing or damaged, or this installation no longer
                makes the features that it was trained on.
            ConfigError: a device, or the decoder that the checkpoint needs, is not there.
        """
        if checkpoint is None:
            LOG.warning("no checkpoint named: the small one that ships rates (docs/small-model.md)")
        folder = self.folder = SHIPPED if checkpoint is None else Path(checkpoint)
        placed = pick_device(device, "train.device")
        model, packer, self.info = load_checkpoint(folder)
        self.settings = _merged(_stored_settings(self.info.extract), settings)
        self.encoder = Encoder(self.settings)
        made = self.encoder.identity.content
        # Which videos get features may differ from the training.
        trained = Identity(self.info.identity.content | {"damaged": made["damaged"]})
        if differences := trained.difference(self.encoder.identity):
            raise CheckpointError(
                f"{folder}: was trained on features that this installation does not make: "
                f"{'; '.join(differences[:3])}"
            )
        self.predictor = Predictor(model, packer, placed, max_tokens=max_tokens)
        self.prompts = prompts(self.info.spec.profile)
        self.training_labels = _training_labels(folder)

    @property
    def facts(self) -> dict[str, str]:
        """Which model rates, for people: what a card says of it, by name."""
        if self.folder == SHIPPED:
            model = "the small model that ships; no human rated what it learned from"
            place = "the one that ships"
        else:
            base = "the small language model" if self.info.base == EMBEDDED else self.info.base
            model, place = f"FineVQ on {base}", str(self.folder)
        return {"Model": model, "Checkpoint": f"{place}, {digest(self.folder)[:12]}"}

    def score(self, path: str | Path) -> ScoreCard:
        """Rate one file; a card with an error if it cannot be rated."""
        return next(self.score_all([path]))

    def score_all(self, paths: Iterable[str | Path]) -> Iterator[ScoreCard]:
        """Rate files in the order given; one that cannot be rated does not stop the others.

        Files are decoded in child processes while others are rated, so a script must call this
        below `if __name__ == "__main__":`.
        """
        names = [str(path) for path in paths]
        with DecodePool(self.encoder.sampling, self.settings.decode) as pool:
            for name, outcome in zip(names, pool.decode_all(names), strict=True):
                yield self._card(name, outcome)

    def _card(self, name: str, outcome: DecodedVideo | VideoError) -> ScoreCard:
        scale = self.info.mos_range
        if isinstance(outcome, VideoError):
            return ScoreCard(name, scale, {}, str(outcome))
        answers = self._answers(outcome)
        if isinstance(answers, Failure):
            return ScoreCard(name, scale, {}, answers.reason)
        scores = [answer for answer in answers if answer.prompt.task == "score"]
        replies = [answer for answer in answers if answer.prompt.task == "question"]
        return ScoreCard(
            name,
            scale,
            {answer.prompt.item: self._rating(answer) for answer in scores},
            replies=[Reply(a.prompt.item, a.choice, _by_option(a)) for a in replies],
            seconds=outcome.seconds,
            concealed=outcome.concealed,
            missing=outcome.missing,
        )

    def _answers(self, video: DecodedVideo) -> list[Answer] | Failure:
        (features,) = self.encoder.encode_all([video])
        if isinstance(features, Failure):
            return features
        read = as_read(features, self.info.dtype)
        if isinstance(read, Failure):
            return read
        answers: list[Answer] | None
        try:
            answers = self.predictor.answer(*read, self.prompts)
        except torch.cuda.OutOfMemoryError:
            answers = None  # memory can be freed only after the error and its frames are gone
        if answers is None:
            torch.cuda.empty_cache()
            return Failure("needs more GPU memory than there is")
        if not all(np.isfinite([a.score, *a.probabilities]).all() for a in answers):
            return Failure("the model's answers are not finite numbers")
        return answers

    def _rating(self, answer: Answer) -> Rating:
        low, high = self.info.mos_range
        score = low + answer.score * (high - low)
        labels = self.training_labels.get(answer.prompt.item)
        percentile = None
        if labels is not None and len(labels):
            # Equal labels count by half, so that the median of the labels is at 50 %.
            percentile = 50 * float(np.mean(labels < score) + np.mean(labels <= score))
        weighted = low + answer.weighted * (high - low)
        apart = abs(LEVELS.index(answer.choice) - LEVELS.index(level(answer.score)))
        return Rating(score, answer.choice, _by_option(answer), weighted, percentile, apart)


def prompts(profile: ProfileName) -> list[Prompt]:
    """A file's prompts: six ratings, and the paper's yes-or-no question on each distortion."""
    questions = []
    for dimension in DIMENSIONS[:-1]:
        noun = f"{dimension} distortion" if dimension in ("color", "temporal") else dimension
        text = (
            f"If there is no {noun} in the video, please answer [No]. "
            f"If there is {noun} in the video, please answer [Yes]."
        )
        kind, options = classify(text)
        questions.append(Prompt("question", kind, PROFILES[profile].tag + text, "", options))
    return [rating(dimension, profile=profile) for dimension in DIMENSIONS] + questions


def _stored_settings(extract: dict[str, Any]) -> ExtractSettings:
    """The settings of a checkpoint; keys that an early one lacks had these values."""
    decode = {"damaged": "fail", "decoder": "pyav"} | extract["decode"]
    return ExtractSettings.model_validate({"max_failures": 1.0} | extract | {"decode": decode})


def _merged(features: ExtractSettings, run: ExtractSettings | None) -> ExtractSettings:
    """The settings that make a checkpoint's features on the device, and as fast, as `run` says."""
    attention = "sdpa" if run is None else run.spatial.attention
    decode = features.decode if run is None else run.decode
    return features.model_copy(
        update={
            "device": "auto" if run is None else run.device,
            "compile": run is not None and run.compile,
            "decode": decode.model_copy(update={"decoder": features.decode.decoder}),
            "spatial": features.spatial.model_copy(update={"attention": attention}),
        }
    )


def _by_option(answer: Answer) -> dict[str, float]:
    return dict(zip(answer.prompt.options, answer.probabilities, strict=True))


def _training_labels(folder: Path) -> dict[str, np.ndarray]:
    """The MOS of the training videos by dimension; empty if the checkpoint does not hold them.

    If it was trained on several datasets, these are the MOS of the first: scores are on its scale.
    """
    table = read_training_set(folder)
    if table is None or table.empty:
        return {}
    datasets = table["video"].str.partition("/")[0]
    table = table[datasets == datasets.iloc[0]]
    return {dimension: table[dimension].dropna().to_numpy() for dimension in DIMENSIONS}
