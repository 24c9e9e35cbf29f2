"""The content of store.json: what the features are and how they are laid out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import StoreError
from .arrays.zarr_arrays import ArrayLayout
from .identity import Identity, differing_lines
from .settings import CacheSettings

STORE_JSON = "store.json"
"""Name of the file, below the store's folder."""

FORMAT = 2
"""Version of the store's layout on disk."""

FEATURES = ("spatial", "motion")
"""The kinds of features that a video has, in this order everywhere."""


@dataclass(frozen=True)
class Layout:
    """The content of store.json.

    Attributes:
        identity: What the features were made with.
        shapes: Shape of one video's features: (F, T, D) of spatial and (C, M) of motion.
        dtype: "float16", "float32" or "int8". "int8" stores spatial tokens in 8 bits, each with a
            scale, and motion in float16.
        rows_per_shard: Rows in one shard.
    """

    identity: Identity
    shapes: Mapping[str, tuple[int, ...]]
    dtype: str
    rows_per_shard: int

    def __post_init__(self) -> None:
        if set(self.shapes) != set(FEATURES) or any(min(s) < 1 for s in self.shapes.values()):
            raise ValueError(f"shapes must be positive and name {FEATURES}, got {self.shapes}")
        if self.dtype not in ("float16", "float32", "int8") or self.rows_per_shard < 1:
            raise ValueError(f"impossible layout: {self.dtype}, {self.rows_per_shard} rows a shard")

    @classmethod
    def of(
        cls, identity: Identity, shapes: Mapping[str, tuple[int, ...]], settings: CacheSettings
    ) -> "Layout":
        """Return the layout that the settings ask for."""
        return cls(identity, dict(shapes), settings.dtype, settings.rows_per_shard)

    @property
    def float_dtype(self) -> np.dtype[Any]:
        """The dtype in which features are read; float16 from an 8-bit store."""
        return np.dtype("<f2" if self.dtype == "int8" else self.dtype).newbyteorder("<")

    @cached_property
    def arrays(self) -> dict[str, ArrayLayout]:
        """The stored arrays by name, in the order of the CRCs in a row's checksum."""
        spatial, motion = (self.shapes[name] for name in FEATURES)
        if self.dtype != "int8":
            stored = {"spatial": ArrayLayout(spatial, self.float_dtype)}
        else:
            stored = {
                "spatial": ArrayLayout(spatial, np.dtype(np.int8)),
                "spatial_scale": ArrayLayout(spatial[:-1], np.dtype("<f4")),
            }
        return stored | {"motion": ArrayLayout(motion, self.float_dtype)}

    @property
    def row_bytes(self) -> int:
        """Bytes that one video takes on disk, with its checksums and its entries in the index."""
        values = sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in self.arrays.values())
        return values + 20 * len(self.arrays)

    def difference(self, asked: "Layout") -> list[str]:
        """Return a line for each value in which this layout, the store's, differs from another."""
        return differing_lines(self._settings(), asked._settings()) + self.identity.difference(
            asked.identity
        )

    def to_bytes(self) -> bytes:
        """Return the content of store.json."""
        identity = {"digest": self.identity.digest, "content": self.identity.content}
        body = {"format": FORMAT, "identity": identity, "shapes": self._shapes()}
        body |= {"dtype": self.dtype, "rows_per_shard": self.rows_per_shard}
        return (json.dumps(body, indent=2) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "Layout":
        """Read store.json; `where` is its path or URL.

        Raises:
            StoreError: The file is damaged or of another format version.
        """
        try:
            body = json.loads(data)
            version = body["format"]
            if version == FORMAT:
                return cls._parse(body)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(
                f"{where} is damaged ({error}): restore it from a copy, or extract to another "
                f"cache.path"
            ) from error
        raise StoreError(
            f"{where} has format {version}, this finevq reads format {FORMAT}: use the version "
            f"that wrote it, or extract to another cache.path"
        )

    @classmethod
    def _parse(cls, body: dict[str, Any]) -> "Layout":
        identity = Identity(body["identity"]["content"])
        if identity.digest != body["identity"]["digest"]:
            raise ValueError("the identity does not match its digest")
        shapes = {name: tuple(map(int, shape)) for name, shape in body["shapes"].items()}
        return cls(identity, shapes, body["dtype"], body["rows_per_shard"])

    def _shapes(self) -> dict[str, list[int]]:
        return {name: list(self.shapes[name]) for name in FEATURES}

    def _settings(self) -> dict[str, Any]:
        cache = {"dtype": self.dtype, "rows_per_shard": self.rows_per_shard}
        return {"cache": cache, "shapes": self._shapes()}
