"""The `[train]` section of pipeline.toml."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

Precision = Literal["float32", "bfloat16", "float16"]

Selection = Literal["all"] | Annotated[int, Field(ge=0)]
"""How many of the stored frames or clips the model reads."""


class LoraSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """Low-rank adapters (paper, equation 5); a rank of 0 stands for none."""

    rank: int = Field(ge=0)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)


class TrainSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """All settings of stage two; pipeline.toml explains each."""

    base: str = Field(min_length=1)
    start: str
    also: tuple[str, ...]
    out: Path
    device: Literal["auto", "cpu", "cuda"]
    precision: Precision
    frames: Literal["all"] | Annotated[int, Field(ge=1)]
    clips: Selection
    full: bool
    end_to_end: bool
    epochs: float = Field(gt=0)
    probe_epochs: int = Field(ge=0)
    patience: int = Field(ge=0)
    save_every: int = Field(ge=0)
    videos_per_batch: int = Field(ge=1)
    accumulate: int = Field(ge=1)
    max_tokens: int = Field(ge=1)
    gradient_checkpointing: bool
    shard: bool
    readers: int = Field(ge=0)
    learning_rate: float = Field(gt=0)
    projector_rate: float = Field(ge=0)
    warmup: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    language_weight: float = Field(ge=0)
    score_weight: float = Field(ge=0)
    trackers: tuple[str, ...]
    seed: int = Field(ge=0)
    lora: LoraSettings
    vision_lora: LoraSettings
