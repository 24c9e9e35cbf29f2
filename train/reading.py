"""Reading training samples: cached features of a video with its packed questions."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from ..cache.store import FeatureStore
from ..dataset.questions import Question
from ..dataset.videos import Dataset, Video
from ..errors import StoreError
from .packing import Layout, Packed, Packer, collate
from .prompts import prompts_for

Sample = tuple[Tensor, Tensor, Packed]
"""Spatial (F, T, D) and motion (C, M) features as stored, and the questions."""


class Samples(TorchDataset[Sample]):
    """The videos of one part, each with all its questions.

    Reading one costs the decompression of one row: about 30 ms at 8 x 256 x 4096 in float16.
    """

    def __init__(
        self,
        store: FeatureStore,
        dataset: Dataset,
        videos: Sequence[Video],
        questions: Mapping[str, list[Question]],
        packer: Packer,
    ) -> None:
        layout = layout_of(store)
        self.store = store
        self.videos = list(videos)
        self.packed = [
            packer.pack(
                layout, prompts_for(dataset, video, questions.get(video.id, [])), learn=True
            )
            for video in videos
        ]

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> Sample:
        spatial, motion = self.store.read(self.videos[index].id)
        return torch.from_numpy(spatial), torch.from_numpy(motion), self.packed[index]


class Collator:
    """Makes the model's keyword arguments from samples."""

    def __init__(self, packer: Packer) -> None:
        self.pad_id = packer.pad_id

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Stack features and collate questions; see `finevq.train.packing.collate`."""
        spatial, motion, packed = zip(*samples, strict=True)
        return {
            "spatial": torch.stack(spatial),
            "motion": torch.stack(motion),
            **collate(packed, pad_id=self.pad_id),
        }


def layout_of(store: FeatureStore) -> Layout:
    """The numbers of visual tokens that a store's features give."""
    frames, tokens, _ = store.layout.shapes["spatial"]
    clips, _ = store.layout.shapes["motion"]
    return Layout(frames, tokens, clips)


def in_store(store: FeatureStore, videos: Sequence[Video], what: str) -> list[Video]:
    """The videos that have features; those whose extraction failed are left out.

    Raises:
        StoreError: some were not extracted yet, or none is left; `what` names them in the message.
    """
    records = store.records()
    missing = [video.id for video in videos if video.id not in records]
    if missing:
        raise StoreError(
            f"{len(missing)} of {len(videos)} {what} have no features yet, the first is "
            f"{missing[0]}; run `finevq extract`"
        )
    usable = [video for video in videos if records[video.id].status == "ok"]
    if videos and not usable:
        raise StoreError(f"the extraction of all {len(videos)} {what} failed: `finevq cache info`")
    return usable
