"""The `[extract]` section of pipeline.toml."""

from typing import Literal

from pydantic import BaseModel, Field


class SpatialSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """The image encoder, and which frames it gets."""

    model: str = Field(min_length=1)
    adapter: str
    frames: int = Field(ge=1)
    sampler: Literal["middles", "official"]
    attention: Literal["sdpa", "flash_attention_2", "eager"]


class MotionSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """The motion encoder, and which frames it gets."""

    model: str = Field(min_length=1)
    mode: Literal["clips", "frames8", "all"]
    clips: int = Field(ge=1)
    size: int = Field(ge=32)


class DecodeSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """The child processes that decode, and what becomes of damaged videos."""

    processes: int = Field(ge=1)
    timeout_s: float = Field(gt=0)
    videos_per_process: int = Field(ge=1)
    damaged: Literal["fail", "score"]
    decoder: Literal["pyav", "decord"]


class SlurmSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """What each Slurm job asks for; a job is one worker."""

    queue: str
    account: str
    walltime: str = Field(min_length=1)
    memory: str = Field(min_length=1)
    directives: list[str]
    prologue: list[str]


class ClusterSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """The Dask cluster that extraction runs on."""

    scheduler: str = Field(pattern=r"^(local|cuda|slurm|(tcp|tls|ucx)://.+)$")
    workers: int = Field(ge=1)
    threads: int = Field(ge=1)
    adaptive: bool
    slurm: SlurmSettings


class ExtractSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """The whole section: what extraction computes, and where."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16", "float16"]
    videos_per_batch: int = Field(ge=1)
    compile: bool
    max_failures: float = Field(ge=0, le=1)
    spatial: SpatialSettings
    motion: MotionSettings
    decode: DecodeSettings
    cluster: ClusterSettings
