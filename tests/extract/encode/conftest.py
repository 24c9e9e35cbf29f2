"""Encoders with the embedded backbones, which take most of the time to make."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from finevq.extract.encode import backbones
from finevq.extract.encode.encoder import Encoder

from ._settings import settings


@pytest.fixture(scope="session")
def embedded_backbones() -> dict[str, Any]:
    """Both embedded backbones by the name of the function that makes them."""
    return {name: getattr(backbones, name)() for name in ("embedded_vit", "embedded_slowfast")}


@pytest.fixture(scope="module")
def copied_backbones(embedded_backbones: dict[str, Any]) -> Iterator[None]:
    """Every encoder gets a copy of them, as it casts its backbones; settings do not change them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, made in embedded_backbones.items():
            patch.setattr(backbones, name, lambda made=made: copy.deepcopy(made))
        yield


@pytest.fixture(scope="module")
def encoder(copied_backbones: None) -> Encoder:
    return Encoder(settings())
