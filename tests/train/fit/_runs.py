"""Small runs of training: how they are stopped, and what they leave."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from finevq.train.settings import LoraSettings

PARTS = {"train": 5, "val": 3, "test": 1}


class Stopped(BaseException):
    """A stop by the user or the machine, which nothing catches."""


def stop_at(step: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, line: str) -> None:
        if done == step:
            raise Stopped

    return progress


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("must not be called")


def weights(out: Path) -> dict[str, torch.Tensor]:
    files = ["adapter/adapter_model", "projectors", "score_head"]
    files = files if (out / "adapter").exists() else files[1:]
    return {f"{f}/{n}": t for f in files for n, t in load_file(out / f"{f}.safetensors").items()}


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def assert_close_weights(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-3, atol=1e-5, msg=name)


NO_DROPOUT = LoraSettings(rank=4, alpha=8, dropout=0.0)
