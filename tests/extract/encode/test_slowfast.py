"""SlowFast from each published file: the same trunk, or one clear line."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from finevq.errors import CheckpointError
from finevq.extract.encode.backbones import weight_hash
from finevq.extract.encode.motion import build_slowfast
from finevq.extract.encode.slowfast import load_slowfast

from .._published import write_checkpoint

PREFIX = "slowfast_model.feature_extraction."
HEAD = {"blocks.6.proj.weight": torch.ones(4, 2304), "blocks.6.proj.bias": torch.ones(4)}
STATISTICS = "1.multipathway_blocks.1.res_blocks.0.branch2.norm_a.running_mean"


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """Tensors of a small trunk, in bfloat16 so that a test writes few bytes."""
    torch.manual_seed(0)
    trunk = build_slowfast(18).bfloat16()
    with torch.no_grad():
        for tensor in trunk.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return trunk.state_dict()


def write(folder: Path, kind: str, tensors: dict[str, Tensor]) -> str:
    blocks = {f"blocks.{name}": tensor for name, tensor in tensors.items()} | HEAD
    if kind == "pyth":
        torch.save({"model_state": blocks, "epoch": 196}, folder / "SLOWFAST.pyth")
        return str(folder / "SLOWFAST.pyth")
    if kind == "safetensors":
        save_file(blocks, folder / "slowfast.safetensors")
        return str(folder / "slowfast.safetensors")
    named = {PREFIX + name: tensor for name, tensor in tensors.items()}
    return write_checkpoint(folder / "finevq", named | {"mlp1.0.weight": torch.ones(2)})


@pytest.mark.parametrize("kind", ["pyth", "safetensors", "folder"])
def test_all_files_give_the_stored_trunk(
    kind: str, published: dict[str, Tensor], tmp_path: Path
) -> None:
    trunk = load_slowfast(write(tmp_path, kind, published))
    loaded = trunk.state_dict()
    assert loaded.keys() == published.keys()
    for name, tensor in published.items():
        assert loaded[name].dtype == tensor.dtype, name
        assert torch.equal(loaded[name], tensor), name


def test_depth_is_read_from_the_tensors(tmp_path: Path) -> None:
    with torch.device("meta"):
        names = build_slowfast(50).state_dict()
    tensors = {name: torch.zeros(t.shape, dtype=torch.bfloat16) for name, t in names.items()}
    loaded = load_slowfast(write(tmp_path, "safetensors", tensors))
    assert loaded.state_dict().keys() == names.keys()


def test_a_checkpoint_keeps_its_own_statistics(
    published: dict[str, Tensor], tmp_path: Path
) -> None:
    drifted = published | {STATISTICS: published[STATISTICS] + 0.125}
    hub = load_slowfast(write(tmp_path, "safetensors", published))
    own = load_slowfast(write(tmp_path, "folder", drifted))
    assert torch.equal(own.state_dict()[STATISTICS], published[STATISTICS] + 0.125)
    assert weight_hash(own) != weight_hash(hub)


def refuse(model: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_slowfast(model)
    assert "\n" not in str(caught.value)
    assert model in str(caught.value)


@pytest.mark.parametrize("kind", ["pyth", "safetensors", "folder"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop(STATISTICS), "has no tensor .*norm_a.running_mean"),
        (lambda tensors: tensors.update({STATISTICS: torch.ones(3)}), r"has the shape \(3,\)"),
        (lambda tensors: tensors.update({"2.extra": torch.ones(3)}), "tensor .*2.extra, unknown"),
        (lambda tensors: tensors.clear(), "holds no SlowFast, whose tensors have names like"),
    ],
    ids=["missing", "shape", "unknown", "none"],
)
def test_trunk_that_does_not_fit(
    kind: str,
    change: Callable[[dict[str, Tensor]], None],
    message: str,
    published: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    tensors = dict(published)
    change(tensors)
    refuse(write(tmp_path, kind, tensors), message)


def test_other_depth(published: dict[str, Tensor], tmp_path: Path) -> None:
    stage = "3.multipathway_blocks.0.res_blocks."
    more = {f"{stage}{n}.branch2.conv_a.weight": torch.ones(1) for n in range(23)}
    refuse(write(tmp_path, "safetensors", published | more), "with 23 blocks in its third stage")


@pytest.mark.parametrize("kind", ["pyth", "safetensors", "folder"])
def test_truncated_file(kind: str, published: dict[str, Tensor], tmp_path: Path) -> None:
    model = write(tmp_path, kind, published)
    file = Path(model, "model.safetensors") if kind == "folder" else Path(model)
    os.truncate(file, file.stat().st_size // 2)
    refuse(model, "damaged, cut off")


@pytest.mark.parametrize("name", ["no.pyth", "no.safetensors"])
def test_missing_file(name: str, tmp_path: Path) -> None:
    refuse(str(tmp_path / name), f"{name}: missing")


class Payload:
    """What a harmful checkpoint holds in place of a tensor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return os.mkdir, (self.folder / "was-run",)


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model_state": {"blocks.0.w": Payload(tmp_path)}}, tmp_path / "bad.pyth")
    refuse(str(tmp_path / "bad.pyth"), "refused, it holds more than tensors")
    assert not (tmp_path / "was-run").exists()
