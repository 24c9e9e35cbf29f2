"""The `[cache]` section of pipeline.toml."""

from typing import Literal

from pydantic import BaseModel, Field


class CacheSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """Where the feature store lies and how it is laid out."""

    path: str = Field(min_length=1)
    stage: str
    rows_per_shard: int = Field(ge=1)
    dtype: Literal["float16", "float32", "int8"]
