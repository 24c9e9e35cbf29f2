"""Imported FineVQ checkpoints: the scores of a second implementation on the published tensors."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from finevq.cache.identity import Identity
from finevq.errors import CheckpointError
from finevq.train.model.checkpoint import CheckpointInfo, load_checkpoint, read_info
from finevq.train.model.finevq import FineVQ
from finevq.train.model.official import import_checkpoint
from finevq.train.model.packing import Packer, collate
from finevq.train.prompts import Prompt, rating

from .._internlm2 import hidden_states
from .._made import LAYOUT, features_of
from .._published import RANK, SCORE, write_finevq, write_internvl2

FEATURES = Identity({"spatial": {"weights": "5" * 64}, "motion": {"weights": "7" * 64}})
SHAPES = {"spatial": (2, 4, 64), "motion": (1, 32)}
PROMPTS = tuple(rating(d, 0.7, "official") for d in ("overall", "blur", "temporal"))

Tensors = dict[str, Tensor]
Imported = tuple[Tensors, FineVQ, Packer, CheckpointInfo]


def imported(folder: Path, out: Path, **given: Any) -> CheckpointInfo:
    values: dict[str, Any] = {
        "features": FEATURES,
        "shapes": SHAPES,
        "dtype": "float32",
        "extract": {"device": "cpu"},
        "precision": "float32",
    }
    return import_checkpoint(str(folder), out, **values | given)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    folder = tmp_path_factory.mktemp("official")
    tensors = write_finevq(folder / "published")
    imported(folder / "published", folder / "ours")
    return (tensors, *load_checkpoint(folder / "ours"))


def mlp(tensors: Tensors, name: str, x: Tensor) -> Tensor:
    """A projector, by the published names."""
    w = {part: tensors[f"{name}.{part}"].double() for part in mlp_parts()}
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    x = (x * w["0.weight"] + w["0.bias"]) @ w["1.weight"].T + w["1.bias"]
    x = x * (1 + torch.erf(x / 2**0.5)) / 2
    return x @ w["3.weight"].T + w["3.bias"]


def mlp_parts() -> list[str]:
    return [f"{layer}.{part}" for layer in (0, 1, 3) for part in ("weight", "bias")]


def published_answer(tensors: Tensors, packer: Packer, prompt: Prompt) -> tuple[Tensor, float]:
    """Hidden state that predicts the level word, and score, of one prompt as one plain text."""
    chat = packer.chat
    start = chat.prefix(LAYOUT.frames, LAYOUT.tokens, LAYOUT.clips) + chat.question(prompt)
    ids = torch.tensor(packer.encode(f"{start}{prompt.reply('good')}<|im_end|>"))
    embedded = tensors["language_model.model.tok_embeddings.weight"][ids].double()
    spatial, motion = (features[0].double() for features in features_of(1))
    visual = [mlp(tensors, "mlp1", spatial.flatten(0, 1)), mlp(tensors, "motion_mlp", motion)]
    embedded[ids == packer.image_id] = torch.cat(visual)
    at = -(len(packer.encode(" good.<|im_end|>")) + 1)
    hidden = hidden_states(tensors, embedded)[at]
    x = hidden
    for number in range(1, len(SCORE) + 1):
        weight, bias = (tensors[f"mlpscore.fc{number}.{part}"] for part in ("weight", "bias"))
        x = (x @ weight.double().T + bias.double()).clamp(min=0)
    return hidden, x.item()


def our_answers(model: FineVQ, packer: Packer, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """Hidden states and scores of prompts packed in one sequence."""
    packed = packer.pack(LAYOUT, prompts, learn=False)
    spatial, motion = features_of(1)
    batch = collate([packed], pad_id=packer.pad_id)
    del batch["labels"], batch["targets"]
    with torch.no_grad():
        output = model(spatial=spatial, motion=motion, **batch)
    return output.decisions[0], output.scores[0]


@pytest.mark.parametrize("together", [True, False], ids=["packed", "alone"])
def test_hidden_states_and_scores_are_those_of_the_published_tensors(
    made: Imported, together: bool
) -> None:
    tensors, model, packer, _ = made
    groups = [PROMPTS] if together else [(prompt,) for prompt in PROMPTS]
    answers = [our_answers(model, packer, group) for group in groups]
    hidden, scores = (torch.cat(part) for part in zip(*answers, strict=True))
    for prompt, state, score in zip(PROMPTS, hidden, scores, strict=True):
        expected, value = published_answer(tensors, packer, prompt)
        assert (state - expected).norm() < 1e-5 * expected.norm(), prompt.item
        assert score.item() == pytest.approx(value, rel=2e-5)
    assert scores.std() > 1e-4


@pytest.mark.parametrize("part", ["wqkv", "wo", "w1", "w2", "w3"])
def test_reference_notices_a_missing_adapter(made: Imported, part: str) -> None:
    """Each adapter moves the hidden state by far more than the tolerance of the test above."""
    tensors, _, packer, _ = made
    cut = {n: t for n, t in tensors.items() if f".{part}.lora_" not in n}
    whole, _ = published_answer(tensors, packer, PROMPTS[0])
    without, _ = published_answer(cut, packer, PROMPTS[0])
    assert (without - whole).norm() > 1e-3 * whole.norm()


def test_score_below_zero_is_cut_off_as_in_the_official_head(
    made: Imported, tmp_path: Path
) -> None:
    write_finevq(tmp_path / "published")
    file = tmp_path / "published" / "model.safetensors"
    tensors = load_file(file)
    tensors["mlpscore.fc4.bias"] -= 100
    save_file(tensors, file)
    imported(tmp_path / "published", tmp_path / "ours")
    model, packer, _ = load_checkpoint(tmp_path / "ours")
    assert our_answers(model, packer, PROMPTS)[1].tolist() == [0.0, 0.0, 0.0]
    assert (our_answers(*made[1:3], PROMPTS)[1] > 0).any()


def test_checkpoint_says_what_it_was_made_of(made: Imported, tmp_path: Path) -> None:
    write_finevq(tmp_path / "published")
    info = imported(tmp_path / "published", tmp_path / "ours", precision="bfloat16")
    assert read_info(tmp_path / "ours") == info
    assert (info.base, info.spec.profile) == (str(tmp_path / "published"), "official")
    assert (info.spec.final_relu, info.precision) == (True, "bfloat16")
    assert info.lora == {"rank": RANK, "alpha": 2 * RANK, "dropout": 0.05}
    assert info.identity == FEATURES
    assert info.extract == {"device": "cpu"}
    assert info.base_hash == made[3].base_hash
    config = json.loads((tmp_path / "ours" / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (RANK, 2 * RANK)


def test_a_folder_with_a_checkpoint_is_left_alone(tmp_path: Path) -> None:
    write_finevq(tmp_path / "published")
    imported(tmp_path / "published", tmp_path / "ours")
    with pytest.raises(CheckpointError, match="ours: holds a checkpoint already"):
        imported(tmp_path / "published", tmp_path / "ours")


def refused(folder: Path, out: Path, **given: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        imported(folder, out, **given)
    assert not out.exists()
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_plain_internvl2_is_called_by_its_name(tmp_path: Path) -> None:
    write_internvl2(tmp_path / "plain")
    message = refused(tmp_path / "plain", tmp_path / "ours")
    assert "no FineVQ checkpoint of stage two; a plain InternVL is a base model" in message


@pytest.mark.parametrize("rank", [None, 0, "8"])
def test_rank_must_be_in_the_configuration(tmp_path: Path, rank: Any) -> None:
    write_finevq(tmp_path / "published")
    file = tmp_path / "published" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_llm_lora": rank}))
    assert f"use_llm_lora = {rank!r}" in refused(tmp_path / "published", tmp_path / "ours")


def test_rank_must_be_that_of_the_tensors(tmp_path: Path) -> None:
    write_finevq(tmp_path / "published")
    file = tmp_path / "published" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_llm_lora": RANK + 1}))
    message = refused(tmp_path / "published", tmp_path / "ours")
    assert f"lora_A.default.weight has the shape ({RANK}, 64)" in message


@pytest.mark.parametrize(
    "name",
    [
        "language_model.base_model.model.model.layers.1.attention.wo.lora_B.default.weight",
        "motion_mlp.0.weight",
        "mlpscore.fc3.bias",
    ],
)
def test_missing_tensors_are_named(tmp_path: Path, name: str) -> None:
    write_finevq(tmp_path / "published")
    file = tmp_path / "published" / "model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if n != name}, file)
    plain = name.replace(".base_model.model", "", 1).replace(".default", "")
    assert f"has no tensor {plain}" in refused(tmp_path / "published", tmp_path / "ours")


def test_features_of_another_width_are_refused(tmp_path: Path) -> None:
    write_finevq(tmp_path / "published")
    shapes = SHAPES | {"motion": (1, 48)}
    message = refused(tmp_path / "published", tmp_path / "ours", shapes=shapes)
    assert "motion_mlp.0.weight has the shape (32,)" in message
