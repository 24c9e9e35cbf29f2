"""Both backbones as one encoder: what is part of its identity, and what is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from finevq.config import load_config
from finevq.errors import ConfigError
from finevq.extract import encoder as encoder_module
from finevq.extract.decode import decode
from finevq.extract.encoder import Encoder, pick_device, weight_hash
from finevq.extract.settings import ExtractSettings

SMALL = ("spatial.frames=2", "motion.clips=1", "motion.size=32", "device=cpu")


def settings(*changes: str) -> ExtractSettings:
    """Small settings of the embedded backbones, and changes to them."""
    changes = tuple(f"extract.{change}" for change in SMALL + changes)
    return load_config(None, changes)[0].extract


@pytest.fixture(scope="module", autouse=True)
def _backbones_made_once():
    """They do not depend on the settings, and making them is most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("embedded_vit", "embedded_slowfast"):
            made = getattr(encoder_module, name)()
            patch.setattr(encoder_module, name, lambda made=made: made)
        yield


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(settings())


@pytest.mark.parametrize(
    "change", ["spatial.frames=3", "motion.clips=2", "motion.size=64", "precision=bfloat16"]
)
def test_setting_that_changes_features_changes_the_identity(encoder: Encoder, change: str) -> None:
    other = Encoder(settings(change)).identity
    assert other != encoder.identity
    key = change.split("=")[0]
    (line,) = encoder.identity.difference(other)
    assert line.startswith(f"{key}: ")


@pytest.mark.parametrize(
    "change",
    [
        "device=auto",
        "decode.processes=3",
        "decode.timeout_s=5.0",
        "decode.videos_per_process=7",
        "cluster.workers=5",
        "cluster.threads=2",
        "cluster.scheduler=tcp://host:8786",
    ],
)
def test_setting_of_how_the_work_is_done_does_not(encoder: Encoder, change: str) -> None:
    assert Encoder(settings(change)).identity == encoder.identity


@pytest.mark.parametrize("part", ["spatial", "motion"])
def test_weights_are_part_of_the_identity(
    encoder: Encoder, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"spatial": "embedded_vit", "motion": "embedded_slowfast"}[part]
    made = getattr(encoder_module, name)()
    weight = next(iter(made.parameters()))
    with torch.no_grad():
        value = weight.view(-1)[0].item()
        weight.view(-1)[0] = value + 1e-3
        try:
            changed = Encoder(settings()).identity
        finally:
            weight.view(-1)[0] = value
    (line,) = encoder.identity.difference(changed)
    assert line.startswith(f"{part}.weights: ")
    assert Encoder(settings()).identity == encoder.identity


def test_weight_hash_sees_names_shapes_types_and_buffers() -> None:
    def module(**tensors: Any) -> nn.Module:
        made = nn.Module()
        for name, tensor in tensors.items():
            made.register_buffer(name, tensor)
        return made

    one = torch.arange(4.0)
    modules = [
        module(a=one),
        module(b=one),
        module(a=one.view(2, 2)),
        module(a=one.bfloat16()),
        module(a=one + 1),
        module(a=one, b=one),
    ]
    assert len({weight_hash(m) for m in modules}) == len(modules)
    assert weight_hash(module(a=one, b=one + 1)) == weight_hash(module(b=one + 1, a=one))


def test_features_have_the_announced_shapes_and_name_their_source(
    encoder: Encoder, video: Path
) -> None:
    decoded = decode(video, encoder.sampling)
    features = encoder.encode(decoded)
    assert features.spatial.shape == encoder.shapes["spatial"]
    assert features.motion.shape == encoder.shapes["motion"]
    for array in (features.spatial, features.motion):
        assert array.dtype == np.float32
        assert np.isfinite(array.astype(np.float16)).all()  # as a store of float16 keeps it
    assert features.source.sha256 == decoded.sha256
    assert (features.source.frames, features.source.decoder) == (40, decoded.decoder)


def test_company_and_order_cannot_change_features(encoder: Encoder, video: Path) -> None:
    decoded = decode(video, encoder.sampling)
    first = encoder.encode(decoded)
    encoder.encode(decode(video, Encoder(settings("spatial.frames=3")).sampling))
    again = encoder.encode(decoded)
    assert np.array_equal(first.spatial, again.spatial)
    assert np.array_equal(first.motion, again.motion)


def test_precision_changes_the_features_little(encoder: Encoder, video: Path) -> None:
    decoded = decode(video, encoder.sampling)
    full = encoder.encode(decoded)
    half = Encoder(settings("precision=bfloat16")).encode(decoded)
    assert half.motion.dtype == half.spatial.dtype == np.float32
    assert 0 < np.abs(full.motion - half.motion).max() < 0.1 * np.abs(full.motion).max()


@pytest.mark.parametrize("key", ["spatial", "motion"])
def test_unknown_model_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=rf'extract\.{key}\.model = "big": this version has only'):
        Encoder(settings(f"{key}.model=big"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'train\.device = "cuda": torch sees no GPU here'):
        pick_device("cuda", "train.device")
    assert pick_device("auto", "train.device") == torch.device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_nearly_the_features_of_the_cpu(encoder: Encoder, video: Path) -> None:
    decoded = decode(video, encoder.sampling)
    here = encoder.encode(decoded)
    there = Encoder(settings("device=cuda"))
    assert there.identity == encoder.identity
    features = there.encode(decoded)
    np.testing.assert_allclose(features.motion, here.motion, rtol=2e-2, atol=2e-2)
