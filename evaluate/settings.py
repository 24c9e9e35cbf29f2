"""The `[evaluate]` section of pipeline.toml."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field


class EvaluateSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """All of stage three."""

    out: Path
    part: Literal["train", "val", "test"]
    videos_per_batch: int = Field(ge=1)
    free_text: int = Field(ge=0)
