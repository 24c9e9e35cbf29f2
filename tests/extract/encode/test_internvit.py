"""InternViT from each published layout: tokens of a second implementation, or one clear line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    InternVLVisionModel,
)

from finevq.errors import CheckpointError
from finevq.extract.encode.backbones import weight_hash
from finevq.extract.encode.internvit import load_internvit
from finevq.extract.encode.spatial import SpatialEncoder

from .._published import (
    CONFIG,
    HEADS,
    HIDDEN,
    INNER,
    LAYERS,
    PATCH,
    SIZE,
    VISION_CONFIG,
    as_peft_names,
    in_whole,
    lora_of,
    original_vit,
    reference_tokens,
    write_checkpoint,
)

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


def pixels() -> torch.Tensor:
    return torch.from_numpy((frames() / 255 - MEAN) / STD).permute(0, 3, 1, 2).float()


def tokens(model: str) -> torch.Tensor:
    return SpatialEncoder(load_internvit(model).float())(frames())


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.linalg.norm(actual - expected) < 2e-6 * torch.linalg.norm(expected)


@pytest.mark.parametrize(
    "changes",
    [{}, {"qkv_bias": False}, {"qk_normalization": True}],
    ids=["as-300M", "no-qkv-bias", "qk-normalisation"],
)
def test_original_layout_gives_the_tokens_of_the_official_code(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    vit = original_vit(**changes)
    config = CONFIG | {"vision_config": VISION_CONFIG | changes}
    model = write_checkpoint(tmp_path / "base", in_whole(vit), config)
    close(tokens(model), reference_tokens(vit, pixels()))


def test_all_names_of_one_encoder_load_the_same_weights(tmp_path: Path) -> None:
    vit = original_vit()
    whole = write_checkpoint(tmp_path / "whole", in_whole(vit))
    finevq = write_checkpoint(tmp_path / "finevq", as_peft_names(vit, lora_of(vit)))
    alone = write_checkpoint(tmp_path / "alone", vit, VISION_CONFIG)
    assert len({weight_hash(load_internvit(model)) for model in (whole, finevq, alone)}) == 1


@pytest.fixture(scope="module")
def native(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, InternVLForConditionalGeneration]:
    """A native checkpoint as transformers saves it, and the model that it saved."""
    torch.manual_seed(0)
    vision = InternVLVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        image_size=[SIZE, SIZE],
        patch_size=[PATCH, PATCH],
        attention_bias=True,
    )
    text = {
        "model_type": "qwen2",
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 32,
    }
    model = InternVLForConditionalGeneration(
        InternVLConfig(vision_config=vision, text_config=text, image_token_id=1)
    )
    for parameter in model.parameters():  # it starts with zeros, which a swap would not show
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("native")
    model.save_pretrained(folder)
    return str(folder), model.eval()


def test_native_layout_gives_what_transformers_computes(native) -> None:
    folder, model = native
    seen: list[torch.Tensor] = []
    # What goes into its projector are the tokens after its own pixel shuffle.
    with (
        model.model.multi_modal_projector.register_forward_pre_hook(lambda _, x: seen.append(x[0])),
        torch.no_grad(),
    ):
        model.get_image_features(pixels())
    expected = seen[0].reshape(len(frames()), -1, 4 * HIDDEN)
    close(tokens(folder), expected)


@pytest.mark.parametrize("prefix", ["", "vision_tower.", "model.vision_tower."])
def test_native_names_may_begin_in_three_ways(native, prefix: str, tmp_path: Path) -> None:
    folder, model = native
    vit = model.model.vision_tower
    named = {prefix + name: tensor for name, tensor in vit.state_dict().items()}
    config = json.loads(Path(folder, "config.json").read_text())
    path = write_checkpoint(tmp_path, named, config if prefix else config["vision_config"])
    assert weight_hash(load_internvit(path)) == weight_hash(vit)


def test_dtype_is_the_stored_one(tmp_path: Path) -> None:
    vit = {name: tensor.bfloat16() for name, tensor in original_vit().items()}
    loaded = load_internvit(write_checkpoint(tmp_path, in_whole(vit)))
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.bfloat16}


def test_only_the_encoders_files_are_opened(tmp_path: Path) -> None:
    vit = in_whole(original_vit())
    model = write_checkpoint(tmp_path, vit)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-1.safetensors")
    index = dict.fromkeys(vit, "model-1.safetensors") | {"output.weight": "model-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert isinstance(load_internvit(model), InternVLVisionModel)


def test_no_code_of_the_checkpoint_is_run(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, in_whole(original_vit()))
    (tmp_path / "modeling_internvl_chat.py").write_text("raise SystemExit('was run')")
    load_internvit(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"select_layer": -2}, r"select_layer = -2, where only -1 is supported"),
        ({"ps_version": "v1"}, r"ps_version = 'v1', where only 'v2'"),
        ({"ps_version": None}, r"ps_version = None, where only 'v2'"),
        ({"downsample_ratio": 0.25}, r"downsample_ratio = 0.25"),
        ({"force_image_size": 224}, r"force_image_size = 224, but an image encoder for 56"),
        ({"vision_config": VISION_CONFIG | {"image_size": 42}, "force_image_size": 42}, r"3 x 3"),
        ({"vision_config": VISION_CONFIG | {"hidden_act": "none"}}, r"no possible InternViT"),
        ({"vision_config": VISION_CONFIG | {"hidden_size": "64"}}, r"no possible InternViT"),
        ({"vision_config": VISION_CONFIG | {"num_attention_heads": 0}}, r"no possible InternViT"),
        ({"vision_config": {"model_type": "intern_vit_6b"}}, r"lacks the image encoder's hidden"),
        ({"vision_config": {"model_type": "siglip_vision_model"}}, r"no InternViT"),
        ({"vision_config": "large"}, r"no InternViT"),
    ],
)
def test_other_ways_to_make_tokens_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    model = write_checkpoint(tmp_path, in_whole(original_vit()), CONFIG | change)
    refuse(model, message)


def refuse(model: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_internvit(model)
    assert "\n" not in str(caught.value)
    assert model in str(caught.value)


def test_version_left_out_is_the_first_one(tmp_path: Path) -> None:
    config = {key: value for key, value in CONFIG.items() if key != "ps_version"}
    refuse(write_checkpoint(tmp_path, in_whole(original_vit()), config), "ps_version = 'v1'")


def test_language_model_is_refused(tmp_path: Path) -> None:
    config = {"model_type": "llama", "hidden_size": 64}
    model = write_checkpoint(tmp_path, {"model.embed_tokens.weight": torch.ones(2, 2)}, config)
    refuse(model, "config.json describes llama, which has no InternViT; give an InternVL")


@pytest.mark.parametrize("lost", ["encoder.layers.1.attn.qkv.bias", "embeddings.class_embedding"])
def test_missing_tensor_is_named_before_any_is_read(
    tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vit = original_vit()
    del vit[lost]
    model = write_checkpoint(tmp_path, in_whole(vit))
    monkeypatch.setattr("finevq.weights.Weights.read", None)
    refuse(model, f"has no tensor vision_model.{lost}")


def test_wrong_shape_is_named_before_any_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vit = original_vit()
    vit["encoder.layers.1.mlp.fc2.weight"] = torch.ones(HIDDEN, INNER + 1)
    model = write_checkpoint(tmp_path, in_whole(vit))
    monkeypatch.setattr("finevq.weights.Weights.read", None)
    refuse(model, r"model.safetensors: vision_model.encoder.layers.1.mlp.fc2.weight has the shape")


def test_truncated_file_is_named(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, in_whole(original_vit()))
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    refuse(model, "model.safetensors: damaged, cut off")
