"""The `[dataset]` section of pipeline.toml."""

from pathlib import Path

from pydantic import BaseModel, Field


class DatasetSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """Where a dataset lies, and the scale of its MOS."""

    name: str = Field(min_length=1, pattern=r"^[^/]+$")
    folder: Path
    root: Path
    mos_range: tuple[float, float]
    split: str = Field(min_length=1)
