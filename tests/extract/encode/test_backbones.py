"""Loading the backbones: what is refused, and what their hash sees."""

from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn

from finevq.errors import CheckpointError, ConfigError
from finevq.extract.decode.video import decode
from finevq.extract.encode.backbones import weight_hash
from finevq.extract.encode.encoder import Encoder

from .._published import in_whole, original_vit, write_checkpoint
from ._settings import settings

pytestmark = pytest.mark.usefixtures("copied_backbones")


@pytest.mark.parametrize("frames", [4, 9])
def test_frames8_needs_eight_frames(frames: int) -> None:
    message = (
        rf'extract\.motion\.mode = "frames8": needs extract\.spatial\.frames = 8, not {frames}'
    )
    with pytest.raises(ConfigError, match=message):
        Encoder(settings("motion.mode=frames8", f"spatial.frames={frames}"))


@pytest.mark.parametrize("mode", ["frames8", "all"])
def test_official_modes_need_frames_that_fill_the_pooling_window(mode: str, tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, in_whole(original_vit()))
    changes = ("spatial.frames=8", f"motion.mode={mode}", f"spatial.model={model}")
    with pytest.raises(ConfigError, match=f'mode = "{mode}": needs frames of at least 224 pixels'):
        Encoder(settings(*changes))


def test_published_weights_make_an_encoder(video: Path, tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, in_whole(original_vit()))
    made = Encoder(settings(f"spatial.model={model}"))
    assert made.shapes["spatial"] == (2, 4, 256)
    features = made.encode(decode(video, made.sampling))
    assert features.spatial.shape == made.shapes["spatial"]


@pytest.mark.parametrize("key", ["spatial", "motion"])
def test_model_that_is_not_there_is_refused(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_hub(*args: object) -> None:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("finevq.weights.hf_hub_download", no_hub)
    with pytest.raises(CheckpointError, match="someone/big: no folder of that name"):
        Encoder(settings(f"{key}.model=someone/big"))


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
