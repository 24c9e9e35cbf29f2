"""Reading training samples: cached features of a video with its packed questions.

A row of the store is read by itself and in any order at the speed of the disk, so samples are
shuffled over the whole training part; a buffer of shards would gain nothing
(benchmarks/training.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from ...cache.store import FeatureStore
from ...dataset.questions import Question, load_questions
from ...dataset.splits import Part, load_split
from ...dataset.videos import Dataset, Video
from ...errors import StoreError
from ..model.packing import Layout, Packed, Packer, collate
from ..prompts import ProfileName, Prompt, prompts_for


@dataclass(frozen=True)
class Source:
    """Videos of one dataset, and the questions on them beside the six ratings, by video."""

    dataset: Dataset
    videos: Sequence[Video]
    questions: Mapping[str, list[Question]]

    @classmethod
    def load(cls, dataset: Dataset, part: Part) -> "Source":
        """A part of the dataset's split, with its questions; raises DatasetError."""
        videos = load_split(dataset, dataset.settings.split)[part]
        return cls(dataset, videos, load_questions(dataset))

    def only(self, videos: Sequence[Video]) -> "Source":
        """Some of its videos."""
        return replace(self, videos=videos)

    def prompts(self, profile: ProfileName) -> Iterator[tuple[Video, list[Prompt]]]:
        """Each video with its prompts, ratings in a profile's wording."""
        for video in self.videos:
            questions = self.questions.get(video.id, [])
            yield video, prompts_for(self.dataset, video, questions, profile)


class Sample(NamedTuple):
    """One sequence: number, spatial (F, T, D) and motion (C, M) features as stored, questions."""

    number: int
    spatial: Tensor
    motion: Tensor
    packed: Packed


class Samples(TorchDataset[Sample]):
    """Sequences of videos: one a video, or several where its questions are too many.

    It can be pickled, for reading processes; each then opens the store for itself. It holds
    questions as text and packs them when a sample is read, which takes 1 ms.
    """

    def __init__(
        self,
        store: FeatureStore,
        sources: Sequence[Source],
        packer: Packer,
        *,
        max_tokens: int | None = None,
    ) -> None:
        """Plan the sequences of videos.

        Args:
            store: the videos' features.
            sources: the videos, of one dataset or of several, each with a MOS range of its own.
            packer: the model's.
            max_tokens: of a sequence, at most; without it as many as the base model reads.

        Raises:
            CheckpointError: a sequence would be longer than it may be.
        """
        self.store = store
        self.packer = packer
        self.frames: Callable[[Video], Tensor] | None = None
        self.layout = layout_of(store)
        limit = packer.max_positions if max_tokens is None else max_tokens
        self.sequences = [
            (video, sequence)
            for source in sources
            for video, prompts in source.prompts(packer.spec.profile)
            for sequence in packer.plan(self.layout, prompts, limit, learn=True)
        ]

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> Sample:
        video, prompts = self.sequences[index]
        features = self.store.read(video.id)
        spatial, motion = (torch.from_numpy(array) for array in features)
        if self.frames is not None:
            spatial = self.frames(video)
        packed = self.packer.pack(self.layout, prompts, learn=True)
        return Sample(index, spatial, motion, packed)

    def with_frames(self, frames: Callable[[Video], Tensor] | None) -> "Samples":
        """The same sequences, with what `frames` reads in place of the spatial features."""
        other = copy(self)
        other.frames = frames
        return other

    def names(self, numbers: Sequence[int]) -> str:
        """The videos of samples, for a message."""
        return ", ".join(dict.fromkeys(self.sequences[number][0].id for number in numbers))


class Collator:
    """Makes the model's keyword arguments from samples, and `samples`, their numbers (B,)."""

    def __init__(self, packer: Packer) -> None:
        self.pad_id = packer.pad_id

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Stack features and collate questions; see `finevq.train.model.packing.collate`."""
        numbers, spatial, motion, packed = zip(*samples, strict=True)
        return {
            "samples": torch.tensor(numbers),
            "spatial": torch.stack(spatial),
            "motion": torch.stack(motion),
            **collate(packed, pad_id=self.pad_id),
        }


def layout_of(store: FeatureStore) -> Layout:
    """The numbers of visual tokens of a video, by the shapes of a store's features."""
    frames, tokens, _ = store.layout.shapes["spatial"]
    clips, _ = store.layout.shapes["motion"]
    return Layout(frames, tokens, clips)


def in_store(store: FeatureStore, videos: Sequence[Video], what: str) -> list[Video]:
    """The videos that have features; those whose extraction failed are left out.

    Raises:
        StoreError: some were not extracted yet, or none is left; the message calls them `what`.
    """
    records = store.records()
    missing = [video.id for video in videos if video.id not in records]
    if records and len(missing) == len(videos) > 0:
        raise StoreError(
            f"none of the {len(videos)} {what} is in the feature store {store.url}: it has "
            f"{next(iter(records))}, asked for is {missing[0]}; correct dataset.name or "
            "cache.path, or run `finevq extract`"
        )
    if missing:
        raise StoreError(
            f"{len(missing)} of {len(videos)} {what} have no features yet, the first is "
            f"{missing[0]}; run `finevq extract`"
        )
    usable = [video for video in videos if records[video.id].status == "ok"]
    if videos and not usable:
        raise StoreError(f"the extraction of all {len(videos)} {what} failed: `finevq cache info`")
    return usable
