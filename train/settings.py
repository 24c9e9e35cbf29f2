"""The `[train]` section of pipeline.toml."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

Precision = Literal["float32", "bfloat16"]


class LoraSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """The low-rank adapters on the language model (paper, equation 5)."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)


class TrainSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """All of stage two."""

    base: str = Field(min_length=1)
    out: Path
    device: Literal["auto", "cpu", "cuda"]
    precision: Precision
    epochs: float = Field(gt=0)
    probe_epochs: int = Field(ge=0)
    videos_per_batch: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    score_weight: float = Field(ge=0)
    seed: int = Field(ge=0)
    lora: LoraSettings
