"""Models of the made features whose adapter matters, and their inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from finevq.dataset.questions import LEVELS
from finevq.dataset.videos import DIMENSIONS
from finevq.train.base.language_model import load_base
from finevq.train.model.checkpoint import CheckpointInfo, build_model
from finevq.train.model.finevq import FineVQ
from finevq.train.model.packing import Layout, Packed, Packer, collate
from finevq.train.prompts import Prompt, rating

LAYOUT = Layout(frames=2, tokens=4, clips=1)
"""Of `SHAPES` in tests/conftest.py."""

QUESTIONS = (
    Prompt("question", "yes-no noise", "Is there noise, [Yes] or [No]?", "", ("Yes", "No"), "No"),
    Prompt("question", "which most", "Which of {A:[Blur], B:[Noise]}?", "", ("A", "B"), "B"),
)
TARGETS = (0.05, 0.3, 0.5, 0.71, 0.9, 1.0)
RATINGS = tuple(rating(d, target) for d, target in zip(DIMENSIONS, TARGETS, strict=True))
PROMPTS = RATINGS + QUESTIONS
assert len({p.answer for p in RATINGS}) == len(LEVELS)


def model_of(info: CheckpointInfo, seed: int = 0) -> tuple[FineVQ, Packer]:
    """A model in evaluation mode; LoRA's second matrices are not left at zero."""
    torch.manual_seed(seed)
    model, packer = build_model(info, load_base(info.base, info.precision))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    return model.eval(), packer


def features_of(videos: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Spatial and motion features of a batch."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(videos, 2, 4, 64, generator=draw), torch.randn(videos, 1, 32, generator=draw)


def batch_of(packer: Packer, packed: Sequence[Packed], seed: int = 0) -> dict[str, Tensor]:
    """The model's keyword arguments for one video a packed sequence."""
    spatial, motion = features_of(len(packed), seed)
    return {"spatial": spatial, "motion": motion, **collate(packed, pad_id=packer.pad_id)}


def scores_of(model: FineVQ, packer: Packer, prompts: Sequence[Prompt]) -> Tensor:
    """The scores of the prompts of one video, all in one sequence."""
    batch = batch_of(packer, [packer.pack(LAYOUT, prompts, learn=False)])
    with torch.no_grad():
        return model(**batch).scores[0]
