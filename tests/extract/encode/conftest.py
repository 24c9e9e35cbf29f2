"""Encoders with the embedded backbones, which take most of the time to make."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from finevq.extract.encode import backbones
from finevq.extract.encode.encoder import Encoder

from ._settings import settings


@pytest.fixture(scope="session")
def embedded_backbones() -> dict[tuple[Any, ...], Any]:
    """The embedded backbones by the function that makes them and its arguments."""
    makers = backbones.embedded_vit, backbones.embedded_slowfast
    vits = {("embedded_vit", pieces): makers[0](pieces) for pieces in (True, False)}
    return vits | {("embedded_slowfast",): makers[1]()}


@pytest.fixture(scope="module")
def copied_backbones(embedded_backbones: dict[tuple[Any, ...], Any]) -> Iterator[None]:
    """Every encoder gets a copy of them, as it casts its backbones; settings do not change them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            backbones,
            "embedded_vit",
            lambda pieces=True: copy.deepcopy(embedded_backbones["embedded_vit", pieces]),
        )
        patch.setattr(
            backbones,
            "embedded_slowfast",
            lambda: copy.deepcopy(embedded_backbones["embedded_slowfast",]),
        )
        yield


@pytest.fixture(scope="module")
def encoder(copied_backbones: None) -> Encoder:
    return Encoder(settings())
