"""Published weights: the right tensor by its plain name, or one line that names file and tensor."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors.torch import save_file

from finevq.errors import CheckpointError
from finevq.weights import Weights, canonical, read_pth, tensor_hash

TENSORS = {
    "vision_model.base_model.model.fc1.base_layer.weight": torch.arange(6.0).view(2, 3),
    "vision_model.base_model.model.fc1.lora_A.default.weight": torch.ones(1, 3),
    "head.bias": torch.ones(4, dtype=torch.bfloat16),
}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "made"}')
    save_file(TENSORS, tmp_path / "model.safetensors")
    return tmp_path


@pytest.fixture
def sharded(whole: Path) -> Path:
    """The same in one file a tensor."""
    (whole / "model.safetensors").unlink()
    index = {name: f"model-{number}.safetensors" for number, name in enumerate(TENSORS)}
    for name, file in index.items():
        save_file({name: TENSORS[name]}, whole / file)
    (whole / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return whole


def refuse(action: Callable[[], Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        action()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        ("vision_model.embeddings.weight", "vision_model.embeddings.weight"),
        ("base_model.model.layer.0.fc1.base_layer.bias", "layer.0.fc1.bias"),
        ("language_model.base_model.model.model.norm.weight", "language_model.model.norm.weight"),
        ("a.base_model.model.qkv.lora_B.default.weight", "a.qkv.lora_B.weight"),
        ("qkv.lora_A.weight", "qkv.lora_A.weight"),
    ],
)
def test_names_lose_what_peft_added(stored: str, plain: str) -> None:
    assert canonical(stored) == plain
    assert canonical(plain) == plain


@pytest.mark.parametrize("layout", ["whole", "sharded"])
def test_tensors_are_found_by_their_plain_names(
    layout: str, request: pytest.FixtureRequest
) -> None:
    weights = Weights(str(request.getfixturevalue(layout)))
    names = ["vision_model.fc1.weight", "vision_model.fc1.lora_A.weight", "head.bias"]
    assert sorted(weights) == sorted(names)
    assert weights.config == {"model_type": "made"}
    for name, tensor in zip(names, TENSORS.values(), strict=True):
        assert name in weights
        assert weights.shape(name) == tuple(tensor.shape)
        read = weights.read(name, tuple(tensor.shape))
        assert read.dtype == tensor.dtype
        assert torch.equal(read, tensor)


def test_only_the_files_asked_for_are_opened(sharded: Path) -> None:
    for number in (0, 1):
        (sharded / f"model-{number}.safetensors").unlink()
    weights = Weights(str(sharded))
    assert torch.equal(weights.read("head.bias"), TENSORS["head.bias"])
    refuse(lambda: weights.read("vision_model.fc1.weight"), r"model-0.safetensors: missing")


def test_missing_tensor_is_named(whole: Path) -> None:
    weights = Weights(str(whole))
    assert "head.weight" not in weights
    for action in (weights.read, weights.shape):
        refuse(lambda action=action: action("head.weight"), f"{whole}: has no tensor head.weight")


def test_wrong_shape_names_file_and_stored_tensor(whole: Path) -> None:
    weights = Weights(str(whole))
    message = (
        r"model.safetensors: vision_model.base_model.model.fc1.base_layer.weight has the shape "
        r"\(2, 3\), .* \(3, 2\)"
    )
    refuse(lambda: weights.read("vision_model.fc1.weight", (3, 2)), message)
    refuse(lambda: weights.check("vision_model.fc1.weight", (3, 2)), message)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_file_is_refused_when_opened(keep: int, whole: Path) -> None:
    file = whole / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    refuse(lambda: Weights(str(whole)), "model.safetensors: damaged, cut off or not a safetensors")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file_is_named(name: str, whole: Path) -> None:
    (whole / name).unlink()
    refuse(lambda: Weights(str(whole)), f"{name}: missing; the checkpoint is not whole")


@pytest.mark.parametrize(
    ("text", "message"), [("{", "damaged, not JSON"), ("[]", "not a JSON object"), ("\x80", "JSON")]
)
def test_damaged_config_is_refused(text: str, message: str, whole: Path) -> None:
    (whole / "config.json").write_text(text, "latin-1")
    refuse(lambda: Weights(str(whole)), f"config.json: .*{message}")


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_index_without_files_is_refused(content: str, sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text(content)
    refuse(lambda: Weights(str(sharded)), "index.json: has no weight_map of files")


def test_index_that_is_wrong_about_a_file_is_refused(sharded: Path) -> None:
    save_file({"other": torch.ones(1)}, sharded / "model-2.safetensors")
    weights = Weights(str(sharded))
    for action in (weights.read, weights.shape):
        refuse(lambda action=action: action("head.bias"), "model-2.safetensors: .*head.bias")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalEntryNotFoundError("x\ny"), "hub cannot be reached for its config.json"),
        (HFValidationError("Repo id must\nbe"), r"hub has no config.json for it \(Repo id must\)"),
    ],
)
def test_name_that_is_neither_a_folder_nor_on_the_hub(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr("finevq.weights.hf_hub_download", fail)
    refuse(lambda: Weights("some/where"), f"some/where: no folder of that name, .*{message}")


def test_name_on_the_hub_is_fetched_file_by_file(
    sharded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def fetch(repository: str, name: str) -> str:
        assert repository == "some/where"
        if not (sharded / name).exists():
            raise HFValidationError("no such file")
        fetched.append(name)
        return str(sharded / name)

    monkeypatch.setattr("finevq.weights.hf_hub_download", fetch)
    assert torch.equal(Weights("some/where").read("head.bias"), TENSORS["head.bias"])
    assert set(fetched) == {"config.json", "model.safetensors.index.json", "model-2.safetensors"}


# PyTorch's own files.


@pytest.mark.parametrize("key", [None, "model_state", "state_dict"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pth_gives_its_tensors(key: str | None, zipped: bool, tmp_path: Path) -> None:
    content: Any = {"a": torch.arange(3.0)}
    content = {key: content, "epoch": 3} if key else content
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    (read,) = read_pth(tmp_path / "a.pth").items()
    assert read[0] == "a"
    assert torch.equal(read[1], torch.arange(3.0))


class Payload:
    """What a harmful file holds in place of a tensor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return os.mkdir, (self.folder / "was-run",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pth_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    torch.save({"a": Payload(tmp_path)}, file, _use_new_zipfile_serialization=zipped)
    refuse(lambda: read_pth(file), "a.pth: refused, it holds more than tensors")
    file.write_bytes(pickle.dumps({"a": Payload(tmp_path)}, protocol=2))
    refuse(lambda: read_pth(file), "a.pth: refused, it holds more than tensors")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {1: torch.ones(1)}, torch.ones(3)])
def test_pth_without_tensors_by_name_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    refuse(lambda: read_pth(tmp_path / "a.pth"), "a.pth: holds no tensors by name")


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "missing"])
def test_damaged_pth_is_refused(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    torch.save({"a": torch.ones(9999)}, file)
    content = file.read_bytes()
    file.write_bytes({"empty": b"", "text": b"hello, no checkpoint"}.get(damage, content[:9000]))
    if damage == "missing":
        file.unlink()
    refuse(lambda: read_pth(file), "missing" if damage == "missing" else "damaged, cut off")


def test_hash_is_of_names_shapes_types_values_and_context() -> None:
    one = torch.arange(4.0)
    different = [
        tensor_hash({"a": one}),
        tensor_hash({"b": one}),
        tensor_hash({"a": one.view(2, 2)}),
        tensor_hash({"a": one.bfloat16()}),
        tensor_hash({"a": one + 1}),
        tensor_hash({"a": one}, "alpha 2"),
    ]
    assert len(set(different)) == len(different)
    strided = torch.stack([one, one], 1)[:, 0]
    assert tensor_hash({"b": one, "a": one + 1}) == tensor_hash({"a": one + 1, "b": strided})
