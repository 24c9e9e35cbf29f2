"""The image encoder's LoRA: exact out of a published checkpoint, and nothing else is merged."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from finevq.errors import CheckpointError
from finevq.extract.encode.internvit import load_internvit
from finevq.extract.encode.spatial import SpatialEncoder
from finevq.extract.encode.vision_lora import TARGETS, merge_adapter, write_vision_adapter
from finevq.weights import Weights

from .._published import (
    RANK,
    SIZE,
    as_peft_names,
    in_whole,
    lora_of,
    merged,
    original_vit,
    reference_tokens,
    write_checkpoint,
)

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def finevq(tmp_path_factory: pytest.TempPathFactory) -> str:
    vit = original_vit()
    return write_checkpoint(tmp_path_factory.mktemp("finevq"), as_peft_names(vit, lora_of(vit)))


@pytest.fixture
def adapter(finevq: str, tmp_path: Path) -> Path:
    write_vision_adapter(Weights(finevq), tmp_path / "adapter")
    return tmp_path / "adapter"


def test_published_lora_gives_the_tokens_of_the_official_code(finevq: str, adapter: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.from_numpy((frames / 255 - mean) / std).permute(0, 3, 1, 2).float()
    base = original_vit()
    expected = reference_tokens(merged(base, lora_of(base)), pixels)
    vit = load_internvit(finevq)
    plain = SpatialEncoder(vit)(frames)
    merge_adapter(vit, adapter)
    difference = torch.linalg.norm(SpatialEncoder(vit)(frames) - expected)
    assert difference < 2e-6 * torch.linalg.norm(expected)
    assert torch.linalg.norm(plain - expected) > 1e-2 * torch.linalg.norm(expected)


def test_scale_is_two_whatever_the_rank(adapter: Path) -> None:
    config = json.loads((adapter / CONFIG).read_text())
    assert (config["r"], config["lora_alpha"]) == (RANK, 2 * RANK)
    assert sorted(config["target_modules"]) == sorted(TARGETS)


def test_merged_encoder_has_the_names_it_had_and_float32(finevq: str, adapter: Path) -> None:
    vit = load_internvit(finevq).bfloat16()
    names = list(vit.state_dict())
    merge_adapter(vit, adapter)
    assert list(vit.state_dict()) == names
    assert {tensor.dtype for tensor in vit.state_dict().values()} == {torch.float32}


# peft 0.21 reads an attribute that transformers 5.23 has renamed and still serves.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_adapter_that_peft_trained_is_merged(finevq: str, tmp_path: Path) -> None:
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["fc1"], init_lora_weights=False)
    get_peft_model(load_internvit(finevq), config).save_pretrained(str(tmp_path))
    lora = load_file(tmp_path / TENSORS)
    name = "encoder.layer.1.mlp.fc1"
    a, b = (lora[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
    vit = load_internvit(finevq)
    before = vit.get_parameter(f"{name}.weight").clone()
    merge_adapter(vit, tmp_path)
    after = vit.get_parameter(f"{name}.weight")
    torch.testing.assert_close(after, before + 3 * b @ a)


def test_hash_is_of_tensors_and_scale_but_not_of_the_rest(finevq: str, adapter: Path) -> None:
    def digest() -> str:
        return merge_adapter(load_internvit(finevq), adapter)

    def configure(**changes: object) -> None:
        file = adapter / CONFIG
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    first = digest()
    assert digest() == first
    configure(lora_dropout=0.5, target_modules=list(reversed(TARGETS)), task_type=None)
    assert digest() == first
    configure(lora_alpha=2 * RANK + 1)
    scaled = digest()
    configure(lora_alpha=2 * RANK)
    tensors = load_file(adapter / TENSORS)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, adapter / TENSORS)
    assert len({first, scaled, digest()}) == 3


@pytest.mark.parametrize("kind", ["none", "native"])
def test_checkpoint_without_a_lora_has_no_adapter(kind: str, tmp_path: Path) -> None:
    if kind == "none":
        model = write_checkpoint(tmp_path / "base", in_whole(original_vit()))
    else:
        config = {"model_type": "internvl_vision", "hidden_size": 64}
        model = write_checkpoint(tmp_path / "base", {"embeddings.cls_token": torch.ones(1)}, config)
    with pytest.raises(CheckpointError, match="has no LoRA of its image encoder"):
        write_vision_adapter(Weights(model), tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def lose(tensors: dict[str, torch.Tensor], name: str) -> None:
    del tensors[name]


def widen(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.cat([tensors[name]] * 2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose, r"has no tensor vision_model.encoder.layers.1.attn.qkv.lora_B.weight"),
        (widen, r"layers.1.attn.qkv.lora_B.default.weight has the shape \(384, 4\)"),
    ],
)
def test_incomplete_published_lora_is_refused(
    damage: Callable[..., None], message: str, tmp_path: Path
) -> None:
    lora = lora_of(original_vit())
    damage(lora, "encoder.layers.1.attn.qkv.lora_B.weight")
    model = write_checkpoint(tmp_path / "finevq", as_peft_names(original_vit(), lora))
    with pytest.raises(CheckpointError, match=message):
        write_vision_adapter(Weights(model), tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


# Adapters that do not fit. Each must end in one line that names the file.


def refuse(finevq: str, adapter: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        merge_adapter(load_internvit(finevq), adapter)
    assert "\n" not in str(caught.value)
    assert str(adapter) in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose, "adapter_model.safetensors: has no tensor base_model.model.encoder.layer.0.mlp"),
        (widen, r"lora_A.weight has the shape \(8, 64\), where the image encoder .* \(4, 64\)"),
    ],
)
def test_tensor_that_is_missing_or_misshapen(
    damage: Callable[..., None], message: str, finevq: str, adapter: Path
) -> None:
    tensors = load_file(adapter / TENSORS)
    damage(tensors, "base_model.model.encoder.layer.0.mlp.fc1.lora_A.weight")
    save_file(tensors, adapter / TENSORS)
    refuse(finevq, adapter, message)


def test_unknown_tensor(finevq: str, adapter: Path) -> None:
    tensors = load_file(adapter / TENSORS)
    tensors["base_model.model.encoder.layer.0.mlp.fc1.lora_magnitude_vector"] = torch.ones(96)
    save_file(tensors, adapter / TENSORS)
    refuse(finevq, adapter, "has the tensor .*lora_magnitude_vector, which is none of an InternViT")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_modules": ["wqkv", "w1"]}, "is no adapter of an InternViT: Target modules"),
        ({"peft_type": "IA3"}, "no LoRA that can be merged: peft_type"),
        ({"use_dora": True}, "no LoRA that can be merged: use_dora"),
        ({"init_lora_weights": "pissa"}, "no LoRA that can be merged: init_lora_weights"),
        ({"r": 0}, "is no adapter of an InternViT: `r` should be"),
        ({"r": 8}, r"lora_A.weight has the shape \(4, "),
    ],
)
def test_other_kinds_of_adapters(
    change: dict[str, object], message: str, finevq: str, adapter: Path
) -> None:
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(config | change))
    refuse(finevq, adapter, message)


@pytest.mark.parametrize("name", [CONFIG, TENSORS])
def test_missing_file(name: str, finevq: str, adapter: Path) -> None:
    (adapter / name).unlink()
    refuse(finevq, adapter, rf"{name}: (missing|cannot be read)")


@pytest.mark.parametrize("name", [CONFIG, TENSORS])
def test_truncated_file(name: str, finevq: str, adapter: Path) -> None:
    file = adapter / name
    file.write_bytes(file.read_bytes()[:-9])
    refuse(finevq, adapter, rf"{name}: (damaged|no LoRA)")
