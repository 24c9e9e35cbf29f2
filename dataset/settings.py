"""The `[dataset]` section of pipeline.toml."""

from pathlib import Path

from pydantic import BaseModel, Field


class DatasetSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """Where a dataset lies and how its scores are to be read."""

    name: str = Field(min_length=1, pattern=r"^[^/]+$")
    folder: Path
    root: Path
    mos_range: tuple[float, float]
    split: str = Field(min_length=1)
