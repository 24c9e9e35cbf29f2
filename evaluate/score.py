"""Scoring video files: decode, encode as for the checkpoint's training, and rate on the fly."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..cache.values import as_read
from ..dataset.questions import classify
from ..dataset.videos import DIMENSIONS
from ..errors import CheckpointError, VideoError
from ..extract.decode import DecodedVideo
from ..extract.decode_pool import DecodePool
from ..extract.encoder import Encoder
from ..extract.settings import ExtractSettings
from ..train.checkpoint import load_checkpoint
from ..train.prompts import PROFILES, ProfileName, Prompt, rating
from ..train.training_set import read_training_set
from .predict import Answer, Predictor
from .scorecard import Rating, Reply, ScoreCard


class Scorer:
    """A checkpoint with the backbones that it was trained on, ready for files.

    Features are rounded to the type in which the training features were stored, so that a file's
    scores are those that `finevq evaluate` finds through the store.
    """

    def __init__(self, checkpoint: str | Path) -> None:
        """Load everything.

        Raises:
            CheckpointError: the checkpoint is missing or damaged, or this installation no longer
                makes the features that it was trained on.
        """
        folder = Path(checkpoint)
        model, packer, self.info = load_checkpoint(folder)
        self.settings = ExtractSettings.model_validate(self.info.extract)
        self.encoder = Encoder(self.settings)
        lines = self.info.identity.difference(self.encoder.identity)
        if lines:
            raise CheckpointError(
                f"{folder}: was trained on features that this installation does not make: "
                f"{'; '.join(lines[:3])}"
            )
        self.predictor = Predictor(model, packer, self.encoder.device)
        self.prompts = prompts(self.info.profile)
        self.trained = _training_labels(folder)

    def score(self, path: str | Path) -> ScoreCard:
        """Rate one file; a card with an error if it cannot be decoded."""
        return next(self.score_all([path]))

    def score_all(self, paths: Iterable[str | Path]) -> Iterator[ScoreCard]:
        """Rate files in the order given; one that cannot be decoded does not stop the others.

        Files are decoded in child processes while others are rated: in a script of your own, call
        this below `if __name__ == "__main__":`.
        """
        names = [str(path) for path in paths]
        with DecodePool(self.encoder.sampling, self.settings.decode) as pool:
            for name, outcome in zip(names, pool.decode_all(names), strict=True):
                yield self._card(name, outcome)

    def _card(self, name: str, outcome: DecodedVideo | VideoError) -> ScoreCard:
        scale = self.info.mos_range
        if isinstance(outcome, VideoError):
            return ScoreCard(name, scale, {}, str(outcome))
        spatial, motion = as_read(self.encoder.encode(outcome), self.info.dtype)
        answers = self.predictor.answer(spatial, motion, self.prompts)
        rated = [answer for answer in answers if answer.prompt.task == "score"]
        asked = [answer for answer in answers if answer.prompt.task == "question"]
        return ScoreCard(
            name,
            scale,
            {answer.prompt.item: self._rating(answer) for answer in rated},
            replies=[Reply(a.prompt.item, a.choice, _by_option(a)) for a in asked],
            seconds=outcome.seconds,
        )

    def _rating(self, answer: Answer) -> Rating:
        low, high = self.info.mos_range
        score = low + answer.score * (high - low)
        labels = self.trained.get(answer.prompt.item)
        percentile = None
        if labels is not None and len(labels):
            # Halfway through those that are equal, as the median of the labels is 50 %.
            percentile = 50 * float(np.mean(labels < score) + np.mean(labels <= score))
        weighted = low + answer.weighted * (high - low)
        return Rating(score, answer.choice, _by_option(answer), weighted, percentile)


def score(videos: Iterable[str | Path], checkpoint: str | Path) -> Iterator[ScoreCard]:
    """Rate video files with a checkpoint; see `Scorer`."""
    return Scorer(checkpoint).score_all(videos)


def prompts(profile: ProfileName) -> list[Prompt]:
    """What a file is asked: six ratings, and the paper's yes-or-no question of each distortion."""
    asked = []
    for dimension in DIMENSIONS[:-1]:
        what = f"{dimension} distortion" if dimension in ("color", "temporal") else dimension
        text = (
            f"If there is no {what} in the video, please answer [No]. "
            f"If there is {what} in the video, please answer [Yes]."
        )
        kind, options = classify(text)
        asked.append(Prompt("question", kind, PROFILES[profile].tag + text, "", options))
    return [rating(dimension, profile=profile) for dimension in DIMENSIONS] + asked


def _by_option(answer: Answer) -> dict[str, float]:
    return dict(zip(answer.prompt.options, answer.probabilities, strict=True))


def _training_labels(folder: Path) -> dict[str, np.ndarray]:
    """The MOS of the training part by dimension, as far as the checkpoint has them.

    Of several datasets that it was trained on the first counts, on whose scale scores are.
    """
    table = read_training_set(folder)
    if table is None or table.empty:
        return {}
    datasets = table["video"].str.partition("/")[0]
    table = table[datasets == datasets.iloc[0]]
    return {dimension: table[dimension].dropna().to_numpy() for dimension in DIMENSIONS}
