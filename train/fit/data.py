"""What a run learns from: parts of datasets, and their features; all is checked before training."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...cache.store import FeatureStore
from ...dataset.splits import Part
from ...dataset.videos import DIMENSIONS, Dataset, Video
from ...errors import ConfigError, DatasetError, IdentityMismatch
from ..model.packing import Packer
from ..settings import TrainSettings
from .reading import Samples, Source, in_store
from .trainer import FEWEST_LABELS

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunData:
    """The videos of a run.

    Attributes:
        training: what is learned, one source a dataset.
        validation: the videos by which the best epoch is chosen, of the first dataset.
    """

    training: Sequence[Source]
    validation: Source

    @classmethod
    def load(cls, datasets: Sequence[Dataset]) -> "RunData":
        """Read splits and questions.

        Raises:
            DatasetError: two datasets have one name, or a split cannot be read.
        """
        names = [dataset.settings.name for dataset in datasets]
        for name in names:
            if names.count(name) > 1:
                raise DatasetError(
                    f"two of the datasets are named {name!r}: their videos could not be told "
                    "apart; set another dataset.name in one of the files of train.also, and "
                    "extract it"
                )
        training = [Source.load(dataset, "train") for dataset in datasets]
        return cls(training, Source.load(datasets[0], "val"))

    def with_features(self, store: FeatureStore) -> "RunData":
        """The same without videos whose extraction failed.

        Raises:
            DatasetError: no video is left that has a label, or a training video is a copy of a
                validation video.
            StoreError: videos were not extracted yet.
        """

        def usable(source: Source, part: Part) -> Source:
            return source.only(in_store(store, source.videos, f"videos of the part {part}"))

        training = [usable(source, "train") for source in self.training]
        data = RunData(training, usable(self.validation, "val"))
        data._check_contents(store)
        if not any(video.labels for video in data.videos):
            split = self.training[0].dataset.settings.split
            raise DatasetError(
                f"the part train of split {split} has no labelled video with features"
            )
        return data

    @property
    def videos(self) -> list[Video]:
        """All training videos."""
        return [video for source in self.training for video in source.videos]

    def samples(
        self, store: FeatureStore, packer: Packer, max_tokens: int
    ) -> tuple[Samples, Samples]:
        """The sequences to train on, and those to choose the epoch by.

        Raises:
            CheckpointError: a video and one question are longer than a sequence may be.
            ConfigError: so are a validation video and its six ratings.
        """
        # The choice depends on the ratings alone.
        ratings = replace(self.validation, questions={})
        validation = Samples(store, [ratings], packer, max_tokens=max_tokens)
        if len(validation) > len(ratings.videos):
            raise ConfigError(
                f"train.max_tokens = {max_tokens}: the six ratings of a video must fit into one "
                "sequence"
            )
        return Samples(store, self.training, packer, max_tokens=max_tokens), validation

    def can_rank_epochs(self) -> bool:
        """Whether the validation videos define a rank correlation, in one dimension at least."""
        for dimension in DIMENSIONS:
            labels = [v.labels[dimension] for v in self.validation.videos if dimension in v.labels]
            if len(labels) >= FEWEST_LABELS and len(set(labels)) > 1:
                return True
        LOG.warning(
            "the part val has no dimension with %d labels that differ: the last epoch is kept",
            FEWEST_LABELS,
        )
        return False

    def _check_contents(self, store: FeatureStore) -> None:
        """Refuse a training video that has the content of a validation video."""
        records = store.records()

        def content(video: Video) -> str | None:
            source = records[video.id].source
            return source.sha256 if source else None

        validation = {content(video): video.id for video in self.validation.videos}
        for video in self.videos:
            copied = validation.get(content(video))
            if copied is not None:
                raise DatasetError(
                    f"{video.id} is trained on and has the content of {copied}, by which the epoch "
                    "is chosen: take one of them out of its part"
                )


SAME_KEYS = ("precision", "spatial.frames", "motion.mode", "motion.clips", "motion.size")
"""Keys that have the same meaning in the features' identity and in the `[extract]` settings."""


def check_features(
    store: FeatureStore, settings: TrainSettings, extraction: Mapping[str, Any]
) -> None:
    """Refuse features that were not made with the configuration, as far as that is cheap to tell.

    The weights' hashes are not compared: that would take loading the backbones.

    Raises:
        IdentityMismatch: the features were made with other settings.
        ConfigError: more frames or clips are asked for than there are.
    """
    _check_identity(store, extraction)
    for name, array, selection in (
        ("frames", "spatial", settings.frames),
        ("clips", "motion", settings.clips),
    ):
        stored = store.layout.shapes[array][0]
        if selection != "all" and selection > stored:
            raise ConfigError(
                f"train.{name} = {selection}: the features at {store.url} hold {stored} {name} a "
                "video; set it to at most that, or extract more"
            )


def _check_identity(store: FeatureStore, extraction: Mapping[str, Any]) -> None:
    identity = store.layout.identity.content
    for key in SAME_KEYS:
        made, configured = _value(identity, key), _value(extraction, key)
        if None not in (made, configured) and made != configured:
            raise IdentityMismatch(
                f"the features at {store.url} were made with extract.{key} = {made}, the "
                f"configuration has {configured}: train with -c and the file that they were "
                "extracted with, or extract again into another cache.path"
            )
    made, configured = (_value(tree, "spatial.sampler") for tree in (identity, extraction))
    if None not in (made, configured) and ("official" in made) != (configured == "official"):
        raise IdentityMismatch(
            f"the features at {store.url} were made of other frames ({made}) than "
            f"extract.spatial.sampler = {configured!r} takes: set it as it was, or extract again "
            "into another cache.path"
        )
    made, configured = (_value(tree, "spatial.adapter") for tree in (identity, extraction))
    if configured is not None and bool(made) != bool(configured):
        raise IdentityMismatch(
            f"the features at {store.url} were made {'with' if made else 'without'} a LoRA of the "
            f"image encoder, the configuration has extract.spatial.adapter = {configured!r}: set "
            "it as it was, or extract again into another cache.path"
        )


def _value(tree: Mapping[str, Any], dotted: str) -> Any:
    """The value at a dotted key, None without one."""
    value: Any = tree
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
