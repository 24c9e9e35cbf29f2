"""Checkpoints: what is written is what is read, and damage is named."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from finevq.cache.identity import Identity
from finevq.errors import CheckpointError, IdentityMismatch
from finevq.train.base.language_model import load_base
from finevq.train.model.checkpoint import (
    FORMAT,
    CheckpointInfo,
    build_model,
    digest,
    load_checkpoint,
    read_info,
    save_checkpoint,
)
from finevq.train.prompts import PROMPTS_VERSION

from .._made import PROMPTS, model_of, scores_of

WEIGHTS = (
    "adapter/adapter_model.safetensors",
    "projectors.safetensors",
    "score_head.safetensors",
)


@pytest.fixture
def folder(tmp_path: Path, made_info: CheckpointInfo) -> Path:
    save_checkpoint(model_of(made_info)[0], made_info, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def refused(action: Callable[[], object], file: Path) -> str:
    """The message of a CheckpointError of one line that names a file."""
    with pytest.raises(CheckpointError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert str(file) in message
    return message


def change_tensors(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_loaded_model_gives_the_same_scores(folder: Path, made_info: CheckpointInfo) -> None:
    expected = scores_of(*model_of(made_info), PROMPTS)
    model, packer, info = load_checkpoint(folder)
    assert info == made_info
    assert not model.training
    assert torch.equal(scores_of(model, packer, PROMPTS), expected)
    fresh = scores_of(*build_model(made_info, load_base("embedded", "float32")), PROMPTS)
    assert not torch.allclose(fresh, expected, atol=1e-3)  # else nothing was loaded


def test_saving_again_gives_the_same_files(folder: Path, made_info: CheckpointInfo) -> None:
    before = digest(folder), (folder / "checkpoint.json").read_bytes()
    model, _, info = load_checkpoint(folder)
    save_checkpoint(model, info, folder)
    assert (digest(folder), (folder / "checkpoint.json").read_bytes()) == before


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_weights_are_as_readable_as_other_files(
    folder: Path, made_info: CheckpointInfo, tmp_path: Path, umask: int
) -> None:
    model, _, info = load_checkpoint(folder)
    before = os.umask(umask)
    try:
        save_checkpoint(model, info, tmp_path / "shared")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "shared").rglob("*.*")}
    assert modes == {0o666 & ~umask}


def test_digest_tells_weights_apart(folder: Path, made_info: CheckpointInfo) -> None:
    before = digest(folder)
    for name in WEIGHTS:
        save_checkpoint(model_of(made_info)[0], made_info, folder)
        assert digest(folder) == before
        change_tensors(folder / name, lambda tensors: next(iter(tensors.values())).add_(1e-3))
        assert digest(folder) != before, name


@pytest.mark.parametrize("name", WEIGHTS)
def test_missing_weights_are_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    for action in (load_checkpoint, digest):
        message = refused(lambda do=action: do(folder), folder / name)
        assert "missing; the checkpoint is not whole" in message


@pytest.mark.parametrize("kept", [0, 4, 100, 0.9], ids=["empty", "4 bytes", "100 bytes", "90 %"])
@pytest.mark.parametrize("name", WEIGHTS)
def test_truncated_weights_are_named(folder: Path, name: str, kept: float) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(kept * len(data)) if kept == 0.9 else int(kept)])
    assert "damaged" in refused(lambda: load_checkpoint(folder), folder / name)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_another_shape_are_refused(folder: Path, name: str) -> None:
    def shrink(tensors: dict[str, torch.Tensor]) -> None:
        key = sorted(tensors)[-1]
        tensors[key] = tensors[key][:1].repeat_interleave(3, dim=0)

    change_tensors(folder / name, shrink)
    message = refused(lambda: load_checkpoint(folder), (folder / name).parent)
    assert "does not fit the model" in message


@pytest.mark.parametrize("name", WEIGHTS)
def test_missing_and_unknown_tensors_are_refused(folder: Path, name: str) -> None:
    whole = load_file(folder / name)
    key = sorted(whole)[0]
    save_file({other: tensor for other, tensor in whole.items() if other != key}, folder / name)
    refused(lambda: load_checkpoint(folder), (folder / name).parent)
    save_file(whole | {"unknown.weight": torch.zeros(1)}, folder / name)
    assert "unknown.weight" in refused(lambda: load_checkpoint(folder), (folder / name).parent)


def test_folder_without_checkpoint_json_says_how_to_make_one(tmp_path: Path) -> None:
    message = refused(lambda: load_checkpoint(tmp_path), tmp_path)
    assert "finevq train" in message


@pytest.mark.parametrize(
    "data",
    [b"", b'{"base": "emb', b"[]", b"{}", b"\xff\xfe"],
    ids=["empty", "cut", "list", "no keys", "binary"],
)
def test_damaged_checkpoint_json_is_named(folder: Path, data: bytes) -> None:
    (folder / "checkpoint.json").write_bytes(data)
    assert "damaged" in refused(lambda: read_info(folder), folder / "checkpoint.json")


@pytest.mark.parametrize(
    ("key", "value"), [("format", FORMAT + 1), ("prompts", PROMPTS_VERSION + 1)]
)
def test_checkpoint_of_another_version_is_refused(folder: Path, key: str, value: int) -> None:
    file = folder / "checkpoint.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    message = refused(lambda: load_checkpoint(folder), file)
    assert f"{key} {value}" in message
    assert "train again" in message


def test_checkpoint_of_the_first_format_is_called_by_its_version(folder: Path) -> None:
    file = folder / "checkpoint.json"
    content = json.loads(file.read_text()) | {"format": 1}
    del content["base_hash"]
    file.write_text(json.dumps(content))
    assert "format 1 with prompts" in refused(lambda: load_checkpoint(folder), file)


def test_another_base_model_under_the_same_name_is_refused(
    folder: Path, made_info: CheckpointInfo
) -> None:
    save_checkpoint(model_of(made_info)[0], replace(made_info, base_hash="0" * 64), folder)
    message = refused(lambda: load_checkpoint(folder), folder)
    assert f"another base model than the one at embedded (SHA-256 {'0' * 12}, not" in message


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_short_floats_are_for_what_does_not_train(made_info: CheckpointInfo, precision) -> None:
    exact = model_of(made_info)
    model, packer = model_of(replace(made_info, precision=precision))
    for name, weight in model.named_parameters():
        trains = not name.startswith("language_model.") or "lora_" in name
        assert weight.dtype == (torch.float32 if trains else getattr(torch, precision)), name
    scores = scores_of(model, packer, PROMPTS)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, scores_of(*exact, PROMPTS), rtol=0, atol=0.01)
    assert not torch.equal(scores, scores_of(*exact, PROMPTS))


def test_features_of_another_identity_are_refused_with_the_difference(
    made_info: CheckpointInfo, make_store
) -> None:
    store = make_store(["made/a.mp4"])
    made_info.check_features(store)  # its own are accepted
    other = {**made_info.features, "spatial": {"weights": "5" * 64, "frames": 9}}
    with pytest.raises(IdentityMismatch, match=r"spatial\.frames: 2 in the store, 9") as caught:
        replace(made_info, features=Identity(other).content).check_features(store)
    assert "\n" not in str(caught.value)
