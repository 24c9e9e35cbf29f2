"""The identity of features: what is part of it, and what is not."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from finevq.errors import ConfigError
from finevq.extract.decode import official
from finevq.extract.decode.video import decode
from finevq.extract.encode import backbones
from finevq.extract.encode.encoder import Encoder

from ._settings import settings

pytestmark = pytest.mark.usefixtures("copied_backbones")


@pytest.mark.parametrize(
    "change",
    [
        "spatial.frames=3",
        "spatial.sampler=official",
        "motion.clips=2",
        "motion.size=64",
        "precision=bfloat16",
        "decode.damaged=score",
        "decode.decoder=decord",
    ],
)
def test_setting_that_changes_features_changes_the_identity(encoder: Encoder, change: str) -> None:
    other = Encoder(settings(change)).identity
    assert other != encoder.identity
    key = change.split("=")[0]
    key = {"decode.damaged": "damaged", "decode.decoder": "decoding"}.get(key, key)
    (line,) = encoder.identity.difference(other)
    assert line.startswith(f"{key}: ")


@pytest.mark.parametrize(
    "change",
    [
        "device=auto",
        "spatial.attention=eager",
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
    changed = getattr(backbones, name)()
    with torch.no_grad():
        next(iter(changed.parameters())).view(-1)[0] += 1e-3
    monkeypatch.setattr(backbones, name, lambda *given: changed)
    (line,) = encoder.identity.difference(Encoder(settings()).identity)
    assert line.startswith(f"{part}.weights: ")


def test_adapter_is_part_of_the_identity_and_the_encoder_keeps_its_hash(
    encoder: Encoder, tmp_path: Path, video: Path
) -> None:
    config = LoraConfig(r=2, target_modules=["fc1"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 with transformers 5.23
        get_peft_model(backbones.embedded_vit(), config).save_pretrained(str(tmp_path))
    adapted = Encoder(settings(f"spatial.adapter={tmp_path}", "precision=bfloat16"))
    first, second = encoder.identity.difference(adapted.identity)
    assert first.startswith("precision: ")
    assert second.startswith("spatial.adapter: null in the store, ")
    decoded = decode(video, encoder.sampling)
    plain = Encoder(settings("precision=bfloat16")).encode(decoded)
    assert not np.array_equal(adapted.encode(decoded).spatial, plain.spatial)


@pytest.mark.parametrize("mode", ["frames8", "all"])
def test_setting_that_a_mode_does_not_use_is_not_in_its_identity(mode: str) -> None:
    first = Encoder(settings("spatial.frames=8", f"motion.mode={mode}", "motion.clips=1"))
    second = Encoder(
        settings("spatial.frames=8", f"motion.mode={mode}", "motion.clips=5", "motion.size=64")
    )
    assert first.identity == second.identity
    assert first.shapes == second.shapes
    assert first.shapes["motion"] == (1, 2304)


def test_modes_have_identities_of_their_own() -> None:
    modes = ("clips", "frames8", "all")
    encoders = [Encoder(settings("spatial.frames=8", f"motion.mode={mode}")) for mode in modes]
    assert len({made.identity.digest for made in encoders}) == 3


def test_decoder_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'extract\.decode\.decoder = "decord"'):
        Encoder(settings("decode.decoder=decord"))
